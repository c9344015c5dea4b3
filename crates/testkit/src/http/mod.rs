//! HTTP clients that hide nothing.
//!
//! ```text
//! client  HTTP/1.1, in the clear and within TLS: status, fields and bytes as they came
//! frames  HTTP/2 frame by frame, valid or not
//! h2      HTTP/2 by the `h2` crate
//! sse     server-sent events
//! ```

mod client;
pub mod frames;
pub mod h2;
mod sse;

pub use client::{HttpClient, Reply};
pub use sse::{EventStream, SentEvent};
