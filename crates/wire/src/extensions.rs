//! What travels in the extensions of requests and responses: the whole contract between the engine
//! and its services beyond HTTP itself.
//!
//! In a request, the engine sets (in `http1::exchange` and `http2::stream`), and services read:
//!
//! - [`PeerAddr`], always: the client's address. Read by services that log, limit or record
//!   clients.
//! - [`ViaProxy`], if a PROXY header named the client: the proxy's address. Read by services that
//!   must not take a proxy's acknowledgements for the client's.
//! - [`Secure`], within TLS: the host name of the handshake. Read by redirects to TLS and HSTS.
//! - [`ConnectProtocol`], for an extended `CONNECT` on HTTP/2 (RFC 8441): the protocol. Read by
//!   WebSocket endpoints and tunnels.
//! - [`OnUpgrade`], for `Upgrade` and `CONNECT`: the promise of the raw connection. Taken by
//!   [`crate::upgrade::on`] in services that leave HTTP.
//!
//! In a response, services set, and the engine takes (in the same places):
//!
//! - [`Outgoing`], set by [`outflow_content::Content::respond`]: the body's spans. The kernel moves
//!   them, and the `http_body::Body` is not polled.
//! - [`Handoff`], set for server-sent events and the like: the service gets the connection behind
//!   the head, and writes the body itself.
//!
//! All of it is optional. The engine sends any `http_body::Body` of a service that sets none of
//! these, and a service also works under another engine as long as it does without. Header fields
//! that are encoded beforehand travel in no extension: they come from
//! [`crate::HttpService::prebuilt`].

use std::net::SocketAddr;

pub use outflow_content::Outgoing;

pub use crate::tls::Secure;
pub use crate::upgrade::{ConnectProtocol, Handoff, OnUpgrade};

/// The client's address, in a request's extensions. Behind a proxy that sends a PROXY header (see
/// [`crate::ServerOptions::proxy_protocol`]), the one that the proxy names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerAddr(pub SocketAddr);

/// The proxy through which a request came, in its extensions beside [`PeerAddr`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ViaProxy(pub SocketAddr);
