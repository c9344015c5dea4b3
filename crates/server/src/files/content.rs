//! A file as a content: its type, validators and disposition.

use std::sync::Arc;

use http::HeaderValue;
use http::header::X_CONTENT_TYPE_OPTIONS;
use outflow_catalog::FoundFile;
use outflow_content::{Content, EntityTag, SpanList};
use outflow_web::media_type;

/// The content of a file; an attachment with `download`.
pub(super) fn of(file: &FoundFile, download: bool) -> Content {
    let mut spans = SpanList::new();
    spans.push_source(Arc::clone(&file.source), 0, file.size);
    describe(Content::new(Arc::new(spans)), file, download)
}

/// The content of a file whose bytes are in memory.
pub(super) fn of_bytes(file: &FoundFile, bytes: Vec<u8>) -> Content {
    describe(Content::bytes(bytes), file, false)
}

fn describe(content: Content, file: &FoundFile, download: bool) -> Content {
    let name = file.path.name();
    let known = file.media_type.as_ref().and_then(|known| HeaderValue::from_str(known).ok());
    let mut content = content
        .media_type(known.unwrap_or_else(|| media_type(name)))
        .header(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if let Some(modified) = file.modified {
        content = content.last_modified(modified.into());
    }
    // Hexadecimal digits and a dash are always a tag.
    if let Some(etag) = file.etag.as_deref().and_then(EntityTag::strong) {
        content = content.etag(etag);
    }
    if download { content.attachment(&String::from_utf8_lossy(name)) } else { content }
}
