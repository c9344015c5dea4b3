//! Connections that stop being HTTP: after `101 Switching Protocols`, after a 2xx answer to
//! `CONNECT`, or because the service takes them over for a body that has no end ([`Handoff`]). On
//! HTTP/2 it is one stream that stops.
//!
//! ```text
//! promise     from the engine to the service
//! upgraded    the connection as bytes both ways
//!   duplex      the same for a stream of HTTP/2
//! websocket   frames for services that speak WebSocket on it
//! ```

mod duplex;
mod promise;
mod upgraded;
pub mod websocket;

pub(crate) use duplex::StreamDuplex;
pub(crate) use promise::UpgradePromise;
pub use promise::{ConnectProtocol, Handoff, OnUpgrade, on};
pub use upgraded::{Draining, Upgraded};
