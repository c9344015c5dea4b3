//! A content and how it is described; what a request makes of it is decided in `respond`.

use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response};

use crate::{ContentBody, FileSpan, Observer, SpanList, Spans};

/// What a URL yields, ready to be sent.
pub struct Content {
    pub(crate) spans: Arc<dyn Spans>,
    pub(crate) headers: HeaderMap,
    pub(crate) last_modified: Option<SystemTime>,
    pub(crate) observer: Option<Box<dyn Observer>>,
}

impl Content {
    /// A content of these spans, `application/octet-stream`, without validators.
    #[must_use]
    pub fn new(spans: Arc<dyn Spans>) -> Content {
        let _ = spans;
        todo!()
    }

    /// A content of bytes in memory.
    #[must_use]
    pub fn bytes(bytes: impl Into<Bytes>) -> Content {
        let mut list = SpanList::new();
        list.push_bytes(bytes);
        Content::new(Arc::new(list))
    }

    /// A content of one or several runs of files, one after the other.
    #[must_use]
    pub fn files(files: impl IntoIterator<Item = FileSpan>) -> Content {
        let mut list = SpanList::new();
        files.into_iter().for_each(|file| list.push_file(file));
        Content::new(Arc::new(list))
    }

    /// Answers a request: evaluates its preconditions and ranges by RFC 9110, sections 13 and 14.
    /// Status is 200, 206, 304, 405 (neither GET nor HEAD), 412 or 416.
    #[must_use]
    pub fn respond(self, method: &Method, headers: &HeaderMap) -> Response<ContentBody> {
        let _ = (method, headers, HeaderName::from_static("x"), HeaderValue::from_static("x"), SystemTime::now());
        todo!()
    }
}
