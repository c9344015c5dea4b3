//! One certificate with its chain and private key, parsed from PEM text and checked.

use std::sync::Arc;

use jiff::Timestamp;
use outflow_wire::rustls;
use rustls::crypto::ring::sign::any_supported_type;
use rustls::pki_types::pem::{PemObject as _, SectionKind};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::ParsedCertificate;
use rustls::sign::CertifiedKey;

use crate::error::CertificateDefect;

/// A chain, its key, and its period of validity.
#[derive(Debug)]
pub(crate) struct Certificate {
    pub(crate) key: Arc<CertifiedKey>,
    pub(crate) not_before: Timestamp,
    pub(crate) not_after: Timestamp,
}

/// Why two PEM texts do not make a certificate, and which of them is at fault.
#[derive(Debug)]
pub(crate) enum CertificatePemError {
    Chain(CertificateDefect),
    Key(CertificateDefect),
    /// The key belongs to another certificate.
    Mismatch,
}

impl Certificate {
    /// Parses the chain from `chain` and the private key from `key`, which may be the same text.
    pub(crate) fn from_pem(chain: &[u8], key: &[u8]) -> Result<Certificate, CertificatePemError> {
        let chain = read_chain(chain).map_err(CertificatePemError::Chain)?;
        let key = read_key(key).map_err(CertificatePemError::Key)?;
        let signing = any_supported_type(&key)
            .map_err(|error| CertificatePemError::Key(CertificateDefect::UnsupportedKey(one_line(&error))))?;
        let own = chain.first().ok_or(CertificatePemError::Chain(CertificateDefect::NoCertificate))?;
        let (not_before, not_after) = validity(own).map_err(CertificatePemError::Chain)?;
        let certified = CertifiedKey::new(chain, signing);
        if let Err(error) = certified.keys_match() {
            return Err(match error {
                rustls::Error::InconsistentKeys(_) if matches_another(&certified) => {
                    CertificatePemError::Chain(CertificateDefect::Order)
                }
                rustls::Error::InconsistentKeys(_) => CertificatePemError::Mismatch,
                error => CertificatePemError::Chain(CertificateDefect::Malformed(one_line(&error))),
            });
        }
        Ok(Certificate { key: Arc::new(certified), not_before, not_after })
    }

    /// Whether the certificate names `host`.
    pub(crate) fn names(&self, host: &ServerName<'_>) -> bool {
        let parsed = self.key.end_entity_cert().and_then(ParsedCertificate::try_from);
        parsed.is_ok_and(|parsed| rustls::client::verify_server_name(&parsed, host).is_ok())
    }
}

fn read_chain(text: &[u8]) -> Result<Vec<CertificateDer<'static>>, CertificateDefect> {
    let chain = CertificateDer::pem_slice_iter(text).collect::<Result<Vec<_>, _>>();
    let chain = chain.map_err(|error| CertificateDefect::Damaged(error.to_string()))?;
    match chain.is_empty() {
        false => Ok(chain),
        true if is_der(text) => Err(CertificateDefect::Der { tool: "x509" }),
        true => Err(CertificateDefect::NoCertificate),
    }
}

fn read_key(text: &[u8]) -> Result<PrivateKeyDer<'static>, CertificateDefect> {
    // The older encryption puts a header between the PEM lines, which does not parse as base64:
    // test for it first.
    let encrypted = [&b"-----BEGIN ENCRYPTED PRIVATE KEY-----"[..], b"Proc-Type: 4,ENCRYPTED"];
    if encrypted.iter().any(|mark| text.windows(mark.len()).any(|found| found == *mark)) {
        return Err(CertificateDefect::EncryptedKey);
    }
    let mut keys = Vec::new();
    for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(text) {
        let (kind, der) = section.map_err(|error| CertificateDefect::Damaged(error.to_string()))?;
        keys.extend(PrivateKeyDer::from_pem(kind, der));
    }
    match keys.len() {
        0 if is_der(text) => Err(CertificateDefect::Der { tool: "pkey" }),
        0 => Err(CertificateDefect::NoKey),
        1 => keys.pop().ok_or(CertificateDefect::NoKey),
        n => Err(CertificateDefect::SeveralKeys(n)),
    }
}

/// A DER file begins with a sequence of more than 127 bytes; PEM text never does.
fn is_der(bytes: &[u8]) -> bool {
    matches!(bytes, [0x30, 0x81..=0x84, ..])
}

/// Whether the key belongs to a later certificate of the chain.
fn matches_another(certified: &CertifiedKey) -> bool {
    certified
        .cert
        .iter()
        .skip(1)
        .any(|other| CertifiedKey::new(vec![other.clone()], Arc::clone(&certified.key)).keys_match().is_ok())
}

/// Start and end of the validity period (RFC 5280, section 4.1), which rustls does not expose.
fn validity(certificate: &CertificateDer<'_>) -> Result<(Timestamp, Timestamp), CertificateDefect> {
    let parsed = yasna::parse_der(certificate, |reader| {
        reader.read_sequence(|reader| {
            let validity = reader.next().read_sequence(|reader| {
                // Version, serial number, algorithm, issuer.
                reader
                    .read_optional(|reader| reader.read_tagged(yasna::Tag::context(0), |it| it.read_der()))?;
                for _ in 0..3 {
                    reader.next().read_der()?;
                }
                let validity =
                    reader.next().read_sequence(|reader| Ok((time(reader.next())?, time(reader.next())?)))?;
                // Subject, public key, extensions.
                while reader.read_optional(|reader| reader.read_der())?.is_some() {}
                Ok(validity)
            })?;
            // Algorithm, signature.
            for _ in 0..2 {
                reader.next().read_der()?;
            }
            Ok(validity)
        })
    });
    let (not_before, not_after) = parsed.map_err(|error| CertificateDefect::Malformed(error.to_string()))?;
    let stamp = |seconds| {
        Timestamp::from_second(seconds).map_err(|error| CertificateDefect::Malformed(error.to_string()))
    };
    Ok((stamp(not_before)?, stamp(not_after)?))
}

/// Seconds since 1970. Dates up to 2049 are UTCTime, later ones GeneralizedTime.
fn time(reader: yasna::BERReader<'_, '_>) -> yasna::ASN1Result<i64> {
    match reader.lookahead_tag()? {
        yasna::tags::TAG_UTCTIME => Ok(reader.read_utctime()?.datetime().unix_timestamp()),
        _ => Ok(reader.read_generalized_time()?.datetime().unix_timestamp()),
    }
}

/// The error's message on one line.
fn one_line(error: &rustls::Error) -> String {
    error.to_string().replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;

    fn self_signed(names: &[&str]) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let certificate = CertificateParams::new(names).unwrap().self_signed(&key).unwrap();
        (certificate.pem(), key.serialize_pem())
    }

    #[test]
    fn its_times_are_read_in_both_forms() {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["a.test".to_owned()]).unwrap();
        params.not_before = date_time_ymd(2001, 2, 3);
        params.not_after = date_time_ymd(2101, 2, 3);
        let certificate = params.self_signed(&key).unwrap();
        let read =
            Certificate::from_pem(certificate.pem().as_bytes(), key.serialize_pem().as_bytes()).unwrap();
        assert_eq!(read.not_before.to_string(), "2001-02-03T00:00:00Z");
        assert_eq!(read.not_after.to_string(), "2101-02-03T00:00:00Z");
    }

    #[test]
    fn it_is_for_its_names_alone() {
        let (chain, key) = self_signed(&["a.test", "*.b.test"]);
        let read = Certificate::from_pem(chain.as_bytes(), key.as_bytes()).unwrap();
        for (host, is_for) in
            [("a.test", true), ("A.test", true), ("x.b.test", true), ("b.test", false), ("x.a.test", false)]
        {
            assert_eq!(read.names(&ServerName::try_from(host).unwrap()), is_for, "{host}");
        }
    }

    #[test]
    fn whatever_cannot_serve_is_refused_with_the_reason() {
        let (chain, key) = self_signed(&["a.test"]);
        let (other_chain, other_key) = self_signed(&["b.test"]);
        let der = CertificateDer::from_pem_slice(chain.as_bytes()).unwrap();
        let cut = &chain[..chain.len() / 2];
        let broken = chain.replacen('M', "!", 1);
        let old = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: x\n\nAAAA\n-----END RSA PRIVATE KEY-----\n";
        let new = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
        let nonsense = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        let short = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
        let twice = format!("{key}{other_key}");
        let reversed = format!("{other_chain}{chain}");
        for (chain, key, expected) in [
            (chain.as_bytes(), key.as_bytes(), "Ok"),
            (b"", key.as_bytes(), "Chain(NoCertificate)"),
            (key.as_bytes(), key.as_bytes(), "Chain(NoCertificate)"),
            (&der, key.as_bytes(), "Chain(Der"),
            (cut.as_bytes(), key.as_bytes(), "Chain(Damaged"),
            (broken.as_bytes(), key.as_bytes(), "Chain(Damaged"),
            (nonsense.as_bytes(), key.as_bytes(), "Chain(Malformed"),
            (reversed.as_bytes(), key.as_bytes(), "Chain(Order)"),
            (chain.as_bytes(), chain.as_bytes(), "Key(NoKey)"),
            (chain.as_bytes(), b"\x30\x82\x01", "Key(Der"),
            (chain.as_bytes(), twice.as_bytes(), "Key(SeveralKeys(2))"),
            (chain.as_bytes(), old.as_bytes(), "Key(EncryptedKey)"),
            (chain.as_bytes(), new.as_bytes(), "Key(EncryptedKey)"),
            (chain.as_bytes(), short.as_bytes(), "Key(UnsupportedKey"),
            (chain.as_bytes(), other_key.as_bytes(), "Mismatch"),
        ] {
            let found = match Certificate::from_pem(chain, key) {
                Ok(_) => "Ok".to_owned(),
                Err(wrong) => format!("{wrong:?}"),
            };
            assert!(found.starts_with(expected), "{found} instead of {expected}");
        }
    }

    #[test]
    fn chain_and_key_may_lie_in_one_file() {
        let (chain, key) = self_signed(&["a.test"]);
        let both = format!("{key}{chain}");
        assert!(Certificate::from_pem(both.as_bytes(), both.as_bytes()).is_ok());
    }
}
