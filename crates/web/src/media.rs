//! The media type that a file name stands for.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use http::HeaderValue;

/// The media type that a name's extension stands for, or `application/octet-stream`. Text counts as
/// UTF-8.
#[must_use]
pub fn media_type(name: &[u8]) -> HeaderValue {
    known_media_type(Path::new(OsStr::from_bytes(name)))
        .unwrap_or_else(|| HeaderValue::from_static("application/octet-stream"))
}

/// Like [`media_type`], but `None` if the extension is unknown.
#[must_use]
pub fn known_media_type(name: &Path) -> Option<HeaderValue> {
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
