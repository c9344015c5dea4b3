//! Answers whose header fields are encoded beforehand.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::{BufMut as _, Bytes, BytesMut};
use http::header::{CONNECTION, CONTENT_LENGTH, DATE};

use crate::outgoing::OutgoingPiece;
use crate::{Content, Observer, Outgoing};

/// A content that is requested often, with the header fields of its 200 encoded as they are sent.
/// Clones share it.
///
/// For engines that answer plain requests with it. All other requests are answered with
/// [`Prebuilt::content`]: `prebuilt.content().clone_unobserved().respond(method, headers)`.
#[derive(Clone)]
pub struct Prebuilt(Arc<PrebuiltContent>);

struct PrebuiltContent {
    content: Content,
    /// The fields, a line each, without `Content-Length`, which the engine writes. `None`: they
    /// depend on the time, or some of them are the engine's as well.
    header_lines: Option<Bytes>,
}

/// The answer to one plain request: GET or HEAD without conditions and ranges. Its status is 200.
pub struct PrebuiltAnswer {
    prebuilt: Arc<PrebuiltContent>,
    observer: Option<Box<dyn Observer>>,
}

impl Prebuilt {
    /// Encodes the fields of `content`. Its observer is dropped: each answer has its own.
    #[must_use]
    pub fn new(mut content: Content) -> Prebuilt {
        content.observer = None;
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |now| now.as_secs());
        // Sent as the time of the answer, which is not known yet.
        let is_in_the_future = content.last_modified.is_some_and(|modified| modified > now);
        let has_the_engines = [CONNECTION, DATE].iter().any(|name| content.headers.contains_key(name));
        let header_lines = (!is_in_the_future && !has_the_engines).then(|| {
            let mut lines = BytesMut::new();
            for (name, value) in content.headers.iter().filter(|(name, _)| *name != CONTENT_LENGTH) {
                for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
                    lines.put_slice(part);
                }
            }
            lines.freeze()
        });
        Prebuilt(Arc::new(PrebuiltContent { content, header_lines }))
    }

    /// The content.
    #[must_use]
    pub fn content(&self) -> &Content {
        &self.0.content
    }

    /// The answer to a plain request. `None`: its fields depend on the time.
    #[must_use]
    pub fn answer(&self) -> Option<PrebuiltAnswer> {
        let has_lines = self.0.header_lines.is_some();
        has_lines.then(|| PrebuiltAnswer { prebuilt: Arc::clone(&self.0), observer: None })
    }
}

impl PrebuiltAnswer {
    /// Notifies `observer` of the delivery. The answer to HEAD is none, and drops it without a
    /// call.
    #[must_use]
    pub fn observer(mut self, observer: impl Observer) -> PrebuiltAnswer {
        self.observer = Some(Box::new(observer));
        self
    }

    /// Names and values, each line with its end, without `Content-Length`: see
    /// [`PrebuiltAnswer::len`].
    #[must_use]
    pub fn header_lines(&self) -> &[u8] {
        self.prebuilt.header_lines.as_deref().unwrap_or_default()
    }

    /// Length of the body in bytes, for HEAD too.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.prebuilt.content.len()
    }

    /// True for a body without bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The body, with its observer.
    #[must_use]
    pub fn into_outgoing(self) -> Outgoing {
        let spans = Arc::clone(&self.prebuilt.content.spans);
        let len = self.len();
        Outgoing::new(len, [OutgoingPiece::Content(spans, 0..len)], self.observer)
    }
}

impl fmt::Debug for Prebuilt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Prebuilt").field(&self.0.content).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::{HeaderMap, HeaderValue, Method};

    use super::*;
    use crate::EntityTag;

    fn content() -> Content {
        Content::bytes("Hello, world")
            .etag(EntityTag::strong("v1").expect("a tag"))
            .last_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777))
            .header(http::header::VARY, HeaderValue::from_static("Accept-Encoding"))
    }

    #[test]
    fn the_lines_say_what_the_fields_would() {
        let answer = Prebuilt::new(content()).answer().expect("an answer");
        let ordinary = content().respond(&Method::GET, &HeaderMap::new());
        let mut expected = ordinary.headers().clone();
        expected.remove(CONTENT_LENGTH);
        let text = std::str::from_utf8(answer.header_lines()).expect("text");
        assert!(text.ends_with("\r\n"));
        let found: Vec<_> =
            text.trim_end().split("\r\n").map(|line| line.split_once(": ").expect("a field")).collect();
        assert_eq!(found.len(), expected.len());
        for (name, value) in found {
            assert_eq!(expected[name], value);
        }
        assert_eq!((answer.len(), answer.into_outgoing().len()), (12, 12));
    }

    #[test]
    fn whatever_may_be_answered_otherwise_is() {
        use http::header::{IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_UNMODIFIED_SINCE, RANGE};
        let prebuilt = Prebuilt::new(content());
        for (method, fields, status) in [
            (Method::GET, &[(RANGE, "bytes=1-2")][..], 206),
            (Method::GET, &[(IF_NONE_MATCH, "\"v1\"")], 304),
            (Method::HEAD, &[(IF_MATCH, "\"v2\"")], 412),
            (Method::GET, &[(IF_MODIFIED_SINCE, "Sun, 06 Nov 1994 08:49:37 GMT")], 304),
            (Method::GET, &[(IF_UNMODIFIED_SINCE, "Sun, 06 Nov 1994 08:49:36 GMT")], 412),
            (Method::DELETE, &[], 405),
        ] {
            let headers = fields.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value)));
            let response = prebuilt.content().clone_unobserved().respond(&method, &headers.collect());
            assert_eq!(response.status(), status, "{fields:?}");
        }
    }

    #[test]
    fn a_date_in_the_future_is_not_written_beforehand() {
        let future = SystemTime::now() + Duration::from_secs(10_000);
        let prebuilt = Prebuilt::new(content().last_modified(future));
        assert!(prebuilt.answer().is_none());
        let content = prebuilt.content().clone_unobserved();
        let response = content.respond(&Method::GET, &HeaderMap::new());
        assert!(response.headers().contains_key(http::header::LAST_MODIFIED));
    }
}
