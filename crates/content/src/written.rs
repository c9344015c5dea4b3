//! Answers whose header fields are written already.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::{BufMut as _, Bytes, BytesMut};
use http::header::{
    CONNECTION, CONTENT_LENGTH, DATE, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE,
    IF_UNMODIFIED_SINCE, RANGE,
};
use http::{HeaderMap, Method, Response};

use crate::outgoing::Piece;
use crate::{Content, ContentBody, Outgoing};

/// A content that is asked for again and again, with the header fields of its usual answer, the 200, as they are sent.
/// Clones share it.
#[derive(Clone)]
pub struct Written(Arc<Inner>);

struct Inner {
    content: Content,
    /// The fields, a line each, but for `Content-Length`, which is the engine's to write. `None`: they depend on the time,
    /// or there are some that are the engine's as well.
    lines: Option<Bytes>,
}

/// In a response's extensions: its fields are here, and not, or not all of them, in its header map. Its status is 200.
#[derive(Clone)]
pub struct FieldLines(Arc<Inner>);

impl Written {
    /// Writes the fields of `content`. Its observer is dropped: nobody is told of one delivery among many.
    #[must_use]
    pub fn new(mut content: Content) -> Written {
        content.observer = None;
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |now| now.as_secs());
        // Told as the time of the answer, which nobody knows yet.
        let in_the_future = content.last_modified.is_some_and(|modified| modified > now);
        let the_engines = [CONNECTION, DATE].iter().any(|name| content.headers.contains_key(name));
        let lines = (!in_the_future && !the_engines).then(|| {
            let mut lines = BytesMut::new();
            for (name, value) in content.headers.iter().filter(|(name, _)| *name != CONTENT_LENGTH) {
                for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
                    lines.put_slice(part);
                }
            }
            lines.freeze()
        });
        Written(Arc::new(Inner { content, lines }))
    }

    /// The content.
    #[must_use]
    pub fn content(&self) -> &Content {
        &self.0.content
    }

    /// Answers a request as [`Content::respond`] does. Only for an engine that knows [`FieldLines`]: for others, the
    /// usual answer would have neither fields nor a body.
    #[must_use]
    pub fn respond(&self, method: &Method, headers: &HeaderMap) -> Response<ContentBody> {
        let is_usual = *method == Method::GET || *method == Method::HEAD;
        match self.usual() {
            Some(lines) if is_usual && !headers.keys().any(is_decisive) => {
                let mut response = Response::new(ContentBody::empty());
                response.extensions_mut().insert(lines);
                response
            }
            _ => self.0.content.again().respond(method, headers),
        }
    }

    /// The answer to a GET or HEAD without conditions and ranges. `None`: its fields depend on the time.
    #[must_use]
    pub fn usual(&self) -> Option<FieldLines> {
        self.0.lines.is_some().then(|| FieldLines(Arc::clone(&self.0)))
    }
}

/// Whether an answer other than the usual one may come of a field.
fn is_decisive(name: &http::HeaderName) -> bool {
    matches!(*name, RANGE | IF_RANGE | IF_MATCH | IF_NONE_MATCH | IF_MODIFIED_SINCE | IF_UNMODIFIED_SINCE)
}

impl FieldLines {
    /// Takes them out of a response that [`Written::respond`] made.
    pub fn take<B>(response: &mut Response<B>) -> Option<FieldLines> {
        response.extensions_mut().remove::<FieldLines>()
    }

    /// Names and values, each line with its end. `Content-Length` is not among them, see [`FieldLines::len`].
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.0.lines.as_deref().unwrap_or_default()
    }

    /// Length of the body in bytes, for HEAD too.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.0.content.len()
    }

    /// True for a body without bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The body.
    #[must_use]
    pub fn outgoing(&self) -> Outgoing {
        let spans = Arc::clone(&self.0.content.spans);
        Outgoing::new(self.len(), [Piece::Content(spans, 0..self.len())], None)
    }
}

impl fmt::Debug for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Written").field(&self.0.content).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::HeaderValue;

    use super::*;
    use crate::EntityTag;

    fn content() -> Content {
        Content::bytes("Hello, world")
            .etag(EntityTag::strong("v1").expect("a tag"))
            .last_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777))
            .header(http::header::VARY, HeaderValue::from_static("Accept-Encoding"))
    }

    fn ask(method: &Method, fields: &[(http::HeaderName, &'static str)]) -> Response<ContentBody> {
        let headers = fields.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value)));
        Written::new(content()).respond(method, &headers.collect())
    }

    #[test]
    fn the_lines_say_what_the_fields_would() {
        let mut response = ask(&Method::GET, &[(http::header::ACCEPT, "*/*")]);
        let lines = FieldLines::take(&mut response).expect("the usual answer");
        let usual = content().respond(&Method::GET, &HeaderMap::new());
        let mut expected = usual.headers().clone();
        expected.remove(CONTENT_LENGTH);
        let text = std::str::from_utf8(lines.as_bytes()).expect("text");
        assert!(text.ends_with("\r\n"));
        let found: Vec<_> =
            text.trim_end().split("\r\n").map(|line| line.split_once(": ").expect("a field")).collect();
        assert_eq!(found.len(), expected.len());
        for (name, value) in found {
            assert_eq!(expected[name], value);
        }
        assert_eq!((lines.len(), lines.outgoing().len()), (12, 12));
        assert!(FieldLines::take(&mut response).is_none());
    }

    #[test]
    fn whatever_may_be_answered_otherwise_is() {
        for (method, fields, status) in [
            (Method::GET, &[(RANGE, "bytes=1-2")][..], 206),
            (Method::GET, &[(IF_NONE_MATCH, "\"v1\"")], 304),
            (Method::HEAD, &[(IF_MATCH, "\"v2\"")], 412),
            (Method::GET, &[(IF_MODIFIED_SINCE, "Sun, 06 Nov 1994 08:49:37 GMT")], 304),
            (Method::GET, &[(IF_UNMODIFIED_SINCE, "Sun, 06 Nov 1994 08:49:36 GMT")], 412),
            (Method::DELETE, &[], 405),
        ] {
            let mut response = ask(&method, fields);
            assert!(FieldLines::take(&mut response).is_none(), "{fields:?}");
            assert_eq!(response.status(), status, "{fields:?}");
        }
    }

    #[test]
    fn a_date_in_the_future_is_not_written_beforehand() {
        let future = SystemTime::now() + Duration::from_secs(10_000);
        let written = Written::new(content().last_modified(future));
        let mut response = written.respond(&Method::GET, &HeaderMap::new());
        assert!(FieldLines::take(&mut response).is_none());
        assert!(response.headers().contains_key(http::header::LAST_MODIFIED));
    }
}
