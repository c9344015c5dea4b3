//! TLS on a listening socket.
//!
//! ```text
//! config      versions, certificates, tickets, limits
//! handshake   from a new connection to one within TLS
//! session     bytes in, bytes out
//! negotiated  what a handshake tells of its connection
//! reader      the reading side of a connection, in the clear or within TLS
//! absent      the same names where the engine is built without the feature `tls`
//! ```

#[cfg(not(feature = "tls"))]
mod absent;
#[cfg(feature = "tls")]
mod config;
#[cfg(feature = "tls")]
mod handshake;
mod negotiated;
mod reader;
#[cfg(feature = "tls")]
mod session;

#[cfg(not(feature = "tls"))]
pub(crate) use absent::{Tls, TlsSession};
#[cfg(feature = "tls")]
pub use config::{ACME_TLS, Tls, TlsOptions};
pub(crate) use negotiated::NegotiatedProtocol;
pub use negotiated::Secure;
pub(crate) use reader::TransportReader;
#[cfg(feature = "tls")]
pub(crate) use session::TlsSession;
