//! What a URL yields, ready to be sent: length, validators, bytes, and RFC 9110's rules about them.
//!
//! ```text
//! content      a content: spans, validators, header fields
//!   respond      a request and a content -> the answer
//!     conditions   If-Match, If-None-Match, If-Modified-Since, If-Range ...
//!     range        Range
//!     multipart    several ranges in one body
//!   etag         entity tags
//!   disposition  Content-Disposition
//!   time         nanoseconds since 1970
//!   prebuilt     answers whose header fields are encoded beforehand
//! address      paths of URLs and of files below a folder
//! outgoing     the exact bytes that one response has to send
//!   span         runs of bytes, and the traits that open files and fetch bytes
//!   body         the same bytes as an `http_body::Body`
//! observer     one delivery, from its first byte to its end
//!   body_map     which bytes of the content a body carries
//! ```
//!
//! A [`Content`] knows its length, its validators (`ETag`, `Last-Modified`), its media type and the
//! [`Span`]s its bytes come from. [`Content::respond`] holds all of RFC 9110's rules about
//! conditional and Range requests, in one place, for files and archives alike:
//!
//! ```
//! use http::{HeaderMap, HeaderValue, Method, header};
//! use outflow_content::{Content, EntityTag, Outgoing};
//!
//! let mut request = HeaderMap::new();
//! request.insert(header::RANGE, HeaderValue::from_static("bytes=0-4"));
//! let tag = EntityTag::strong("v1").expect("a valid tag");
//! let content = Content::bytes("Hello, world").etag(tag);
//! let mut response = content.respond(&Method::GET, &request);
//! assert_eq!(response.status(), 206);
//! assert_eq!(response.headers()["content-range"], "bytes 0-4/12");
//! assert_eq!(Outgoing::take(&mut response).expect("bytes to send").len(), 5);
//! ```
//!
//! An engine that can move bytes by the kernel takes the [`Outgoing`] out of the response and walks
//! its spans. Any other HTTP server sends the same response as an ordinary [`http_body::Body`], by
//! copying.
//!
//! This crate does no I/O: [`FileSource`], [`OpenFile`] and [`Feed`] are the traits behind which
//! others do it.

#![forbid(unsafe_code)]

pub mod address;
mod body;
mod body_map;
mod content;
mod disposition;
mod etag;
mod observer;
mod outgoing;
mod prebuilt;
mod printable;
mod respond;
mod span;
mod time;

pub use address::{BadPath, BadUrlPath, MalformedUrlPath, RelPath, UrlPath, address_of};
pub use body::ContentBody;
pub use body_map::BodyMap;
pub use content::Content;
pub use etag::EntityTag;
pub use observer::{AbortReason, DeliveryWatch, Ending, Evidence, Observer, TransportStats};
pub use outgoing::Outgoing;
pub use prebuilt::{Prebuilt, PrebuiltAnswer};
pub use printable::printable;
pub use respond::mentions_etag;
pub use span::{
    Feed, FeedSpan, FileSource, FileSpan, OpenFile, Source, Span, SpanError, SpanList, Spans, Wait,
};
pub use time::UnixTime;
