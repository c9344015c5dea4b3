//! What travels in the extensions of requests and responses: the whole contract between the engine and its
//! services beyond HTTP itself.
//!
//! In requests, set by the engine before it calls the service:
//!
//! | type | when it is there | set in | read by |
//! |---|---|---|---|
//! | [`PeerAddr`] | always | `http1::exchange`, `http2::stream` | services that log, limit or record clients |
//! | [`ViaProxy`] | a PROXY header named the client | the same | services that must not trust a proxy's acknowledgements |
//! | [`Secure`] | within TLS | the same | redirects to TLS, HSTS, services by host name |
//! | [`ConnectProtocol`] | extended `CONNECT` on HTTP/2 (RFC 8441) | `http2::stream` | WebSocket and tunnels |
//! | [`OnUpgrade`] | the request asks to leave HTTP (`Upgrade`, `CONNECT`); take it by [`crate::upgrade::on`] | `http1::exchange`, `http2::stream` | services that take the connection over |
//!
//! In responses, set by services, taken by the engine before it sends:
//!
//! | type | what it does | set by | read in |
//! |---|---|---|---|
//! | [`Outgoing`] | the body's spans: the kernel moves them, the `http_body::Body` is not polled | [`outflow_content::Content::respond`] | `http1::exchange`, `http2::stream` |
//! | [`Handoff`] | the service gets the connection behind the head and writes the body itself | server-sent events | the same |
//!
//! A service that knows none of these works, too: the engine sends any `http_body::Body`. And so does a service under
//! another engine, as long as it treats each of the first table as optional. Responses to plain requests may be built
//! beforehand; these travel in no extension, but come from [`crate::HttpService::prebuilt`].

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
