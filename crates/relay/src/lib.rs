//! Sockets to sockets: a relay listens, chooses a target for each client, and moves the bytes. It knows no HTTP.
//!
//! ```text
//! flow        two sockets: bytes both ways, by the kernel where that pays
//! relay       accepts clients until it is drained or stopped
//!   listener    TCP and Unix sockets that accept
//!   connection  one client: chooses, connects, introduces, flows, writes its line to the log
//!   targets     which target is next, which is full, which has failed recently
//!   health      checks targets before a client has to
//!   address     what can be listened on and connected to: host:port, unix:/path
//! ```

#![forbid(unsafe_code)]

mod address;
mod connection;
pub mod flow;
mod health;
mod listener;
mod relay;
mod targets;

pub use self::address::{Address, BadAddress};
pub use self::listener::Listener;
pub use self::relay::{Handle, NoTarget, Options, Relay};
pub use self::targets::Policy;
pub use outflow_net::proxy_header::ProxyVersion;
