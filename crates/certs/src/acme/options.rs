//! What the operator asks of which authority, checked at the start.

use std::io;
use std::path::PathBuf;

use outflow_wire::rustls::pki_types::DnsName;

/// The directory of Let's Encrypt.
pub const LETS_ENCRYPT: &str = "https://acme-v02.api.letsencrypt.org/directory";

/// Number of domains that one server manages.
///
/// Bound: TLS and certificates.
const MAX_DOMAINS: usize = 100;

/// Domains, account and authority for [`Acme::start`](super::Acme::start).
#[derive(Clone, Debug)]
pub struct AcmeOptions {
    /// Domain names to obtain certificates for.
    pub domains: Vec<String>,
    /// Mail addresses that the authority may use to contact the operator.
    pub contacts: Vec<String>,
    /// URL of the authority's directory.
    pub directory: String,
    /// The folder that stores the account and the certificates.
    pub cache: PathBuf,
    /// PEM file of additional root certificates that are trusted for the authority's own TLS.
    pub root: Option<PathBuf>,
}

/// Why the server cannot start to request certificates.
#[derive(Debug, thiserror::Error)]
pub enum AcmeError {
    /// Not a name that can be validated.
    #[error(
        "cannot request a certificate for {0:?}: not a host name; use one like files.example.com (wildcards and addresses cannot be validated this way)"
    )]
    Domain(String),
    /// Too many names.
    #[error("cannot request certificates for {0} domains: too many; the maximum is {MAX_DOMAINS}")]
    TooManyDomains(usize),
    /// Not a mail address.
    #[error("cannot use {0:?} as a contact: not a mail address")]
    Contact(String),
    /// Not an HTTPS URL.
    #[error("cannot use {0:?} as an ACME directory: its URL has to begin with https://")]
    Directory(String),
    /// The folder cannot be created or written to.
    #[error("cannot store certificates in {} ({error}); name another folder, which this user may write to", .folder.display())]
    Cache {
        /// The folder.
        folder: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The additional root certificates cannot be used.
    #[error("cannot use {}: {why}; name a PEM file of the root certificate", .path.display())]
    Root {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// The system has no root certificates.
    #[error(
        "cannot set up TLS: no root certificates found; install ca-certificates, or name a file of them with SSL_CERT_FILE"
    )]
    NoRoots,
    /// The system has no thread, or no resources for its runtime.
    #[error("cannot start a thread for ACME: {0}")]
    Thread(io::Error),
}

impl AcmeOptions {
    /// Normalises domains and contacts.
    pub(super) fn checked(mut self) -> Result<AcmeOptions, AcmeError> {
        self.domains = self.domains.iter().map(|name| domain(name)).collect::<Result<_, _>>()?;
        if self.domains.len() > MAX_DOMAINS {
            return Err(AcmeError::TooManyDomains(self.domains.len()));
        }
        self.contacts = self.contacts.iter().map(|contact| mail(contact)).collect::<Result<_, _>>()?;
        let is_url = self.directory.strip_prefix("https://").is_some_and(|rest| !rest.is_empty());
        if !is_url || self.directory.parse::<http::Uri>().is_err() {
            return Err(AcmeError::Directory(self.directory));
        }
        Ok(self)
    }
}

/// The name in lower case, without the dot at the end.
fn domain(text: &str) -> Result<String, AcmeError> {
    let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
    let invalid = || AcmeError::Domain(text.to_owned());
    let parsed = DnsName::try_from(name.as_str()).map_err(|_| invalid())?;
    let is_address =
        name.rsplit('.').next().is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit()));
    if is_address || parsed.as_ref().contains(['*', '_']) { Err(invalid()) } else { Ok(name) }
}

fn mail(text: &str) -> Result<String, AcmeError> {
    let address = text.strip_prefix("mailto:").unwrap_or(text);
    let is_mail = address.split_once('@').is_some_and(|(name, host)| !name.is_empty() && !host.is_empty())
        && !address.contains(|c: char| c.is_whitespace() || c.is_control() || ",?<>".contains(c));
    if is_mail { Ok(format!("mailto:{address}")) } else { Err(AcmeError::Contact(text.to_owned())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn domains_are_names_that_can_be_proven() {
        for (text, name) in [
            ("a.test", "a.test"),
            ("A.Test.", "a.test"),
            ("localhost", "localhost"),
            ("xn--bcher-kva.test", "xn--bcher-kva.test"),
        ] {
            assert_eq!(domain(text).unwrap(), name);
        }
        for wrong in [
            "",
            ".",
            "*.a.test",
            "127.0.0.1",
            "::1",
            "a..test",
            "bücher.test",
            "a.test/x",
            "../x",
            "a test",
            "a_b.test",
        ] {
            assert!(domain(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn contacts_are_mail_addresses() {
        assert_eq!(mail("anna@a.test").unwrap(), "mailto:anna@a.test");
        assert_eq!(mail("mailto:anna@a.test").unwrap(), "mailto:anna@a.test");
        for wrong in ["", "anna", "@a.test", "anna@", "anna @a.test", "a@b,c@d", "tel:+1"] {
            assert!(mail(wrong).is_err(), "{wrong}");
        }
    }
}
