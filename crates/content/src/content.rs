//! A content and how it is described; what a request makes of it is decided in `respond`.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::header::{
    ACCEPT_RANGES, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, LAST_MODIFIED,
    TRANSFER_ENCODING,
};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::disposition::disposition;
use crate::{EntityTag, FileSpan, Observer, SpanList, Spans};

/// 10000-01-01, in seconds since 1970: from there on an HTTP date has no room for the year.
const END_OF_HTTP_DATES: u64 = 253_402_300_800;

/// What a URL yields, ready to be sent.
///
/// ```
/// use http::{HeaderMap, HeaderValue, Method, header};
/// use outflow_content::{Content, EntityTag};
///
/// let mut request = HeaderMap::new();
/// request.insert(header::RANGE, HeaderValue::from_static("bytes=6-"));
/// let response = Content::bytes("Hello, world")
///     .etag(EntityTag::strong("v1").expect("letters and digits"))
///     .media_type(HeaderValue::from_static("text/plain"))
///     .attachment("hello.txt")
///     .respond(&Method::GET, &request);
/// assert_eq!(response.status(), 206);
/// assert_eq!(response.headers()["content-range"], "bytes 6-11/12");
/// ```
pub struct Content {
    pub(crate) spans: Arc<dyn Spans>,
    pub(crate) etag: Option<EntityTag>,
    /// Seconds since 1970, below [`END_OF_HTTP_DATES`].
    pub(crate) last_modified: Option<u64>,
    /// All fields of the answer to a plain GET, the caller's custom ones among them: that answer
    /// needs no further work, and any other begins with it.
    pub(crate) headers: HeaderMap,
    pub(crate) observer: Option<Box<dyn Observer>>,
}

impl Content {
    /// A content of these spans, `application/octet-stream`, without validators.
    #[must_use]
    pub fn new(spans: Arc<dyn Spans>) -> Content {
        // Capacity for the usual fields, so that the map is allocated once.
        let mut headers = HeaderMap::with_capacity(12);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        headers.insert(CONTENT_LENGTH, HeaderValue::from(spans.len()));
        headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        Content { spans, etag: None, last_modified: None, headers, observer: None }
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

    /// The entity tag, strong or weak. Only a strong one lets a client resume by it.
    #[must_use]
    pub fn etag(mut self, etag: EntityTag) -> Content {
        self.headers.insert(ETAG, etag.as_header_value().clone());
        self.etag = Some(etag);
        self
    }

    /// When the content was last modified, in whole seconds. A time that an HTTP date cannot
    /// express (before 1970, after 9999) is left out. One in the future is compared as it is, but
    /// sent as the time of the answer (RFC 9110, 8.8.2.1).
    #[must_use]
    pub fn last_modified(mut self, time: SystemTime) -> Content {
        let since = time.duration_since(UNIX_EPOCH).ok();
        let seconds = since.map(|since| since.as_secs()).filter(|seconds| *seconds < END_OF_HTTP_DATES);
        match seconds {
            Some(seconds) => self.headers.insert(LAST_MODIFIED, http_date(seconds)),
            None => self.headers.remove(LAST_MODIFIED),
        };
        self.last_modified = seconds;
        self
    }

    /// The media type (`Content-Type`).
    #[must_use]
    pub fn media_type(mut self, media_type: HeaderValue) -> Content {
        self.headers.insert(CONTENT_TYPE, media_type);
        self
    }

    /// To be saved under `name` (`Content-Disposition: attachment`, RFC 6266). Any text is
    /// accepted; characters that do not belong in a name are replaced.
    #[must_use]
    pub fn attachment(mut self, name: &str) -> Content {
        self.headers.insert(CONTENT_DISPOSITION, disposition("attachment", name));
        self
    }

    /// To be displayed, or saved under `name` on request (`Content-Disposition: inline`).
    #[must_use]
    pub fn inline(mut self, name: &str) -> Content {
        self.headers.insert(CONTENT_DISPOSITION, disposition("inline", name));
        self
    }

    /// One more header field of the answer, `Cache-Control` or `Vary`, say; a second one of the
    /// same name is added to the first, except for `Content-Type` and `Content-Disposition`.
    ///
    /// Fields that follow from the content itself are ignored here: `Content-Length`,
    /// `Content-Range`, `Accept-Ranges`, `ETag`, `Last-Modified`, `Transfer-Encoding`.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Content {
        match name {
            CONTENT_LENGTH | CONTENT_RANGE | ACCEPT_RANGES | ETAG | LAST_MODIFIED | TRANSFER_ENCODING => {}
            CONTENT_TYPE | CONTENT_DISPOSITION => {
                self.headers.insert(name, value);
            }
            _ => {
                self.headers.append(name, value);
            }
        }
        self
    }

    /// Notifies `observer` of the delivery. An answer without the content's bytes (HEAD, 304, 405,
    /// 412, 416) is none, and drops it without a call.
    #[must_use]
    pub fn observer(mut self, observer: impl Observer) -> Content {
        self.observer = Some(Box::new(observer));
        self
    }

    /// The same content without an observer: for a content that is requested often and need not be
    /// described anew each time.
    #[must_use]
    pub fn clone_unobserved(&self) -> Content {
        Content {
            spans: Arc::clone(&self.spans),
            etag: self.etag.clone(),
            last_modified: self.last_modified,
            headers: self.headers.clone(),
            observer: None,
        }
    }

    /// Length of the whole content in bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.spans.len()
    }

    /// True for a content without bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }
}

/// `seconds` since 1970, below [`END_OF_HTTP_DATES`], as an HTTP date.
pub(crate) fn http_date(seconds: u64) -> HeaderValue {
    let date = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(seconds));
    HeaderValue::from_maybe_shared(Bytes::from(date)).expect("a date is valid in a field value")
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Content")
            .field("len", &self.len())
            .field("etag", &self.etag)
            .field("last_modified", &self.last_modified)
            .field("headers", &self.headers)
            .finish_non_exhaustive()
    }
}
