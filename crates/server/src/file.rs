//! One file as a content.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::Arc;

use http::HeaderValue;
use http::header::X_CONTENT_TYPE_OPTIONS;
use outflow_content::{Content, EntityTag, FileSpan};
use outflow_store::LocalFile;

/// The opaque part of a file's strong ETag: size and modified time in nanoseconds, hexadecimal. It is the
/// same on every node that has the same file, copied with its times.
pub(crate) fn etag(size: u64, mtime: i64) -> String {
    format!("{size:x}-{:x}", mtime.cast_unsigned())
}

/// The content of an open file, to be shown or, with `download`, to be saved.
pub(crate) fn content(file: LocalFile, download: bool) -> Content {
    let span = FileSpan { file: Arc::new(file.clone()), offset: 0, len: file.size() };
    describe(Content::files([span]), &file, download)
}

/// The same of a file whose bytes are at hand.
pub(crate) fn content_in_memory(file: &LocalFile, bytes: Vec<u8>) -> Content {
    describe(Content::bytes(bytes), file, false)
}

fn describe(content: Content, file: &LocalFile, download: bool) -> Content {
    let identity = file.identity();
    let name = file.path().name();
    let mut content = content
        .last_modified(identity.modified())
        .media_type(media_type(name))
        .header(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    // Hexadecimal digits and a dash can be in a tag.
    if let Some(etag) = EntityTag::strong(&etag(identity.size, identity.mtime)) {
        content = content.etag(etag);
    }
    if download { content.attachment(&String::from_utf8_lossy(name)) } else { content }
}

/// The media type that a name's extension stands for; text is taken for UTF-8.
fn media_type(name: &[u8]) -> HeaderValue {
    let guess = mime_guess::from_path(Path::new(OsStr::from_bytes(name)));
    let Some(guess) = guess.first_raw() else {
        return HeaderValue::from_static("application/octet-stream");
    };
    match guess {
        "text/html" => HeaderValue::from_static("text/html; charset=utf-8"),
        "text/plain" => HeaderValue::from_static("text/plain; charset=utf-8"),
        "text/css" => HeaderValue::from_static("text/css; charset=utf-8"),
        "text/javascript" => HeaderValue::from_static("text/javascript; charset=utf-8"),
        text if text.starts_with("text/") => HeaderValue::try_from(format!("{text}; charset=utf-8"))
            .unwrap_or_else(|_| HeaderValue::from_static("text/plain; charset=utf-8")),
        other => HeaderValue::from_static(other),
    }
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
