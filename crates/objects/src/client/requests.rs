//! Requests that only S3 knows and `object_store` does not send, signed with the same credentials.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use http::{HeaderMap, Method, StatusCode};
use object_store::aws::{AmazonS3, AwsAuthorizer};
use object_store::client::{HttpClient, HttpRequest};
use object_store::path::Path;
use object_store::signer::{SignedUrlOptions, Signer as _, Url};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;

use crate::client::connector::decode;
use crate::client::failure::{answered, kind_of, transport};
use crate::error::StoreErrorKind;
use crate::object::Object;

/// Characters that stay in a path, by the rules of signing.
const PATH: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');
/// The same within a query.
const QUERY: &AsciiSet = &PATH.add(b'/');

/// Maximum number of tries of one request.
///
/// Bound: object stores.
const TRIES: u32 = 4;
/// Maximum length of an answer in bytes.
///
/// Bound: object stores.
const LONGEST_ANSWER: usize = 16 << 20;
/// Parts of an object that one request lists.
const PARTS: &str = "1000";

/// One bucket.
pub(crate) struct S3 {
    pub(crate) store: AmazonS3,
    /// The same, asking for checksums.
    pub(crate) heads: AmazonS3,
    pub(crate) http: HttpClient,
    /// Without a slash at the end.
    pub(crate) bucket_url: String,
    pub(crate) region: String,
    /// Off for a public bucket.
    pub(crate) signs: bool,
    /// Plain HTTP.
    pub(crate) is_plain: bool,
    /// Off where requests need headers that only the library adds: encryption, payment by the
    /// requester.
    pub(crate) checks_uploads: bool,
}

/// A request to S3.
pub(crate) struct S3Request<'a> {
    pub(crate) method: Method,
    pub(crate) key: &'a Path,
    pub(crate) query: &'a [(&'a str, &'a str)],
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// An answer with a status of success.
pub(crate) struct S3Response {
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl S3 {
    /// Sends `request`, and retries when the server or the network fails.
    pub(crate) async fn send(&self, request: S3Request<'_>) -> Result<S3Response, StoreErrorKind> {
        let mut tried = 0;
        loop {
            tried += 1;
            let failure = match self.try_once(&request).await {
                Ok((status, headers, body)) if status.is_success() && !is_error(&body) => {
                    return Ok(S3Response { headers, body });
                }
                Ok((status, _, body)) => {
                    let text = String::from_utf8_lossy(&body);
                    let again = status.is_server_error()
                        || status.is_success()
                        || matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT);
                    // A server that has no such operation will not learn it.
                    if !again || status == StatusCode::NOT_IMPLEMENTED {
                        return Err(answered(status, &text));
                    }
                    answered(status, &text)
                }
                Err(RequestFailure::Lasting(kind)) => return Err(kind),
                Err(RequestFailure::Passing(kind)) => kind,
            };
            if tried == TRIES {
                return Err(failure);
            }
            tokio::time::sleep(Duration::from_millis(100) * 4_u32.pow(tried - 1)).await;
        }
    }

    async fn try_once(
        &self,
        request: &S3Request<'_>,
    ) -> Result<(StatusCode, HeaderMap, Bytes), RequestFailure> {
        let mut uri = self.url(request.key);
        for (index, (name, value)) in request.query.iter().enumerate() {
            uri.push(if index == 0 { '?' } else { '&' });
            uri.extend([name, "="]);
            uri.extend(utf8_percent_encode(value, QUERY));
        }
        let mut signed = HttpRequest::new(request.body.clone().into());
        *signed.method_mut() = request.method.clone();
        *signed.uri_mut() = uri.parse().map_err(|_| {
            RequestFailure::Lasting(StoreErrorKind::Misconfigured("the key makes no URL".to_owned()))
        })?;
        *signed.headers_mut() = request.headers.clone();
        if self.signs {
            let failed = |error| RequestFailure::Lasting(kind_of(&error));
            let credential = self.store.credentials().get_credential().await.map_err(failed)?;
            AwsAuthorizer::new(&credential, "s3", &self.region)
                // TLS protects the body already; hashing it costs more than sending it.
                .with_sign_payload(self.is_plain)
                .try_authorize(&mut signed, None)
                .map_err(failed)?;
        }
        let failed = |error| RequestFailure::Passing(StoreErrorKind::Unavailable(transport(&error)));
        let (parts, body) = self.http.execute(signed).await.map_err(failed)?.into_parts();
        let mut stream = body.bytes_stream();
        let mut bytes = BytesMut::new();
        while let Some(chunk) = stream.next().await {
            let chunk = chunk.map_err(failed)?;
            if bytes.len() + chunk.len() > LONGEST_ANSWER {
                let text = "its answer is far longer than any that is expected".to_owned();
                return Err(RequestFailure::Lasting(StoreErrorKind::Unavailable(text)));
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok((parts.status, parts.headers, bytes.freeze()))
    }

    /// The URL of an object, unsigned.
    pub(crate) fn url(&self, key: &Path) -> String {
        format!("{}/{}", self.bucket_url, utf8_percent_encode(key.as_ref(), PATH))
    }

    /// A URL that gives access to the object for a while.
    pub(crate) async fn signed_url(
        &self,
        key: &Path,
        version: Option<&str>,
        valid: Duration,
    ) -> Result<Url, StoreErrorKind> {
        let options = SignedUrlOptions::new().with_query(version.map(|version| ("versionId", version)));
        let url = if self.signs {
            self.store.signed_url_opts(Method::GET, key, valid, &options).await.map_err(|e| kind_of(&e))?
        } else {
            let mut url = Url::parse(&self.url(key))
                .map_err(|_| StoreErrorKind::Misconfigured("the key makes no URL".to_owned()))?;
            if let Some(version) = version {
                url.query_pairs_mut().append_pair("versionId", version);
            }
            url
        };
        Ok(url)
    }

    /// The CRC-32 of an object that was uploaded in parts, from those of the parts. None where the
    /// store has none.
    pub(crate) async fn combined_crc32(
        &self,
        path: &Path,
        object: &Object,
    ) -> Result<Option<u32>, StoreErrorKind> {
        let mut parts = Vec::new();
        let mut marker = String::new();
        loop {
            let mut headers = HeaderMap::new();
            headers.insert("x-amz-object-attributes", VALUE);
            headers.insert("x-amz-max-parts", http::HeaderValue::from_static(PARTS));
            if let Ok(value) = marker.parse()
                && !marker.is_empty()
            {
                headers.insert("x-amz-part-number-marker", value);
            }
            let mut query = vec![("attributes", "")];
            query.extend(object.version.as_deref().map(|version| ("versionId", version)));
            let request =
                S3Request { method: Method::GET, key: path, query: &query, headers, body: Bytes::new() };
            let answer = self.send(request).await?;
            let Ok(attributes) = quick_xml::de::from_reader::<_, Attributes>(&*answer.body) else {
                return Ok(None);
            };
            // The object may have been replaced in between.
            let same = |tag: &str| object.etag.as_deref().is_none_or(|etag| etag.trim_matches('"') == tag);
            if !attributes.etag.as_deref().is_none_or(|tag| same(tag.trim_matches('"'))) {
                return Ok(None);
            }
            // Heads of some servers do not tell the kind of their checksum.
            if let Some(Sums { crc32: Some(value), kind: Some(kind) }) = &attributes.sums
                && kind == "FULL_OBJECT"
            {
                return Ok(decode(value));
            }
            let Some(page) = attributes.parts else { return Ok(None) };
            let got = page.parts.len();
            parts.extend(page.parts);
            let next = page.next.unwrap_or_default();
            // A server that repeats itself must not cause an endless loop.
            if !page.truncated || got == 0 || next.is_empty() || next == marker {
                break;
            }
            marker = next;
        }
        Ok(combine(parts, object.size))
    }
}

const VALUE: http::HeaderValue = http::HeaderValue::from_static("ETag,Checksum,ObjectParts,ObjectSize");

enum RequestFailure {
    /// It may work the next time.
    Passing(StoreErrorKind),
    Lasting(StoreErrorKind),
}

/// S3 answers some requests with 200 before they fail.
fn is_error(body: &[u8]) -> bool {
    body.windows(7).take(400).any(|window| window == b"<Error>")
}

#[derive(Deserialize)]
struct Attributes {
    #[serde(rename = "ETag")]
    etag: Option<String>,
    #[serde(rename = "Checksum")]
    sums: Option<Sums>,
    #[serde(rename = "ObjectParts")]
    parts: Option<ListedParts>,
}

#[derive(Deserialize)]
struct Sums {
    #[serde(rename = "ChecksumCRC32")]
    crc32: Option<String>,
    #[serde(rename = "ChecksumType")]
    kind: Option<String>,
}

#[derive(Deserialize)]
struct ListedParts {
    #[serde(rename = "IsTruncated", default)]
    truncated: bool,
    #[serde(rename = "NextPartNumberMarker")]
    next: Option<String>,
    #[serde(rename = "Part", default)]
    parts: Vec<ListedPart>,
}

#[derive(Deserialize)]
struct ListedPart {
    #[serde(rename = "PartNumber")]
    number: u32,
    #[serde(rename = "Size")]
    size: u64,
    #[serde(rename = "ChecksumCRC32")]
    crc32: Option<String>,
}

/// None unless every byte of `size` belongs to a part whose CRC-32 is known.
fn combine(mut parts: Vec<ListedPart>, size: u64) -> Option<u32> {
    parts.sort_by_key(|part| part.number);
    let mut whole = crc32fast::Hasher::new();
    let mut total = 0_u64;
    for (index, part) in parts.iter().enumerate() {
        if part.number as usize != index + 1 {
            return None;
        }
        let crc32 = decode(part.crc32.as_deref()?)?;
        whole.combine(&crc32fast::Hasher::new_with_initial_len(crc32, part.size));
        total = total.checked_add(part.size)?;
    }
    (total == size && !parts.is_empty()).then(|| whole.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::connector::encode;

    #[test]
    fn parts_are_combined() {
        let bytes: Vec<u8> = (0..1000_u32).flat_map(u32::to_le_bytes).collect();
        let parts = |sizes: &[usize]| {
            let mut rest = bytes.as_slice();
            let parts = sizes.iter().enumerate().map(|(index, size)| {
                let (part, after) = rest.split_at(*size);
                rest = after;
                let crc32 = Some(encode(crc32fast::hash(part)));
                ListedPart { number: index as u32 + 1, size: *size as u64, crc32 }
            });
            parts.collect::<Vec<_>>()
        };
        let whole = Some(crc32fast::hash(&bytes));
        assert_eq!(combine(parts(&[4000]), 4000), whole);
        let mut mixed = parts(&[1000, 1, 2999]);
        mixed.swap(0, 2);
        assert_eq!(combine(mixed, 4000), whole);
        assert_eq!(combine(parts(&[1000, 2000]), 4000), None);
        assert_eq!(combine(Vec::new(), 0), None);
        let mut gap = parts(&[1000, 3000]);
        gap[1].number = 3;
        assert_eq!(combine(gap, 4000), None);
        let mut unknown = parts(&[1000, 3000]);
        unknown[0].crc32 = None;
        assert_eq!(combine(unknown, 4000), None);
    }

    #[test]
    fn attributes_are_read() {
        let xml = r#"<?xml version="1.0"?><GetObjectAttributesResponse xmlns="http://s3.amazonaws.com/doc/2006-03-01/">
            <ETag>abc-2</ETag><Checksum><ChecksumCRC32>AAAAAA==-2</ChecksumCRC32></Checksum>
            <ObjectParts><IsTruncated>true</IsTruncated><MaxParts>2</MaxParts>
            <NextPartNumberMarker>2</NextPartNumberMarker><PartNumberMarker>0</PartNumberMarker>
            <Part><ChecksumCRC32>AAAAAA==</ChecksumCRC32><PartNumber>1</PartNumber><Size>5</Size></Part>
            <Part><PartNumber>2</PartNumber><Size>6</Size></Part><TotalPartsCount>3</TotalPartsCount></ObjectParts>
            <ObjectSize>11</ObjectSize></GetObjectAttributesResponse>"#;
        let read: Attributes = quick_xml::de::from_reader(xml.as_bytes()).unwrap();
        assert_eq!(read.etag.as_deref(), Some("abc-2"));
        let parts = read.parts.unwrap();
        assert!(parts.truncated);
        assert_eq!(parts.next.as_deref(), Some("2"));
        assert_eq!(parts.parts.len(), 2);
        assert_eq!(parts.parts[1].size, 6);
    }
}
