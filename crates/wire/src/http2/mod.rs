//! HTTP/2 (RFC 9113): the same services and contents, on streams.
//!
//! ```text
//! serve        one connection: h2 underneath, a task for each stream, pings, times
//!   stream       one request and its response
//!     sender       hands a body over as the client's windows allow
//!     pieces       a content's bytes, piece by piece
//!   transport    below the frames: gathers, follows, seals, sends
//!     deliveries   until it is known whether the bodies arrived
//!     frames       which bytes of which stream leave
//! sniff        whether a connection in the clear begins as HTTP/2 does
//! ```
//!
//! The `h2` crate speaks the protocol. hyper, which is made of it, does not say which stream a
//! request came on, so that bytes that leave could not be assigned to their requests.

mod deliveries;
mod frames;
mod pieces;
mod sender;
mod serve;
mod sniff;
mod stream;
mod transport;

pub(crate) use serve::serve;
pub(crate) use sniff::sniff;
