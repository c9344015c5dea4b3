//! Accepting connections on one thread or several, and ending in good order.
//!
//! ```text
//! server       the server as its user sees it: options, threads, start and end
//!   handle       drains and stops it from any thread
//!   accept       the listening sockets, one next connection at a time
//!   worker       the threads; a new connection goes to the one that has the fewest
//!     opening      what comes before HTTP on a connection: PROXY header, TLS, the version of HTTP
//!       proxy        the PROXY header
//! ```

mod accept;
mod handle;
mod opening;
pub(crate) mod proxy;
mod server;
mod worker;

pub use accept::ListenSocket;
pub use handle::ServerHandle;
pub use server::{Server, serve};
