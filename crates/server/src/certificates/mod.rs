//! Certificates: by what a TLS listener is known.
//!
//! ```text
//! files        from PEM files, read again when they change
//!   certificate  one chain and its key, checked
//!   error        why files are of no use, and what to do
//! ```
//!
//! What is here is asked at each full handshake (`ResolvesServerCert`), so a new certificate takes effect at once, and
//! connections that are open stay as they are.

mod certificate;
mod error;
mod files;

pub use error::{CertificateError, Trouble};
pub use files::{Files, Pair};
