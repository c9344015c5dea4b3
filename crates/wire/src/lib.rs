//! An HTTP/1 and HTTP/2 server engine for sending.
//!
//! ```text
//! server     accepts, spreads connections over threads, drains
//!   service    what is asked of a service
//!   exchange   one connection: wait, head, service, response, wait
//!     proxy      who a proxy in front says that the client is
//!     head       bytes -> request, strictly (RFC 9112)
//!     request_body, chunked
//!     encode     response head -> bytes
//!     send       a content, span by span: sendfile, splice, or gathered in one buffer
//!     copy       any other body
//!   http2      one HTTP/2 connection: the same, on streams
//!   tls        handshakes, and what is within them
//!   connection one socket, one deadline
//!     tails      deliveries that are sent, until it is known whether they arrived
//!   upgrade    connections that stop being HTTP
//!     websocket  frames for those who speak WebSocket on them
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
mod counters;
mod delivery;
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

pub use counters::Counters;

pub use listen::proxy::ViaProxy;
pub use listen::{Counted, Handle, Listener, Server, serve};
pub use message::request_body::{BodyError, RequestBody};
pub use options::Options;
pub use service::{HttpService, PeerAddr};
pub use tls::{ACME_TLS, Secure, Tls, TlsOptions};
pub use upgrade::websocket;

/// The TLS library, for whoever brings certificates.
pub use rustls;
