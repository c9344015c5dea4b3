//! The representations of a content (RFC 9110, section 3.2): as it is and compressed. Which one a
//! request gets.

use std::io;
use std::path::Path;
use std::time::SystemTime;

use http::header::{CACHE_CONTROL, CONTENT_ENCODING, VARY, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderMap, HeaderValue};
use outflow_content::{EntityTag, Prebuilt, mentions_etag};

use crate::coding::{AcceptedCodings, ContentCoding};
use crate::sealed::SealedBytes;
use crate::sys;

/// Contents below this length, in bytes, fit into one packet uncompressed.
const MIN_COMPRESSED: u64 = 1024;

/// Length of a content that is compressed, in bytes: a longer one takes too long, and is hardly
/// text.
///
/// Bound: sending.
const MAX_COMPRESSED: u64 = 32 * 1024 * 1024;

/// Header fields that describe a content.
#[derive(Clone, Debug)]
pub struct ContentDescription {
    /// `Content-Type`.
    pub media_type: HeaderValue,
    /// `Cache-Control`.
    pub cache_control: Option<HeaderValue>,
    /// `Last-Modified`.
    pub modified: Option<SystemTime>,
}

impl Default for ContentDescription {
    fn default() -> ContentDescription {
        let media_type = HeaderValue::from_static("application/octet-stream");
        ContentDescription { media_type, cache_control: None, modified: None }
    }
}

impl ContentDescription {
    /// The media type for a file name's extension, with UTF-8 for text. `None` for an unknown
    /// extension.
    #[must_use]
    pub fn media_type_of(name: &Path) -> Option<HeaderValue> {
        outflow_web::known_media_type(name)
    }
}

/// A content as it is and, possibly, compressed.
pub struct Representations {
    plain: SealedBytes,
    description: ContentDescription,
    identity: Representation,
    /// Smallest first.
    coded: Vec<(ContentCoding, Representation)>,
}

/// One representation.
struct Representation {
    content: Prebuilt,
    etag: EntityTag,
}

impl Representations {
    /// `plain` as it is. [`Representations::compressed`] adds compressed ones.
    #[must_use]
    pub fn new(plain: SealedBytes, description: &ContentDescription) -> Representations {
        let identity = Representation::of(&plain, description, None);
        Representations { plain, description: description.clone(), identity, coded: Vec::new() }
    }

    /// The entity tag of the content as it is.
    #[must_use]
    pub fn etag(&self) -> &HeaderValue {
        self.identity.etag.as_header_value()
    }

    /// Length of the content as it is, in bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.plain.len()
    }

    /// Whether the content is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.plain.is_empty()
    }

    /// The codings of the compressed representations and their lengths in bytes, smallest first.
    pub fn codings(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.coded.iter().map(|(coding, representation)| (coding.name(), representation.len()))
    }

    /// The same content with compressed representations that save at least a twentieth. `None` if
    /// its type does not compress, if none saves enough, or as soon as `proceed` returns false.
    /// Blocks while it compresses.
    ///
    /// # Errors
    /// When memory is short.
    pub fn compressed(&self, proceed: &dyn Fn() -> bool) -> io::Result<Option<Representations>> {
        if !is_worth_trying(self.plain.len(), &self.description.media_type) {
            return Ok(None);
        }
        let limit = self.plain.len() - self.plain.len() / 20;
        let mut coded = Vec::new();
        for coding in ContentCoding::ALL {
            match coding.compress(&self.plain, limit, proceed)? {
                Some(small) => {
                    coded.push((coding, Representation::of(&small, &self.description, Some(coding))))
                }
                // What one coding cannot compress the others cannot either.
                None => break,
            }
        }
        sys::trim_heap();
        if coded.is_empty() || !proceed() {
            return Ok(None);
        }
        coded.sort_by_key(|(_, representation)| representation.len());
        Ok(Some(Representations { coded, ..Representations::new(self.plain.clone(), &self.description) }))
    }

    /// The content as it is.
    pub(super) fn plain(&self) -> &Prebuilt {
        &self.identity.content
    }

    /// The representation for a request: the one that its conditions name, so that a resumed
    /// download continues the same; else the accepted one with the highest weight, the smallest of
    /// several. `None` if the request accepts none.
    pub(super) fn choose(&self, headers: &HeaderMap) -> Option<&Prebuilt> {
        if self.coded.is_empty() && !headers.contains_key(http::header::ACCEPT_ENCODING) {
            return Some(&self.identity.content);
        }
        let all = || self.coded.iter().map(|(_, representation)| representation).chain([&self.identity]);
        if let Some(named) = all().find(|representation| mentions_etag(headers, &representation.etag)) {
            return Some(&named.content);
        }
        let accepted = AcceptedCodings::parse(headers);
        let identity = accepted.identity().map(|weight| (weight, &self.identity));
        let coded =
            self.coded.iter().map(|(coding, representation)| (accepted.weight(*coding), representation));
        let mut best = identity;
        // Largest first, so that the smallest of equal weight wins.
        for (weight, representation) in coded.rev().filter(|(weight, _)| *weight > 0) {
            if best.is_none_or(|(other, _)| weight >= other) {
                best = Some((weight, representation));
            }
        }
        best.map(|(_, representation)| &representation.content)
    }
}

impl Representation {
    fn of(
        bytes: &SealedBytes,
        description: &ContentDescription,
        coding: Option<ContentCoding>,
    ) -> Representation {
        let hash = bytes.hash().to_hex();
        let tag = EntityTag::strong(&hash[..32]).expect("hexadecimal digits can be in a tag");
        let mut content = bytes
            .content()
            .etag(tag.clone())
            .media_type(description.media_type.clone())
            .header(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        if let Some(cache_control) = &description.cache_control {
            content = content.header(CACHE_CONTROL, cache_control.clone());
        }
        // Set before compressed representations exist, because caches keep responses.
        if coding.is_some() || is_worth_trying(bytes.len(), &description.media_type) {
            content = content.header(VARY, HeaderValue::from_static("Accept-Encoding"));
        }
        match (coding, description.modified) {
            (Some(coding), _) => {
                // No Last-Modified: a date does not distinguish representations, and a client that
                // resumes by it would get the rest of another one.
                content = content.header(CONTENT_ENCODING, HeaderValue::from_static(coding.name()));
            }
            (None, Some(modified)) => content = content.last_modified(modified),
            (None, None) => {}
        }
        Representation { content: Prebuilt::new(content), etag: tag }
    }

    fn len(&self) -> u64 {
        self.content.content().len()
    }
}

fn is_worth_trying(len: u64, media_type: &HeaderValue) -> bool {
    (MIN_COMPRESSED..=MAX_COMPRESSED).contains(&len) && media_type.to_str().is_ok_and(is_compressible)
}

/// Whether bytes of this type usually compress.
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
    use crate::sealed::SealedBytesBuilder;

    fn offer(bytes: &[u8], media_type: &'static str) -> Representations {
        let mut builder = SealedBytesBuilder::new().unwrap();
        builder.push(bytes).unwrap();
        let description = ContentDescription {
            media_type: HeaderValue::from_static(media_type),
            ..ContentDescription::default()
        };
        Representations::new(builder.seal().unwrap(), &description)
    }

    fn text() -> Vec<u8> {
        (0..3000_u32).flat_map(|at| format!("line {}\n", at % 200).into_bytes()).collect()
    }

    fn encoding(offer: &Representations, lines: &[(http::HeaderName, &str)]) -> Option<String> {
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
    fn who_began_with_a_form_proceed_with_it() {
        let plain = offer(&text(), "text/plain");
        let offer = plain.compressed(&|| true).unwrap().expect("text compresses");
        let plain_tag = plain.etag().to_str().unwrap().to_owned();
        let resume = |tag: &str| {
            encoding(&offer, &[(RANGE, "bytes=9-"), (IF_RANGE, tag), (ACCEPT_ENCODING, "gzip, br")])
        };
        assert_eq!(resume(&plain_tag).as_deref(), Some("identity"));
        for (coding, representation) in &offer.coded {
            let tag = representation.etag.as_header_value().to_str().unwrap();
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
