//! What every HTTP service of Outflow shares: replies, problems, pages, content negotiation,
//! addresses.
//!
//! ```text
//! reply      small responses: bytes in memory, redirects, the answer to OPTIONS
//!   body       the body of a response: a content or a few bytes
//! problem    an error that the client sees: problem details (RFC 9457) or a page
//!   page       the frame of every page: skeleton, style, names as people may see them
//!   accept     content negotiation: does the client prefer HTML or JSON?
//! sse        server-sent events: head, fields, heartbeats, limits of a slow client
//! metrics    the listener for Prometheus
//! media      the media type that a file name stands for
//! client     the client's address behind trusted proxies
//! ```
//!
//! Nothing here knows what is served. A service answers a request like this:
//!
//! ```
//! use http::{Method, Request, Response, StatusCode, header::CONTENT_TYPE};
//! use outflow_texts::Language;
//! use outflow_web::{Problem, ResponseBody, page, reply};
//!
//! fn respond(request: &Request<()>) -> Response<ResponseBody> {
//!     let language = Language::default();
//!     match (request.method(), request.uri().path()) {
//!         (&Method::OPTIONS, _) => reply::options("GET, HEAD, OPTIONS"),
//!         (method, "/") => reply::small(method, StatusCode::OK, page::HTML, b"<p>hello".to_vec()),
//!         (method, _) => Problem::not_found().respond(method, request.headers(), language),
//!     }
//! }
//!
//! let found = respond(&Request::get("/").body(()).unwrap());
//! assert_eq!(found.status(), StatusCode::OK);
//! let missing = respond(&Request::get("/a").body(()).unwrap());
//! assert_eq!(missing.status(), StatusCode::NOT_FOUND);
//! assert_eq!(missing.headers()[CONTENT_TYPE], "application/problem+json");
//! ```

#![forbid(unsafe_code)]

pub mod accept;
mod body;
mod client;
mod media;
mod metrics;
pub mod page;
mod problem;
pub mod reply;
pub mod sse;

pub use body::{BytesBody, ResponseBody};
pub use client::RequestClient;
pub use media::{known_media_type, media_type};
pub use metrics::{METRICS_PATH, MetricsService, serve_metrics};
pub use problem::Problem;
