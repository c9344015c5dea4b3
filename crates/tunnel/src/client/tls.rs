//! Whom to believe: the system's certificate authorities, and those that are given.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls_platform_verifier::Verifier;

use super::Error;

/// What servers' certificates are checked with: the system's authorities, and those in the PEM files.
///
/// # Errors
/// A file that cannot be read or has no certificate, or a system that has none when none is given.
pub fn roots(more: &[PathBuf]) -> Result<Arc<ClientConfig>, Error> {
    let mut given = Vec::new();
    for path in more {
        let bad = |why: String| Error::Roots(format!("{}: {why}", path.display()));
        let before = given.len();
        for certificate in CertificateDer::pem_file_iter(path).map_err(|error| bad(error.to_string()))? {
            given.push(certificate.map_err(|error| bad(error.to_string()))?);
        }
        if given.len() == before {
            return Err(bad("there is no certificate in it".to_owned()));
        }
    }
    let wrong = |error: rustls::Error| Error::Roots(error.to_string());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = Verifier::new_with_extra_roots(given, Arc::clone(&provider)).map_err(wrong)?;
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(wrong)?
        // Not what it sounds like: it is this crate's, not rustls's own, and checks as much.
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    // An upgrade is a matter of HTTP/1.1.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
