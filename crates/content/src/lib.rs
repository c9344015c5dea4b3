//! What a URL yields, ready to be sent.
//!
//! A [`Content`] knows its length, its validators (`ETag`, `Last-Modified`), its media type and the
//! [`Span`]s its bytes come from. [`Content::respond`] holds all of RFC 9110's rules about conditional
//! and Range requests, in one place, for files and archives alike. What it answers carries an
//! [`Outgoing`]: the exact list of spans that have to leave.
//!
//! An engine that can move bytes by the kernel takes the [`Outgoing`] out of the response
//! ([`Outgoing::take`]) and walks its spans. Any other HTTP server sends the same response as an
//! ordinary [`http_body::Body`], by copying.
//!
//! This crate does no I/O: [`FileSource`], [`OpenFile`] and [`Feed`] are the small traits behind which
//! others do it.
#![forbid(unsafe_code)]

pub mod address;
mod body;
mod body_map;
mod conditions;
mod content;
mod disposition;
mod etag;
mod multipart;
mod observer;
mod outgoing;
mod prebuilt;
mod printable;
mod range;
mod respond;
mod span;
mod time;

pub use address::{BadPath, BadUrlPath, RelPath, UrlPath, address_of};
pub use body::ContentBody;
pub use body_map::BodyMap;
pub use conditions::mentions_etag;
pub use content::Content;
pub use etag::EntityTag;
pub use observer::{AbortReason, Ending, Evidence, Observer, Transport, Watch};
pub use outgoing::Outgoing;
pub use prebuilt::{Prebuilt, PrebuiltAnswer};
pub use printable::printable;
pub use span::{
    Feed, FeedSpan, FileSource, FileSpan, OpenFile, Source, Span, SpanError, SpanList, Spans, Wait,
};
pub use time::UnixTime;
