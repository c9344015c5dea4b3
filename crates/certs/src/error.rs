//! Why a file cannot serve as a certificate or its key, and what to do about it.

use std::io;
use std::path::{Path, PathBuf};

/// A certificate file or key file cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot use {}: {defect}", .path.display())]
pub struct CertificateError {
    /// The file.
    pub path: PathBuf,
    /// Why it cannot be used.
    pub defect: CertificateDefect,
}

/// Why a certificate file or key file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CertificateDefect {
    /// The file cannot be read.
    #[error("{0}; {advice}", advice = advice(.0))]
    Unreadable(io::Error),
    /// The file is larger than any certificate or key.
    #[error("it is larger than 1 MiB; name a PEM file of a certificate or key")]
    TooLarge,
    /// Binary (DER) instead of PEM text.
    #[error("it is in DER form; convert it with `openssl {tool} -inform der -in FILE -out FILE.pem`")]
    Der {
        /// The subcommand of openssl that converts it.
        tool: &'static str,
    },
    /// PEM text that ends too early, or with invalid base64.
    #[error("its PEM text is damaged ({0}); copy it again, from the first ----- to the last")]
    Damaged(String),
    /// No certificate in the PEM text.
    #[error("it has no certificate; expected \"-----BEGIN CERTIFICATE-----\"")]
    NoCertificate,
    /// No private key in the PEM text.
    #[error("it has no private key; expected \"-----BEGIN PRIVATE KEY-----\"")]
    NoKey,
    /// More than one private key: ambiguous.
    #[error("it has {0} private keys; keep only the one of the certificate")]
    SeveralKeys(usize),
    /// The server cannot prompt for a passphrase.
    #[error("its private key is encrypted; decrypt it with `openssl pkey -in FILE -out OTHER`")]
    EncryptedKey,
    /// A kind of key that TLS here does not support.
    #[error(
        "its private key is not supported ({0}); use RSA of 2,048 to 8,192 bits, ECDSA on P-256, P-384 or P-521, or Ed25519"
    )]
    UnsupportedKey(String),
    /// Not an X.509 certificate.
    #[error("its certificate is malformed ({0}); have it issued again")]
    Malformed(String),
    /// The chain does not begin with the server's own certificate.
    #[error(
        "its certificates are in the wrong order; put the server's own first, then the intermediate ones"
    )]
    Order,
    /// The key belongs to another certificate.
    #[error("its private key does not match the certificate in {}; name a certificate and its own key", .certificate.display())]
    Mismatch {
        /// The certificate's file.
        certificate: PathBuf,
    },
    /// The certificate is no longer valid.
    #[error("its certificate expired at {since}; renew it")]
    Expired {
        /// The end of its validity.
        since: jiff::Timestamp,
    },
}

impl CertificateDefect {
    pub(crate) fn in_file(self, path: &Path) -> CertificateError {
        CertificateError { path: path.to_owned(), defect: self }
    }
}

fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound => "check the path",
        io::ErrorKind::PermissionDenied => "change its permissions, or run as a user who may read it",
        io::ErrorKind::IsADirectory => "name a file in this folder",
        _ => "check the path and the disk",
    }
}
