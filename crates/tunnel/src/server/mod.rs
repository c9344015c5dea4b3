//! The server's end: requests become tunnels to targets that are allowed.
//!
//! ```text
//! service      what a request passes through, one step after the other
//!   settings   what an operator allows
//!   request    what a request asks for
//!   access/    who makes it, what they may use, and which targets may be reached
//!   quota      how many tunnels there may be
//!   dial       name -> addresses that may be reached -> connection
//!   handshake  the response that makes a tunnel of the connection
//!   rejection  the response that does not
//!   reverse    connections that are accepted at the server, for clients that expose something
//! tunnel       a granted tunnel until its end
//!   record     its log line
//!   metrics    what is counted
//! ```
//!
//! Nothing is allowed that is not listed, and without a token or a capability no client is
//! admitted, unless the settings say otherwise. The server connects to the target before it
//! responds, so a response that grants a tunnel means that the target has accepted.

mod access;
mod dial;
#[cfg(fuzzing)]
pub mod fuzzing;
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

pub use self::access::{
    AllowList, Capability, CapabilityError, CapabilityKeys, Host, Secret, TunnelTarget, User, Users,
};
pub use self::dial::{NameResolution, NameResolver, system_resolver};
pub use self::metrics::{RefusalStatus, TunnelCarrier, TunnelDirection, TunnelMetrics};
pub use self::quota::TunnelLimits;
pub use self::rejection::NotFoundService;
pub use self::service::{TunnelFuture, TunnelService};
pub use self::settings::TunnelSettings;
