//! Why files cannot serve as a certificate and its key, and what to do about it.

use std::io;
use std::path::{Path, PathBuf};

/// A file of a certificate, or of its key, is of no use.
#[derive(Debug, thiserror::Error)]
#[error("{}: {trouble}", .path.display())]
pub struct CertificateError {
    /// Which file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub trouble: Trouble,
}

/// What is wrong with a file.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    /// It cannot be read.
    #[error("it cannot be read ({0}): {advice}", advice = advice(.0))]
    Unreadable(io::Error),
    /// Nobody's certificate is that long.
    #[error("it is larger than 1 MiB: name a PEM file of a certificate or key")]
    TooLarge,
    /// Binary rather than text.
    #[error(
        "it is in DER form: make a PEM file of it, with openssl {tool} -inform der -in FILE -out FILE.pem"
    )]
    Der {
        /// The part of openssl that does it.
        tool: &'static str,
    },
    /// PEM that ends too early, or whose base64 is none.
    #[error("its PEM text is damaged ({0}): copy it again, from the first ----- to the last")]
    Damaged(String),
    /// There is none between its lines.
    #[error("there is no certificate in it: one begins with -----BEGIN CERTIFICATE-----")]
    NoCertificate,
    /// There is none between its lines.
    #[error("there is no private key in it: one begins with -----BEGIN PRIVATE KEY-----")]
    NoKey,
    /// Nobody can say which one is meant.
    #[error("there are {0} private keys in it: leave the certificate's own one in")]
    SeveralKeys(usize),
    /// Nobody is there to type a password.
    #[error("its private key is encrypted: decrypt it, with openssl pkey -in FILE -out OTHER")]
    EncryptedKey,
    /// Of a kind that is not known.
    #[error(
        "its private key cannot be used ({0}): RSA of 2,048 to 8,192 bits, ECDSA on P-256, P-384 or P-521, and Ed25519 can"
    )]
    UnknownKey(String),
    /// Not what an X.509 certificate looks like.
    #[error("its certificate makes no sense ({0}): have it issued again")]
    Nonsense(String),
    /// The chain begins with another one.
    #[error(
        "its certificates are in the wrong order: the server's own comes first, then those that vouch for it"
    )]
    Order,
    /// They do not belong together.
    #[error("its private key is not that of the certificate in {}: name the two that belong together", .certificate.display())]
    OtherKey {
        /// The certificate's file.
        certificate: PathBuf,
    },
    /// Nobody would believe it.
    #[error("its certificate expired at {since}: have it renewed")]
    Expired {
        /// When.
        since: jiff::Timestamp,
    },
}

impl Trouble {
    pub(crate) fn with(self, path: &Path) -> CertificateError {
        CertificateError { path: path.to_owned(), trouble: self }
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
