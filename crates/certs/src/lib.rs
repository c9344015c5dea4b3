//! Certificates for TLS listeners, and what a server with TLS adds to any HTTP service.
//!
//! ```text
//! files        certificates from PEM files, reloaded when the files change
//!   certificate  one chain and its private key: parsed, checked, ready for handshakes
//!   error        why a file cannot be used, and what to do
//! acme/        certificates issued and renewed by an ACME authority (RFC 8555)
//! choice       both on one listener
//! https_only   a service that is reached by HTTPS only: redirects to it, HSTS
//! ```
//!
//! [`CertificateFiles`], [`Acme`] and [`FilesAndAcme`] are rustls certificate resolvers. rustls
//! asks them at each full handshake, so a new certificate takes effect at once and open connections
//! continue as they are.
//!
//! ```
//! # use std::path::Path;
//! use std::sync::Arc;
//! use std::time::Duration;
//!
//! use outflow_certs::{CertificateFiles, HttpsOnly};
//! use outflow_wire::{ListenSocket, Tls, TlsOptions};
//!
//! # fn run<S>(chain: &Path, key: &Path, service: S) -> Result<(), Box<dyn std::error::Error>> {
//! let files = CertificateFiles::open(chain, key)?;
//! files.watch()?;
//! let tls = Arc::new(Tls::new(files, &TlsOptions::default())?);
//! let https = ListenSocket::with_tls(std::net::TcpListener::bind("127.0.0.1:0")?, tls);
//! // Requests without TLS are redirected to port 443; browsers remember to use HTTPS for a year.
//! let service = HttpsOnly::new(service, 443, Some(Duration::from_secs(31_536_000)));
//! # let _ = (https, service);
//! # Ok(())
//! # }
//! # let folder = tempfile::tempdir().unwrap();
//! # let (chain, key) = (folder.path().join("chain.pem"), folder.path().join("key.pem"));
//! # let pair = rcgen::generate_simple_self_signed(["a.test".to_owned()]).unwrap();
//! # std::fs::write(&chain, pair.cert.pem()).unwrap();
//! # std::fs::write(&key, pair.signing_key.serialize_pem()).unwrap();
//! # run(&chain, &key, ()).unwrap();
//! ```

#![forbid(unsafe_code)]

#[cfg(feature = "acme")]
mod acme;
mod certificate;
#[cfg(feature = "acme")]
mod choice;
mod error;
mod files;
mod https_only;

#[cfg(feature = "acme")]
pub use acme::{Acme, AcmeError, AcmeOptions, LETS_ENCRYPT};
#[cfg(feature = "acme")]
pub use choice::FilesAndAcme;
pub use error::{CertificateDefect, CertificateError};
pub use files::{CertificateFiles, CertificatePaths};
pub use https_only::{HttpsOnly, HttpsOnlyFuture};
