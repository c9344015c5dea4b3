//! Links: signed addresses that say what may be downloaded, by whom, until when and how often.
//!
//! ```text
//! https://HOST/l/TOKEN/t/abc/…    TOKEN = PAYLOAD "." SIGNATURE, both in base64url without padding
//!
//! PAYLOAD     the terms, as JSON
//! SIGNATURE   HMAC-SHA256 over "outflow-link-v1." and PAYLOAD as it stands there, encoded
//! ```
//! The signature covers the encoded text, so no canonical form of the JSON is needed. The token is
//! in the path and not in the query, so that relative addresses on pages, resumed downloads and
//! selections stay inside the link.
//!
//! ```text
//! terms      what a link permits, checked
//! address    where the token is in an address
//! keys       the keys that sign links, in a file
//! checker    checks the tokens of requests, and follows changes of the file of keys
//!   password   checks passwords of links
//! error      why a link does not admit a request
//! ```
//!
//! ```
//! use std::time::SystemTime;
//!
//! use outflow_links::{LinkChecker, LinkKeys, Terms, split};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let folder = tempfile::tempdir()?;
//! let file = folder.path().join("keys.toml");
//! std::fs::write(&file, LinkKeys::new_line("2026-11")?)?;
//!
//! let terms = Terms {
//!     id: LinkKeys::new_link_id()?,
//!     scope: "/photos/".to_owned(),
//!     recipient: Some("anna@example.org".to_owned()),
//!     ..Terms::default()
//! };
//! let token = LinkKeys::load(&file)?.sign(terms)?;
//!
//! let checker = LinkChecker::open(&file)?;
//! let path = format!("/l/{token}/photos/cat.jpg");
//! let address = split(&path).unwrap();
//! let link = checker.check(address.token, SystemTime::now())?;
//! assert!(link.covers(address.rest));
//! assert!(!link.covers("/invoices/"));
//! # Ok(())
//! # }
//! ```

#![forbid(unsafe_code)]

mod address;
mod checker;
mod error;
mod keys;
mod password;
mod terms;

pub use address::{Addressed, split, unverified, without_token};
pub use checker::LinkChecker;
pub use error::LinkError;
pub use keys::{LinkKeys, LinkKeysError};
pub use terms::{InvalidTerms, Link, Terms, is_link_id};
