//! Links: signed addresses that say what, for whom, until when, how often.
//!
//! ```text
//! https://HOST/l/TOKEN/t/abc/…      TOKEN = PAYLOAD "." SIGNATURE, both in base64url without padding
//!
//! PAYLOAD     the terms, as JSON
//! SIGNATURE   HMAC-SHA256 over "outflow-link-v1." and PAYLOAD as it stands there, encoded
//! ```
//! What is signed is the encoded text, so there is nothing to bring into a canonical form. The token lies in the path
//! and not in the query, so that relative addresses on pages, resumes and selections stay inside the link.
//!
//! ```text
//! terms      what a link says, and whether that makes sense
//!   token      where a token lies in an address
//! keys       the keys that sign, in a file
//! links      what requests come by: checks tokens, follows the file of the keys
//!   password   a link that asks for a password
//! error      why a request is not let in
//! ```

#![forbid(unsafe_code)]

mod error;
mod keys;
mod links;
mod password;
mod terms;
mod token;

pub use error::LinkError;
pub use keys::{Keys, KeysError};
pub use links::Links;
pub use terms::{BadTerms, Link, Terms, is_link_id};
pub use token::{Addressed, split, unverified, without_token};
