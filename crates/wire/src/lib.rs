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

mod buffer;
mod chunked;
mod connection;
mod copy;
mod counters;
mod date;
mod encode;
mod exchange;
mod feeding;
mod file;
#[cfg(fuzzing)]
pub mod fuzzing;
mod head;
mod http2;
mod options;
mod proxy;
mod request_body;
mod send;
mod server;
mod service;
#[allow(unsafe_code)]
mod sys;
mod tails;
mod timer;
mod tls;
pub mod upgrade;
pub mod websocket;

pub use counters::Counters;

pub use options::Options;
pub use proxy::ViaProxy;
pub use request_body::{BodyError, RequestBody};
pub use server::{Counted, Handle, Listener, Server, serve};
pub use service::{HttpService, PeerAddr};
pub use tls::{ACME_TLS, Secure, Tls, TlsOptions};

/// The TLS library, for whoever brings certificates.
pub use rustls;
