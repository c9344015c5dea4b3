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
//!   erased       a service without its type
//! extensions   what travels in the extensions of requests and responses
//! options      limits
//! counters     what the engine counts
//! context      what the connections of one thread share
//! clock        wakes many connections together, and nobody while none waits
//! sys          system calls that need `unsafe`
//! ```
//!
//! The interface is a tower `Service<http::Request<RequestBody>>`, or [`HttpService`]. Responses
//! that `outflow_content::Content::respond` made leave by the kernel; all others by copying their
//! `http_body::Body`. So axum routers run on it unchanged: [`serve`] is the counterpart of
//! `axum::serve`.
//!
//! ```
//! use std::io::{Read as _, Write as _};
//! use std::net::{TcpListener, TcpStream};
//!
//! use http::{Request, Response};
//! use outflow_content::{Content, ContentBody};
//! use outflow_wire::{HttpService, RequestBody, Server, ServerOptions};
//!
//! #[derive(Clone)]
//! struct Hello;
//!
//! impl HttpService for Hello {
//!     type Body = ContentBody;
//!
//!     async fn answer(
//!         &self,
//!         request: Request<RequestBody>,
//!     ) -> Result<Response<Self::Body>, String> {
//!         Ok(Content::bytes("Hello, world").respond(request.method(), request.headers()))
//!     }
//! }
//!
//! let listener = TcpListener::bind("127.0.0.1:0")?;
//! let address = listener.local_addr()?;
//! let server = Server::new(ServerOptions::default());
//! let handle = server.handle();
//! let running = std::thread::spawn(move || server.run([listener], 1, Hello));
//!
//! let mut client = TcpStream::connect(address)?;
//! client.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
//! let mut answer = String::new();
//! client.read_to_string(&mut answer)?;
//! assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("Hello, world"));
//!
//! handle.stop();
//! running.join().expect("the server ends")?;
//! # Ok::<(), std::io::Error>(())
//! ```

mod clock;
mod connection;
mod context;
mod counters;
mod delivery;
mod erased;
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
pub use counters::{HandshakeOutcome, SendPath, ServerCounters, StatusClass};
pub use extensions::{PeerAddr, ViaProxy};
pub use listen::{ListenSocket, Server, ServerHandle, serve};
pub use message::request_body::{BodyError, RequestBody};
pub use options::ServerOptions;
pub use service::{HttpService, PlainRequest, WithPrebuilt};
pub use tls::Secure;
#[cfg(feature = "tls")]
pub use tls::{ACME_TLS, Tls, TlsOptions};
pub use upgrade::websocket;

/// The TLS library, for programs that bring certificates.
#[cfg(feature = "tls")]
pub use rustls;
