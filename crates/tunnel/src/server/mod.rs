//! The server's side: requests become tunnels to targets that are allowed.
//!
//! ```text
//! service      what a request goes through, one step after the other
//!   settings   what a server allows
//!   request    what it asks for
//!   access/    who asks, what they may, and what may be reached
//!   quota      how many tunnels there may be
//!   dial       name -> addresses that may be reached -> connection
//!   handshake  the answer that makes a tunnel of the connection
//!   rejection  the answer that does not
//!   reverse    what was accepted at the server, for clients that expose something
//! tunnel       a tunnel until its end
//!   record     what is said of it then
//!   metrics    how many there are and were
//! ```
//!
//! Nothing is allowed that is not listed, and nobody is let in without a token or a capability, unless told otherwise.
//! The target is connected to first: an answer that agrees means that it has answered.

mod access;
mod dial;
mod handshake;
mod metrics;
mod quota;
mod record;
mod rejection;
mod request;
mod reverse;
mod service;
mod settings;
mod tunnel;

pub use self::access::{Allow, Capability, Host, Keys, PATH, Secret, Target, Unusable, User, Users};
pub use self::dial::{Looking, Lookup, system};
pub use self::quota::Most;
pub use self::rejection::Nothing;
pub use self::service::{Answer, TunnelService};
pub use self::settings::Settings;
