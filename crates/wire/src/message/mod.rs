//! What both versions of HTTP share of a message.
//!
//! ```text
//! framing        how bodies are delimited
//! request_body   a request's body, read as the service asks for it
//!   chunked        the chunked transfer coding
//! date           the `Date` field
//! ```

pub(crate) mod chunked;
pub(crate) mod date;
pub(crate) mod framing;
pub(crate) mod request_body;
