//! Certificates: by what a TLS listener is known.
//!
//! ```text
//! files        from PEM files, read again when they change
//!   certificate  one chain and its key, checked
//!   error        why files are of no use, and what to do
//! acme         from an authority that gives them to whoever proves a domain
//! choice       both on one listener
//! secure       what TLS adds to any service: redirects to it, HSTS
//! ```
//!
//! What is here is asked at each full handshake (`ResolvesServerCert`), so a new certificate takes effect at once, and
//! connections that are open stay as they are.

#![forbid(unsafe_code)]

mod acme;
mod certificate;
mod choice;
mod error;
mod files;
mod secure;

pub use acme::{Acme, AcmeError, AcmeOptions, LETS_ENCRYPT};
pub use choice::FilesAndAcme;
pub use error::{CertificateError, Trouble};
pub use files::{Files, Pair};
pub use secure::{Secured, SecuredAnswer};
