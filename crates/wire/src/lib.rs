//! An HTTP/1 and HTTP/2 server engine for sending.
//!
//! ```text
//! listen       accepts connections, spreads them over threads, drains
//! http1        one HTTP/1 connection: read a head, call the service, send the response
//! http2        one HTTP/2 connection: the same, on streams
//! message      what both share: request bodies, framing, dates
//! send         bodies: sendfile, splice, gathered in one buffer, or copied
//! upgrade      connections that stop being HTTP; WebSocket frames
//! connection   one socket, one deadline
//! delivery     bodies that are sent, until it is known whether they arrived
//! tls          handshakes and records
//!
//! service      what the engine asks of a service
//! extensions   what travels in the extensions of requests and responses
//! options      limits; context: what the connections of one thread share
//! ```
//!
//! The interface is a tower `Service<http::Request<RequestBody>>`. Responses that
//! `outflow_content::Content::respond` made leave by the kernel; all others by copying their
//! `http_body::Body`. So axum routers run on it unchanged:
//!
//! ```no_run
//! # async fn run<R: outflow_wire::HttpService>(router: R) -> std::io::Result<()> {
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:8080").await?;
//! outflow_wire::serve(listener, router).await
//! # }
//! ```

mod connection;
mod context;
mod counters;
mod delivery;
pub mod extensions;
#[cfg(fuzzing)]
pub mod fuzzing;
mod http1;
mod http2;
mod listen;
mod message;
mod options;
mod send;
mod service;
#[allow(unsafe_code)]
mod sys;
mod tls;
pub mod upgrade;

pub use connection::permit::ConnectionPermit;
pub use counters::ServerCounters;
pub use extensions::{PeerAddr, ViaProxy};
pub use listen::{ListenSocket, Server, ServerHandle, serve};
pub use message::request_body::{BodyError, RequestBody};
pub use options::ServerOptions;
pub use service::{HttpService, PlainRequest};
pub use tls::{ACME_TLS, Secure, Tls, TlsOptions};
pub use upgrade::websocket;

/// The TLS library, for programs that bring certificates.
pub use rustls;
