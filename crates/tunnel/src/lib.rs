//! TCP through HTTP.
//!
//! ```text
//! frame      what goes over a tunnel's leg: capsules, WebSocket frames, or bytes as they are
//! carry      one tunnel: its leg and its far end, until both have said all
//! session    one that outlives its legs: what is not acknowledged is sent again
//! server     requests -> targets that are allowed -> tunnels
//! client     the other end: connects, listens, comes back
//! ```
//!
//! A **leg** is what carries a tunnel between client and server: a connection that was HTTP, or one of its streams. The
//! **far end** is what is tunnelled to: a target's socket at the server, a program's socket or standard input and
//! output at the client.

#![forbid(unsafe_code)]

pub mod carry;
pub mod client;
pub mod frame;
pub mod server;
pub mod session;
