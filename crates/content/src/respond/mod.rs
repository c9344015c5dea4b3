//! From a request and a content to the answer: RFC 9110, sections 9.3, 13, 14 and 15, for one
//! content.
//!
//! ```text
//! mod         the answer
//! conditions  If-Match, If-None-Match, If-Modified-Since, If-Range ...
//! range       which ranges to send
//! multipart   several ranges in one body
//! ```

mod conditions;
mod multipart;
mod range;

use std::fmt;
use std::io::{self, Write};
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::header::{
    ACCEPT_RANGES, ALLOW, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_ENCODING, CONTENT_LANGUAGE,
    CONTENT_LENGTH, CONTENT_LOCATION, CONTENT_RANGE, CONTENT_TYPE, ETAG, EXPIRES, LAST_MODIFIED, RANGE,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode};

use crate::content::http_date;
use crate::outgoing::OutgoingPiece;
use crate::{Content, ContentBody, Outgoing};
pub use conditions::mentions_etag;
use conditions::{PreconditionResult, Validators};
use multipart::byteranges;
use range::RangeSelection;

/// The methods that a content answers.
const METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, OPTIONS");

/// Fields that describe the representation in a body; an answer without that body leaves them out.
static ABOUT_THE_BODY: [HeaderName; 6] = [
    CONTENT_TYPE,
    CONTENT_DISPOSITION,
    CONTENT_ENCODING,
    CONTENT_LANGUAGE,
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("repr-digest"),
];

/// Fields about the representation for caches. An error leaves these out as well, or caches would
/// keep it in the representation's place.
static ABOUT_CACHING: [HeaderName; 3] = [CACHE_CONTROL, EXPIRES, CONTENT_LOCATION];

impl Content {
    /// Answers a request: evaluates its preconditions and ranges by RFC 9110, sections 13 and 14.
    ///
    /// | status | when | own fields |
    /// |---|---|---|
    /// | 200 | no `Range`, or one ignored; HEAD | `Content-Length`, `Accept-Ranges`, validators |
    /// | 206 | one range, or several as `multipart/byteranges` | the same and `Content-Range` |
    /// | 204 | OPTIONS | `Allow` |
    /// | 304 | `If-None-Match`, `If-Modified-Since` | validators (`ETag`, `Last-Modified`) |
    /// | 405 | another method | `Allow` |
    /// | 412 | `If-Match`, `If-Unmodified-Since` | |
    /// | 416 | no range is satisfiable | `Content-Range: bytes */length` |
    ///
    /// The caller's custom fields ([`Content::header`]) go with every answer, without those that
    /// describe a body where there is none, and on errors without those for caches. The server adds
    /// `Date`. The answer to GET carries its [`Outgoing`], see [`Outgoing::take`].
    #[must_use]
    pub fn respond(self, method: &Method, headers: &HeaderMap) -> Response<ContentBody> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        self.respond_at(method, headers, now.as_secs())
    }

    /// `now` in seconds since 1970.
    fn respond_at(mut self, method: &Method, headers: &HeaderMap, now: u64) -> Response<ContentBody> {
        let is_get = *method == Method::GET;
        if !is_get && *method != Method::HEAD {
            let status = if *method == Method::OPTIONS {
                StatusCode::NO_CONTENT
            } else {
                StatusCode::METHOD_NOT_ALLOWED
            };
            self.headers.insert(ALLOW, METHODS);
            return self.refuse(status);
        }
        let validators = Validators { etag: self.etag.as_ref(), last_modified: self.last_modified };
        match conditions::evaluate(headers, validators) {
            PreconditionResult::Proceed => {}
            PreconditionResult::NotModified => return self.not_modified(now),
            PreconditionResult::Failed => return self.refuse(StatusCode::PRECONDITION_FAILED),
        }
        // Range is defined for GET only (14.2), so that HEAD describes the whole content.
        let selection =
            if is_get && headers.contains_key(RANGE) && conditions::range_applies(headers, validators, now) {
                range::select(headers, self.len())
            } else {
                RangeSelection::Whole
            };
        self.not_in_the_future(now);
        match selection {
            RangeSelection::Whole if is_get => {
                let all = OutgoingPiece::Content(Arc::clone(&self.spans), 0..self.len());
                self.deliver(StatusCode::OK, [all])
            }
            RangeSelection::Whole => self.without_body(StatusCode::OK),
            RangeSelection::One(range) => {
                self.headers.insert(CONTENT_RANGE, content_range(Some(&range), self.len()));
                let piece = OutgoingPiece::Content(Arc::clone(&self.spans), range);
                self.deliver(StatusCode::PARTIAL_CONTENT, [piece])
            }
            RangeSelection::Several(ranges) => {
                let media_type = self.headers.get(CONTENT_TYPE);
                let (content_type, pieces) = byteranges(&self.spans, self.etag.as_ref(), media_type, &ranges);
                self.headers.insert(CONTENT_TYPE, content_type);
                self.deliver(StatusCode::PARTIAL_CONTENT, pieces)
            }
            RangeSelection::Unsatisfiable => {
                self.headers.insert(CONTENT_RANGE, content_range(None, self.len()));
                self.refuse(StatusCode::RANGE_NOT_SATISFIABLE)
            }
        }
    }

    /// Last-Modified is never later than Date (8.8.2.1).
    fn not_in_the_future(&mut self, now: u64) {
        if self.last_modified.is_some_and(|modified| modified > now) {
            self.headers.insert(LAST_MODIFIED, http_date(now));
        }
    }

    fn deliver(
        mut self,
        status: StatusCode,
        pieces: impl IntoIterator<Item = OutgoingPiece>,
    ) -> Response<ContentBody> {
        let outgoing = Outgoing::new(self.len(), pieces, self.observer.take());
        if outgoing.len() != self.len() {
            self.headers.insert(CONTENT_LENGTH, HeaderValue::from(outgoing.len()));
        }
        let encoding = self.headers.get(CONTENT_ENCODING).cloned();
        let (body, slot) = ContentBody::new(outgoing, encoding);
        let mut response = self.without_body(status).map(|_| body);
        response.extensions_mut().insert(slot);
        response
    }

    fn not_modified(mut self, now: u64) -> Response<ContentBody> {
        self.not_in_the_future(now);
        remove(&mut self.headers, &ABOUT_THE_BODY);
        remove(&mut self.headers, &[CONTENT_LENGTH, ACCEPT_RANGES]);
        self.without_body(StatusCode::NOT_MODIFIED)
    }

    /// Answers with another status than the content's, and without a body.
    fn refuse(mut self, status: StatusCode) -> Response<ContentBody> {
        remove(&mut self.headers, &ABOUT_THE_BODY);
        remove(&mut self.headers, &ABOUT_CACHING);
        remove(&mut self.headers, &[ETAG, LAST_MODIFIED, CONTENT_LENGTH]);
        // 204 must not have a Content-Length (8.6).
        if status != StatusCode::NO_CONTENT {
            self.headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
        if status != StatusCode::RANGE_NOT_SATISFIABLE {
            self.headers.remove(ACCEPT_RANGES);
        }
        self.without_body(status)
    }

    fn without_body(self, status: StatusCode) -> Response<ContentBody> {
        let mut response = Response::new(ContentBody::empty());
        *response.status_mut() = status;
        *response.headers_mut() = self.headers;
        response
    }
}

fn remove(headers: &mut HeaderMap, names: &[HeaderName]) {
    for name in names {
        headers.remove(name);
    }
}

/// `bytes first-last/len`, or `bytes */len` (RFC 9110, 14.4).
fn content_range(range: Option<&Range<u64>>, len: u64) -> HeaderValue {
    match range {
        Some(range) => short_field(format_args!("bytes {}-{}/{len}", range.start, range.end - 1)),
        None => short_field(format_args!("bytes */{len}")),
    }
}

/// A field value of a few words and numbers, formatted on the stack so that it is allocated once.
fn short_field(text: fmt::Arguments<'_>) -> HeaderValue {
    // The longest is a Content-Range of three numbers with 20 digits each.
    let mut buffer = io::Cursor::new([0; 68]);
    buffer.write_fmt(text).expect("three numbers fit");
    let len = buffer.position() as usize;
    HeaderValue::from_bytes(&buffer.get_ref()[..len])
        .expect("ASCII words and digits are valid in a field value")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_content_range_fits() {
        let value = content_range(Some(&(u64::MAX - 1..u64::MAX)), u64::MAX);
        assert_eq!(value, "bytes 18446744073709551614-18446744073709551614/18446744073709551615");
    }

    #[test]
    fn a_last_modified_in_the_future_is_told_as_now() {
        let content = Content::bytes("x").last_modified(UNIX_EPOCH + Duration::from_secs(2_000_000_000));
        let response = content.respond_at(&Method::GET, &HeaderMap::new(), 784_111_777);
        assert_eq!(response.headers()[LAST_MODIFIED], "Sun, 06 Nov 1994 08:49:37 GMT");
    }
}
