//! Uploads to S3 whose CRC-32 the server checks and keeps: of each part, and of the whole
//! (FULL_OBJECT), so that every later head tells it.

use std::sync::atomic::Ordering;

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use serde::Deserialize;

use crate::client::connector::{Checksum, encode};
use crate::client::failure::kind_of;
use crate::client::requests::{S3, S3Request};
use crate::error::StoreErrorKind;
use crate::upload::job::{PART, UploadJob};
use crate::upload::uploads::{UploadFailure, Uploaded};

#[derive(Deserialize)]
struct BegunUpload {
    #[serde(rename = "UploadId")]
    id: String,
}

#[derive(Deserialize)]
struct CompletedUpload {
    #[serde(rename = "ETag")]
    etag: Option<String>,
}

struct UploadedPart {
    etag: String,
    crc32: u32,
    len: u64,
}

impl UploadJob {
    /// With sums that the server checks. `None` if it has none or refuses them.
    pub(super) async fn checked(&self) -> Option<Result<Uploaded, UploadFailure>> {
        let clients = match self.store.writers() {
            Ok(clients) => clients,
            Err(kind) => return Some(Err(kind.into())),
        };
        let s3 = clients.s3.as_ref().filter(|s3| s3.checks_uploads)?;
        if self.uploads.unchecked.load(Ordering::Relaxed) {
            return None;
        }
        let before = self.uploads.sent();
        let done =
            if self.file.size <= PART { self.put_checked(s3).await } else { self.parts_checked(s3).await };
        match done {
            Err(UploadFailure::Store(kind)) if refuses_checksums(&kind) => {
                tracing::debug!("uploads go on without checksums: {kind}");
                self.uploads.unchecked.store(true, Ordering::Relaxed);
                // Only a progress bar depends on it.
                let more = self.uploads.sent().saturating_sub(before).min(self.file.size);
                self.uploads.sent.fetch_sub(more, Ordering::Relaxed);
                None
            }
            done => Some(done),
        }
    }

    /// With one request.
    pub(crate) async fn put_checked(&self, s3: &S3) -> Result<Uploaded, UploadFailure> {
        let _lane = self.lane().await?;
        let (body, crc32) = self.whole().await?;
        let mut headers = self.type_header();
        checksum(&mut headers, crc32);
        headers.insert("x-amz-sdk-checksum-algorithm", HeaderValue::from_static("CRC32"));
        let request = S3Request { method: Method::PUT, key: &self.path, query: &[], headers, body };
        let answer = self.or_stop(async { Ok(s3.send(request).await?) }).await?;
        self.count(self.file.size);
        Ok(Uploaded { etag: etag_of(&answer.headers), crc32, size: self.file.size })
    }

    /// In parts. After a failure no parts stay behind, which would be invisible and cost money.
    pub(crate) async fn parts_checked(&self, s3: &S3) -> Result<Uploaded, UploadFailure> {
        let mut headers = self.type_header();
        headers.insert("x-amz-checksum-algorithm", HeaderValue::from_static("CRC32"));
        headers.insert("x-amz-checksum-type", HeaderValue::from_static("FULL_OBJECT"));
        let query = [("uploads", "")];
        let request =
            S3Request { method: Method::POST, key: &self.path, query: &query, headers, body: Bytes::new() };
        let answer = s3.send(request).await?;
        let begun: BegunUpload = quick_xml::de::from_reader(&*answer.body)
            .map_err(|_| StoreErrorKind::Unavailable("it answered without an id of the upload".to_owned()))?;
        let done = match self.or_stop(self.send_parts_checked(s3, &begun.id)).await {
            Ok(parts) => self.complete(s3, &begun.id, &parts).await,
            Err(failure) => Err(failure),
        };
        if done.is_err() {
            let query = [("uploadId", begun.id.as_str())];
            let request = S3Request {
                method: Method::DELETE,
                key: &self.path,
                query: &query,
                headers: HeaderMap::new(),
                body: Bytes::new(),
            };
            if let Err(kind) = s3.send(request).await {
                tracing::debug!("an upload could not be taken back: {kind}");
            }
        }
        done
    }

    async fn send_parts_checked(&self, s3: &S3, id: &str) -> Result<Vec<UploadedPart>, UploadFailure> {
        let parts = futures_util::stream::iter(0..self.part_count()).map(|index| async move {
            let _lane = self.lane().await?;
            let (body, crc32) = self.part(index).await?;
            let len = body.len() as u64;
            let number = (index + 1).to_string();
            let query = [("partNumber", number.as_str()), ("uploadId", id)];
            let mut headers = HeaderMap::new();
            checksum(&mut headers, crc32);
            headers.insert("x-amz-sdk-checksum-algorithm", HeaderValue::from_static("CRC32"));
            let request = S3Request { method: Method::PUT, key: &self.path, query: &query, headers, body };
            let answer = s3.send(request).await?;
            let etag = etag_of(&answer.headers).ok_or_else(|| {
                StoreErrorKind::Unavailable("it took a part and gave no tag for it".to_owned())
            })?;
            self.count(len);
            Ok::<_, UploadFailure>(UploadedPart { etag, crc32, len })
        });
        let parts: Vec<UploadedPart> = parts.buffered(self.uploads.parallel()).try_collect().await?;
        // A file that changed while it was read must not become an object.
        self.file.verify()?;
        Ok(parts)
    }

    async fn complete(&self, s3: &S3, id: &str, parts: &[UploadedPart]) -> Result<Uploaded, UploadFailure> {
        let mut whole = crc32fast::Hasher::new();
        let mut xml =
            String::from("<CompleteMultipartUpload xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">");
        for (index, part) in parts.iter().enumerate() {
            whole.combine(&crc32fast::Hasher::new_with_initial_len(part.crc32, part.len));
            let etag = quick_xml::escape::escape(&part.etag);
            let crc32 = encode(part.crc32);
            let number = index + 1;
            xml.push_str(&format!(
                "<Part><ETag>{etag}</ETag><ChecksumCRC32>{crc32}</ChecksumCRC32><PartNumber>{number}</PartNumber></Part>"
            ));
        }
        xml.push_str("</CompleteMultipartUpload>");
        let crc32 = whole.finalize();
        let size = self.file.size;
        let mut headers = HeaderMap::new();
        checksum(&mut headers, crc32);
        headers.insert("x-amz-checksum-type", HeaderValue::from_static("FULL_OBJECT"));
        headers.insert("content-type", HeaderValue::from_static("application/xml"));
        let query = [("uploadId", id)];
        let request =
            S3Request { method: Method::POST, key: &self.path, query: &query, headers, body: xml.into() };
        match s3.send(request).await {
            Ok(answer) => {
                let completed = quick_xml::de::from_reader::<_, CompletedUpload>(&*answer.body).ok();
                let etag = completed.and_then(|completed| completed.etag).map(quoted);
                Ok(Uploaded { etag, crc32, size })
            }
            // A try whose answer was lost may have worked: then the upload is gone, but the object
            // is there.
            Err(StoreErrorKind::NotFound) => {
                let options = object_store::GetOptions { head: true, ..object_store::GetOptions::default() };
                let head = object_store::ObjectStore::get_opts(&s3.heads, &self.path, options).await;
                let head = head.map_err(|error| kind_of(&error))?;
                let is_it = head.meta.size == size
                    && head.extensions.get::<Checksum>() == Some(&Checksum::Whole(crc32));
                if is_it {
                    return Ok(Uploaded { etag: head.meta.e_tag, crc32, size });
                }
                Err(StoreErrorKind::Unavailable("the upload got lost in the store; try again".to_owned())
                    .into())
            }
            Err(kind) => Err(kind.into()),
        }
    }

    fn type_header(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        if let Ok(value) = HeaderValue::from_str(&self.media_type) {
            headers.insert("content-type", value);
        }
        headers
    }
}

fn checksum(headers: &mut HeaderMap, crc32: u32) {
    if let Ok(value) = HeaderValue::from_str(&encode(crc32)) {
        headers.insert(HeaderName::from_static("x-amz-checksum-crc32"), value);
    }
}

fn etag_of(headers: &HeaderMap) -> Option<String> {
    headers.get("etag")?.to_str().ok().map(|etag| quoted(etag.to_owned()))
}

/// Some servers forget the quotes.
fn quoted(etag: String) -> String {
    if etag.starts_with('"') { etag } else { format!("\"{etag}\"") }
}

/// Whether a server may not know checksums. One that found a wrong sum does.
fn refuses_checksums(kind: &StoreErrorKind) -> bool {
    match kind {
        StoreErrorKind::Misconfigured(text) | StoreErrorKind::Unsupported(text) => {
            !["BadDigest", "ChecksumMismatch", "KeyTooLong", "NoSuchBucket"]
                .iter()
                .any(|known| text.contains(known))
        }
        _ => false,
    }
}
