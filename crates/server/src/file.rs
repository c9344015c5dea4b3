//! One file as a content.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::Arc;

use http::HeaderValue;
use http::header::X_CONTENT_TYPE_OPTIONS;
use outflow_catalog::FoundFile;
use outflow_content::{Content, EntityTag, SpanList};

/// The content of a file, to be shown or, with `download`, to be saved.
pub(crate) fn content(file: &FoundFile, download: bool) -> Content {
    let mut spans = SpanList::new();
    spans.push_source(Arc::clone(&file.source), 0, file.size);
    describe(Content::new(Arc::new(spans)), file, download)
}

/// The same of a file whose bytes are at hand.
pub(crate) fn content_in_memory(file: &FoundFile, bytes: Vec<u8>) -> Content {
    describe(Content::bytes(bytes), file, false)
}

fn describe(content: Content, file: &FoundFile, download: bool) -> Content {
    let name = file.path.name();
    let known = file.media_type.as_ref().and_then(|known| HeaderValue::from_str(known).ok());
    let mut content = content
        .media_type(known.unwrap_or_else(|| media_type(name)))
        .header(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if let Some(modified) = file.modified() {
        content = content.last_modified(modified);
    }
    // Hexadecimal digits and a dash can be in a tag.
    if let Some(etag) = file.etag.as_deref().and_then(EntityTag::strong) {
        content = content.etag(etag);
    }
    if download { content.attachment(&String::from_utf8_lossy(name)) } else { content }
}

/// The media type that a name's extension stands for; text is taken for UTF-8.
fn media_type(name: &[u8]) -> HeaderValue {
    known_media_type(Path::new(OsStr::from_bytes(name)))
        .unwrap_or_else(|| HeaderValue::from_static("application/octet-stream"))
}

/// The same; `None` if the name says nothing.
pub(crate) fn known_media_type(name: &Path) -> Option<HeaderValue> {
    let guess = mime_guess::from_path(name).first_raw()?;
    Some(match guess {
        "text/html" => HeaderValue::from_static("text/html; charset=utf-8"),
        "text/plain" => HeaderValue::from_static("text/plain; charset=utf-8"),
        "text/css" => HeaderValue::from_static("text/css; charset=utf-8"),
        "text/javascript" => HeaderValue::from_static("text/javascript; charset=utf-8"),
        text if text.starts_with("text/") => HeaderValue::try_from(format!("{text}; charset=utf-8"))
            .unwrap_or_else(|_| HeaderValue::from_static("text/plain; charset=utf-8")),
        other => HeaderValue::from_static(other),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_says_that_it_is_utf_8() {
        for (name, media) in [
            (&b"a.html"[..], "text/html; charset=utf-8"),
            (b"a.md", "text/markdown; charset=utf-8"),
            (b"a.JPG", "image/jpeg"),
            (b"a.zip", "application/zip"),
            (b"a", "application/octet-stream"),
            (b"\xff.txt", "text/plain; charset=utf-8"),
            (b".txt", "application/octet-stream"),
        ] {
            assert_eq!(media_type(name), media, "{name:?}");
        }
    }
}
