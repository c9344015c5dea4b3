//! A content in the forms that it is offered in, each described; which one a request gets.

use std::io;
use std::path::Path;
use std::time::SystemTime;

use http::header::{CACHE_CONTROL, CONTENT_ENCODING, VARY, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderMap, HeaderValue};
use outflow_content::{EntityTag, Prebuilt, mentions_etag};

use super::coding::{ALL, Accepted, Coding};
use super::sealed::Sealed;
use super::sys;

/// Shorter contents travel in one packet, compressed or not.
const SHORT: u64 = 1024;

/// Longer ones are not compressed: it would take too long, for something that is hardly a text any more.
const LONG: u64 = 32 * 1024 * 1024;

/// What is said of a content.
#[derive(Clone, Debug)]
pub struct About {
    /// Its media type.
    pub media_type: HeaderValue,
    /// `Cache-Control`, as it is sent.
    pub cache_control: Option<HeaderValue>,
    /// When it was last modified.
    pub modified: Option<SystemTime>,
}

impl Default for About {
    fn default() -> About {
        let media_type = HeaderValue::from_static("application/octet-stream");
        About { media_type, cache_control: None, modified: None }
    }
}

impl About {
    /// The media type that a name's extension stands for; text is taken for UTF-8. `None` if it says nothing.
    #[must_use]
    pub fn type_of(name: &Path) -> Option<HeaderValue> {
        outflow_web::known_media_type(name)
    }
}

/// A content, as it is and compressed.
pub struct Offer {
    plain: Sealed,
    about: About,
    identity: Form,
    /// Smallest first.
    coded: Vec<(Coding, Form)>,
}

/// One representation.
struct Form {
    content: Prebuilt,
    etag: EntityTag,
}

impl Offer {
    /// Offers `plain` as it is. [`Offer::compressed`] adds more.
    #[must_use]
    pub fn new(plain: Sealed, about: &About) -> Offer {
        let identity = Form::of(&plain, about, None);
        Offer { plain, about: about.clone(), identity, coded: Vec::new() }
    }

    /// The tag of the content as it is.
    #[must_use]
    pub fn etag(&self) -> &HeaderValue {
        self.identity.etag.as_header_value()
    }

    /// Bytes of the content as it is.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.plain.len()
    }

    /// True for a content without bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.plain.is_empty()
    }

    /// The codings that it is offered in, and their lengths in bytes; smallest first.
    pub fn codings(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.coded.iter().map(|(coding, form)| (coding.name(), form.len()))
    }

    /// The same content with those compressed forms that are worth it: a type that compresses, at least a twentieth less to
    /// send. `None` if there are none, or if `goes_on` says no in between. Takes as long as compressing does.
    ///
    /// # Errors
    /// When memory is short.
    pub fn compressed(&self, goes_on: &dyn Fn() -> bool) -> io::Result<Option<Offer>> {
        if !is_worth_trying(self.plain.len(), &self.about.media_type) {
            return Ok(None);
        }
        let most = self.plain.len() - self.plain.len() / 20;
        let mut coded = Vec::new();
        for coding in ALL {
            match coding.compress(&self.plain, most, goes_on)? {
                Some(small) => coded.push((coding, Form::of(&small, &self.about, Some(coding)))),
                // What one of them cannot compress the others cannot either.
                None => break,
            }
        }
        sys::give_back_memory();
        if coded.is_empty() || !goes_on() {
            return Ok(None);
        }
        coded.sort_by_key(|(_, form)| form.len());
        Ok(Some(Offer { coded, ..Offer::new(self.plain.clone(), &self.about) }))
    }

    /// The content as it is.
    pub(super) fn plain(&self) -> &Prebuilt {
        &self.identity.content
    }

    /// The form that a request gets: the one that it began with, if it says so; else the one that it likes best, and the
    /// smallest of these. `None` if it accepts none.
    pub(super) fn choose(&self, headers: &HeaderMap) -> Option<&Prebuilt> {
        if self.coded.is_empty() && !headers.contains_key(http::header::ACCEPT_ENCODING) {
            return Some(&self.identity.content);
        }
        let forms = || self.coded.iter().map(|(_, form)| form).chain([&self.identity]);
        if let Some(begun) = forms().find(|form| mentions_etag(headers, &form.etag)) {
            return Some(&begun.content);
        }
        let accepted = Accepted::by(headers);
        let identity = accepted.identity().map(|weight| (weight, &self.identity));
        let coded = self.coded.iter().map(|(coding, form)| (accepted.weight(*coding), form));
        let mut best = identity;
        // Largest first, so that of equals the smallest remains.
        for (weight, form) in coded.rev().filter(|(weight, _)| *weight > 0) {
            if best.is_none_or(|(other, _)| weight >= other) {
                best = Some((weight, form));
            }
        }
        best.map(|(_, form)| &form.content)
    }
}

impl Form {
    fn of(bytes: &Sealed, about: &About, coding: Option<Coding>) -> Form {
        let hash = bytes.hash().to_hex();
        let tag = EntityTag::strong(&hash[..32]).expect("hexadecimal digits can be in a tag");
        let mut content = bytes
            .content()
            .etag(tag.clone())
            .media_type(about.media_type.clone())
            .header(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        if let Some(cache_control) = &about.cache_control {
            content = content.header(CACHE_CONTROL, cache_control.clone());
        }
        // Said from the beginning, before there are other forms: caches keep the answers.
        if coding.is_some() || is_worth_trying(bytes.len(), &about.media_type) {
            content = content.header(VARY, HeaderValue::from_static("Accept-Encoding"));
        }
        match (coding, about.modified) {
            (Some(coding), _) => {
                // Without Last-Modified: a date would not tell this form from the others, and who resumes by it would get
                // the end of another one.
                content = content.header(CONTENT_ENCODING, HeaderValue::from_static(coding.name()));
            }
            (None, Some(modified)) => content = content.last_modified(modified),
            (None, None) => {}
        }
        Form { content: Prebuilt::new(content), etag: tag }
    }

    fn len(&self) -> u64 {
        self.content.content().len()
    }
}

fn is_worth_trying(len: u64, media_type: &HeaderValue) -> bool {
    (SHORT..=LONG).contains(&len) && media_type.to_str().is_ok_and(is_compressible)
}

/// Whether bytes of this type are known to become fewer.
fn is_compressible(media_type: &str) -> bool {
    let essence = media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let Some((kind, subtype)) = essence.split_once('/') else { return false };
    let structured = ["+json", "+xml", "+text", "+yaml"].iter().any(|suffix| subtype.ends_with(suffix));
    match kind {
        "text" => true,
        "application" => {
            structured
                || matches!(
                    subtype,
                    "json"
                        | "javascript"
                        | "xml"
                        | "wasm"
                        | "yaml"
                        | "x-yaml"
                        | "toml"
                        | "sql"
                        | "x-sh"
                        | "x-tar"
                        | "x-ndjson"
                        | "jsonlines"
                        | "rtf"
                        | "pgp-signature"
                        | "pgp-keys"
                        | "x-x509-ca-cert"
                        | "x-pem-file"
                        | "pem-certificate-chain"
                        | "vnd.ms-fontobject"
                        | "manifest"
                        | "graphql"
                )
        }
        "image" => structured || matches!(subtype, "bmp" | "x-icon" | "vnd.microsoft.icon" | "svg"),
        "font" => matches!(subtype, "ttf" | "otf" | "collection"),
        _ => structured,
    }
}

#[cfg(test)]
mod tests {
    use http::Method;
    use http::header::{ACCEPT_ENCODING, IF_RANGE, RANGE};

    use super::*;
    use crate::Filling;

    fn offer(bytes: &[u8], media_type: &'static str) -> Offer {
        let mut filling = Filling::new().unwrap();
        filling.push(bytes).unwrap();
        let about = About { media_type: HeaderValue::from_static(media_type), ..About::default() };
        Offer::new(filling.seal().unwrap(), &about)
    }

    fn text() -> Vec<u8> {
        (0..3000_u32).flat_map(|at| format!("line {}\n", at % 200).into_bytes()).collect()
    }

    fn encoding(offer: &Offer, lines: &[(http::HeaderName, &str)]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(name, HeaderValue::from_str(value).unwrap());
        }
        let response = offer.choose(&headers)?.content().clone_unobserved().respond(&Method::GET, &headers);
        let encoding = response.headers().get(CONTENT_ENCODING);
        Some(encoding.map_or("identity", |value| value.to_str().unwrap()).to_owned())
    }

    #[test]
    fn a_request_gets_what_it_likes_best() {
        let offer = offer(&text(), "text/plain").compressed(&|| true).unwrap().expect("text compresses");
        let smallest = offer.codings().next().unwrap().0;
        assert_eq!(offer.codings().count(), 3);
        for (accept, expected) in [
            (None, Some("identity")),
            (Some(""), Some("identity")),
            (Some("gzip"), Some("gzip")),
            (Some("br"), Some("br")),
            (Some("zstd;q=0.1"), Some("zstd")),
            (Some("gzip, br;q=0.5"), Some("gzip")),
            (Some("gzip, br, zstd"), Some(smallest)),
            (Some("*"), Some(smallest)),
            (Some("identity, gzip;q=0.5"), Some("identity")),
            (Some("identity;q=0.5, gzip;q=0.5"), Some("gzip")),
            (Some("identity;q=0, deflate"), None),
            (Some("identity;q=0, gzip"), Some("gzip")),
            (Some("deflate, compress"), Some("identity")),
        ] {
            let lines: Vec<_> = accept.map(|accept| (ACCEPT_ENCODING, accept)).into_iter().collect();
            assert_eq!(encoding(&offer, &lines).as_deref(), expected, "{accept:?}");
        }
    }

    #[test]
    fn who_began_with_a_form_goes_on_with_it() {
        let plain = offer(&text(), "text/plain");
        let offer = plain.compressed(&|| true).unwrap().expect("text compresses");
        let plain_tag = plain.etag().to_str().unwrap().to_owned();
        let resume = |tag: &str| {
            encoding(&offer, &[(RANGE, "bytes=9-"), (IF_RANGE, tag), (ACCEPT_ENCODING, "gzip, br")])
        };
        assert_eq!(resume(&plain_tag).as_deref(), Some("identity"));
        for (coding, form) in &offer.coded {
            let tag = form.etag.as_header_value().to_str().unwrap();
            assert_ne!(tag, plain_tag);
            assert_eq!(resume(tag).as_deref(), Some(coding.name()));
        }
        assert_eq!(offer.etag(), plain.etag());
    }

    #[test]
    fn nothing_is_compressed_in_vain() {
        let noise: Vec<u8> = blake3::Hasher::new().finalize_xof().fill_into(100_000);
        for (what, bytes, media_type) in [
            ("random", noise, "text/plain"),
            ("an image", text(), "image/png"),
            ("short", b"version: STSv1".to_vec(), "text/plain"),
            ("unknown", text(), "application/octet-stream"),
        ] {
            assert!(offer(&bytes, media_type).compressed(&|| true).unwrap().is_none(), "{what}");
        }
    }

    trait FillInto {
        fn fill_into(self, len: usize) -> Vec<u8>;
    }

    impl FillInto for blake3::OutputReader {
        fn fill_into(mut self, len: usize) -> Vec<u8> {
            let mut bytes = vec![0; len];
            self.fill(&mut bytes);
            bytes
        }
    }

    #[test]
    fn types_that_compress() {
        for (media_type, expected) in [
            ("text/plain; charset=utf-8", true),
            ("Application/JSON", true),
            ("application/atom+xml", true),
            ("image/svg+xml", true),
            ("image/jpeg", false),
            ("application/zip", false),
            ("font/woff2", false),
            ("nonsense", false),
        ] {
            assert_eq!(is_compressible(media_type), expected, "{media_type}");
        }
    }
}
