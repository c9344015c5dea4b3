//! HTTP/1.0 and HTTP/1.1 (RFC 9112).
//!
//! ```text
//! keep_alive   one connection: idle, reading, answering, idle again
//!   reading      waits for a request's head
//!     head         bytes -> request, strictly
//!     plain        the same for a request that asks for nothing but an address
//!   exchange     one request and its response
//!     encode       a response's head -> bytes
//!     refusal      the engine's own answers
//! ```

mod encode;
mod exchange;
pub(crate) mod head;
mod keep_alive;
mod plain;
mod reading;
mod refusal;

pub(crate) use keep_alive::serve;
pub(crate) use refusal::{RequestRefusal, refuse};
