//! The operations of S3.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use http::HeaderValue;
use http::header::ETAG;
use md5::{Digest as _, Md5};
use parking_lot::{Mutex, MutexGuard};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use s3s::dto::{
    AbortMultipartUploadInput, AbortMultipartUploadOutput, Bucket, ChecksumAlgorithm, ChecksumType,
    CommonPrefix, CompleteMultipartUploadInput, CompleteMultipartUploadOutput, CreateBucketInput,
    CreateBucketOutput, CreateMultipartUploadInput, CreateMultipartUploadOutput, DeleteObjectInput,
    DeleteObjectOutput, DeleteObjectsInput, DeleteObjectsOutput, DeletedObject, ETag, ETagCondition,
    EncodingType, GetObjectAttributesInput, GetObjectAttributesOutput, GetObjectAttributesParts,
    GetObjectInput, GetObjectOutput, HeadBucketInput, HeadBucketOutput, HeadObjectInput, HeadObjectOutput,
    ListBucketsInput, ListBucketsOutput, ListObjectsV2Input, ListObjectsV2Output, ObjectAttributes,
    ObjectPart, ObjectStorageClass, PutObjectInput, PutObjectOutput, StreamingBlob, Timestamp,
    UploadPartInput, UploadPartOutput,
};
use s3s::{S3, S3Error, S3ErrorCode, S3Request, S3Response, S3Result, TrailingHeaders, s3_error};

use crate::s3::multipart::{Arrived, Checksums, Upload};
use crate::s3::object::{ObjectChecksum, StoredObject, crc32_text};
use crate::s3::store::Buckets;

/// What the fault plan demands of an operation, in the request's extensions.
#[derive(Clone, Copy, Default)]
pub(crate) struct PlayedFaults {
    /// Answer a range with the whole object.
    pub(crate) ignore_range: bool,
    /// Answer although the conditions forbid it.
    pub(crate) ignore_conditions: bool,
}

/// The operations, on buckets that the handle shares.
pub(crate) struct Operations(pub(crate) Arc<Mutex<Buckets>>);

/// Characters of a key that are not percent-encoded in XML.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~').remove(b'/');

impl Operations {
    fn store(&self) -> MutexGuard<'_, Buckets> {
        self.0.lock()
    }

    fn object(&self, bucket: &str, key: &str, version: Option<&str>) -> S3Result<Arc<StoredObject>> {
        let store = self.store();
        if !store.has_bucket(bucket) {
            return Err(s3_error!(NoSuchBucket));
        }
        match (store.get(bucket, key, version), version) {
            (Some(object), _) => Ok(object),
            (None, None) => Err(s3_error!(NoSuchKey)),
            (None, Some(_)) => Err(s3_error!(NoSuchVersion)),
        }
    }
}

/// Checks the conditions of an upload against the present object.
fn check_put(
    present: Option<&Arc<StoredObject>>,
    if_match: Option<&ETagCondition>,
    if_none_match: Option<&ETagCondition>,
) -> S3Result<()> {
    let is = |condition: &ETagCondition| {
        present.is_some_and(|object| condition.as_etag().is_none_or(|etag| etag.value() == object.etag))
    };
    if if_match.is_some_and(|condition| !is(condition)) || if_none_match.is_some_and(is) {
        return Err(s3_error!(PreconditionFailed));
    }
    Ok(())
}

/// Checks the conditions of a GET or HEAD.
fn check_conditions(
    object: &StoredObject,
    if_match: Option<&ETagCondition>,
    if_none_match: Option<&ETagCondition>,
) -> S3Result<()> {
    let is = |condition: &ETagCondition| condition.as_etag().is_none_or(|etag| etag.value() == object.etag);
    if if_match.is_some_and(|condition| !is(condition)) {
        return Err(s3_error!(PreconditionFailed, "At least one of the preconditions did not hold"));
    }
    if if_none_match.is_some_and(is) {
        let mut error = S3Error::new(S3ErrorCode::NotModified);
        let etag = HeaderValue::from_str(&format!("\"{}\"", object.etag));
        error.set_headers(etag.into_iter().map(|etag| (ETAG, etag)).collect());
        return Err(error);
    }
    Ok(())
}

/// The checksum and its type for a response's head, if it was requested and covers these bytes.
fn checksum_fields(
    object: &StoredObject,
    asked: bool,
    range: bool,
) -> (Option<String>, Option<ChecksumType>) {
    let checksum = object.checksum.filter(|_| asked && !range);
    let text = checksum.map(|checksum| checksum.text(object.parts.len()));
    (text, checksum.map(|checksum| ChecksumType::from_static(checksum.kind())))
}

fn metadata(object: &StoredObject) -> Option<s3s::dto::Metadata> {
    (!object.metadata.is_empty()).then(|| object.metadata.clone().into_iter().collect())
}

/// Reads a request's body, and verifies the checksums sent with it.
async fn receive(
    body: Option<StreamingBlob>,
    md5: Option<&str>,
    crc32: Option<&str>,
    trailers: Option<&TrailingHeaders>,
) -> S3Result<(Bytes, Option<u32>)> {
    let mut all = BytesMut::new();
    if let Some(mut body) = body {
        while let Some(piece) = body.next().await {
            // Cut off, or with an invalid signature.
            all.extend_from_slice(&piece.map_err(|error| s3_error!(IncompleteBody, "{error}"))?);
        }
    }
    let all = all.freeze();
    let trailer = trailers.and_then(|trailers| {
        trailers.read(|fields| Some(fields.get("x-amz-checksum-crc32")?.to_str().ok()?.to_owned())).flatten()
    });
    if md5.is_some_and(|md5| md5 != BASE64_STANDARD.encode(Md5::digest(&all))) {
        return Err(s3_error!(BadDigest, "the body has another MD5"));
    }
    let Some(sent) = crc32.or(trailer.as_deref()) else { return Ok((all, None)) };
    let has = crc32fast::hash(&all);
    if sent != crc32_text(has) {
        return Err(s3_error!(BadDigest, "the body has another CRC-32"));
    }
    Ok((all, Some(has)))
}

#[async_trait::async_trait]
impl S3 for Operations {
    async fn get_object(&self, request: S3Request<GetObjectInput>) -> S3Result<S3Response<GetObjectOutput>> {
        let faults = request.extensions.get::<PlayedFaults>().copied().unwrap_or_default();
        let input = request.input;
        let object = self.object(&input.bucket, &input.key, input.version_id.as_deref())?;
        if !faults.ignore_conditions {
            check_conditions(&object, input.if_match.as_ref(), input.if_none_match.as_ref())?;
        }
        let len = object.body.len();
        let asked = input.range.filter(|_| !faults.ignore_range);
        let range = match asked {
            Some(range) => range.check(len)?,
            None => 0..len,
        };
        let content_range =
            asked.map(|_| format!("bytes {}-{}/{len}", range.start, range.end.saturating_sub(1)));
        let (crc32, kind) = checksum_fields(&object, input.checksum_mode.is_some(), content_range.is_some());
        Ok(S3Response::new(GetObjectOutput {
            accept_ranges: Some("bytes".to_owned()),
            content_length: Some((range.end - range.start) as i64),
            body: Some(StreamingBlob::new(object.body.stream(range))),
            checksum_crc32: crc32,
            checksum_type: kind,
            content_range,
            content_type: Some(object.media_type.clone().unwrap_or_else(default_type)),
            e_tag: Some(ETag::Strong(object.etag.clone())),
            last_modified: Some(Timestamp::from(object.modified)),
            metadata: metadata(&object),
            version_id: Some(object.version.clone()).filter(|version| version != "null"),
            ..GetObjectOutput::default()
        }))
    }

    async fn head_object(
        &self,
        request: S3Request<HeadObjectInput>,
    ) -> S3Result<S3Response<HeadObjectOutput>> {
        let faults = request.extensions.get::<PlayedFaults>().copied().unwrap_or_default();
        let input = request.input;
        let object = self.object(&input.bucket, &input.key, input.version_id.as_deref())?;
        if !faults.ignore_conditions {
            check_conditions(&object, input.if_match.as_ref(), input.if_none_match.as_ref())?;
        }
        let (crc32, kind) = checksum_fields(&object, input.checksum_mode.is_some(), false);
        Ok(S3Response::new(HeadObjectOutput {
            accept_ranges: Some("bytes".to_owned()),
            content_length: Some(object.body.len() as i64),
            checksum_crc32: crc32,
            checksum_type: kind,
            content_type: Some(object.media_type.clone().unwrap_or_else(default_type)),
            e_tag: Some(ETag::Strong(object.etag.clone())),
            last_modified: Some(Timestamp::from(object.modified)),
            metadata: metadata(&object),
            version_id: Some(object.version.clone()).filter(|version| version != "null"),
            ..HeadObjectOutput::default()
        }))
    }

    async fn get_object_attributes(
        &self,
        request: S3Request<GetObjectAttributesInput>,
    ) -> S3Result<S3Response<GetObjectAttributesOutput>> {
        let input = request.input;
        let object = self.object(&input.bucket, &input.key, input.version_id.as_deref())?;
        // As one field with commas, or as several fields.
        let wanted = input.object_attributes.iter().flat_map(|field| field.as_str().split(','));
        let wanted: Vec<&str> = wanted.map(str::trim).collect();
        let wants = |name: &str| wanted.contains(&name);
        let count = object.parts.len();
        let parts = (wants(ObjectAttributes::OBJECT_PARTS) && count > 0).then(|| {
            let after = input.part_number_marker.unwrap_or(0).max(0);
            let most = input.max_parts.unwrap_or(1000).clamp(1, 1000);
            let page: Vec<ObjectPart> = (1..)
                .zip(&object.parts)
                .skip(after as usize)
                .take(most as usize)
                .map(|(number, part)| ObjectPart {
                    part_number: Some(number),
                    size: Some(part.len as i64),
                    checksum_crc32: part.crc32.map(crc32_text),
                    ..ObjectPart::default()
                })
                .collect();
            let last = after + page.len() as i32;
            GetObjectAttributesParts {
                is_truncated: Some((last as usize) < count),
                max_parts: Some(most),
                next_part_number_marker: Some(last),
                part_number_marker: Some(after),
                // S3 lists the parts of objects with a checksum, and of others only their number.
                parts: object.checksum.is_some().then_some(page),
                total_parts_count: Some(count as i32),
            }
        });
        let checksum = object.checksum.filter(|_| wants(ObjectAttributes::CHECKSUM));
        let mut response = S3Response::new(GetObjectAttributesOutput {
            checksum: checksum.map(|checksum| s3s::dto::Checksum {
                // Here S3 omits the number of parts.
                checksum_crc32: Some(crc32_text(match checksum {
                    ObjectChecksum::Full(crc32) | ObjectChecksum::Composite(crc32) => crc32,
                })),
                checksum_type: Some(ChecksumType::from_static(checksum.kind())),
                ..s3s::dto::Checksum::default()
            }),
            e_tag: wants(ObjectAttributes::ETAG).then(|| ETag::Strong(object.etag.clone())),
            object_parts: parts,
            object_size: wants(ObjectAttributes::OBJECT_SIZE).then_some(object.body.len() as i64),
            ..GetObjectAttributesOutput::default()
        });
        response.output.last_modified = Some(Timestamp::from(object.modified));
        Ok(response)
    }

    async fn list_objects_v2(
        &self,
        request: S3Request<ListObjectsV2Input>,
    ) -> S3Result<S3Response<ListObjectsV2Output>> {
        let input = request.input;
        let store = self.store();
        if !store.has_bucket(&input.bucket) {
            return Err(s3_error!(NoSuchBucket));
        }
        let most = input.max_keys.unwrap_or(1000).clamp(0, 1000);
        let token = input.continuation_token.as_deref().map(|token| BASE64_STANDARD.decode(token));
        let after = match token {
            None => input.start_after.clone().unwrap_or_default(),
            Some(token) => token
                .ok()
                .and_then(|token| String::from_utf8(token).ok())
                .ok_or_else(|| s3_error!(InvalidArgument, "unknown continuation token"))?,
        };
        let (prefix, delimiter) = (input.prefix.as_deref(), input.delimiter.as_deref());
        let page = store.list(
            &input.bucket,
            prefix.unwrap_or_default(),
            delimiter.unwrap_or_default(),
            &after,
            most as usize,
        );
        let encoded = input.encoding_type.as_ref().is_some_and(|kind| kind.as_str() == EncodingType::URL);
        let text = |key: &str| match encoded {
            true => utf8_percent_encode(key, PLAIN).to_string(),
            false => key.to_owned(),
        };
        let next = page.next.filter(|_| most > 0).map(|next| BASE64_STANDARD.encode(next));
        Ok(S3Response::new(ListObjectsV2Output {
            name: Some(input.bucket.clone()),
            prefix: input.prefix.as_deref().map(text),
            delimiter: input.delimiter.as_deref().map(text),
            start_after: input.start_after.as_deref().map(text),
            encoding_type: input.encoding_type.clone(),
            continuation_token: input.continuation_token.clone(),
            max_keys: Some(most),
            key_count: Some((page.objects.len() + page.prefixes.len()) as i32),
            is_truncated: Some(next.is_some()),
            next_continuation_token: next,
            contents: Some(
                page.objects
                    .iter()
                    .map(|(key, object)| s3s::dto::Object {
                        key: Some(text(key)),
                        size: Some(object.body.len() as i64),
                        e_tag: Some(ETag::Strong(object.etag.clone())),
                        last_modified: Some(Timestamp::from(object.modified)),
                        storage_class: Some(ObjectStorageClass::from_static(ObjectStorageClass::STANDARD)),
                        ..s3s::dto::Object::default()
                    })
                    .collect(),
            ),
            common_prefixes: Some(
                page.prefixes.iter().map(|prefix| CommonPrefix { prefix: Some(text(prefix)) }).collect(),
            ),
            ..ListObjectsV2Output::default()
        }))
    }

    async fn put_object(&self, request: S3Request<PutObjectInput>) -> S3Result<S3Response<PutObjectOutput>> {
        let input = request.input;
        let md5 = input.content_md5.as_deref();
        let trailers = request.trailing_headers.as_ref();
        let (bytes, crc32) = receive(input.body, md5, input.checksum_crc32.as_deref(), trailers).await?;
        let mut object = StoredObject::new(bytes);
        object.checksum = crc32.map(ObjectChecksum::Full);
        object.media_type = input.content_type;
        object.metadata = input.metadata.unwrap_or_default().into_iter().collect();
        let mut store = self.store();
        if !store.has_bucket(&input.bucket) {
            return Err(s3_error!(NoSuchBucket));
        }
        let present = store.get(&input.bucket, &input.key, None);
        check_put(present.as_ref(), input.if_match.as_ref(), input.if_none_match.as_ref())?;
        let object = store.put(&input.bucket, &input.key, object);
        Ok(S3Response::new(PutObjectOutput {
            checksum_crc32: crc32.map(crc32_text),
            checksum_type: crc32.map(|_| ChecksumType::from_static(ChecksumType::FULL_OBJECT)),
            e_tag: Some(ETag::Strong(object.etag.clone())),
            version_id: Some(object.version.clone()).filter(|version| version != "null"),
            ..PutObjectOutput::default()
        }))
    }

    async fn create_multipart_upload(
        &self,
        request: S3Request<CreateMultipartUploadInput>,
    ) -> S3Result<S3Response<CreateMultipartUploadOutput>> {
        let input = request.input;
        let algorithm = input.checksum_algorithm.as_ref().map(ChecksumAlgorithm::as_str);
        let checksums = match (algorithm, input.checksum_type.as_ref().map(ChecksumType::as_str)) {
            (Some(ChecksumAlgorithm::CRC32), Some(ChecksumType::FULL_OBJECT)) => Checksums::Full,
            (Some(ChecksumAlgorithm::CRC32), _) => Checksums::Composite,
            _ => Checksums::None,
        };
        let mut store = self.store();
        if !store.has_bucket(&input.bucket) {
            return Err(s3_error!(NoSuchBucket));
        }
        let id = format!("upload-{:08}", store.fresh());
        let upload = Upload {
            bucket: input.bucket.clone(),
            key: input.key.clone(),
            checksums,
            media_type: input.content_type,
            metadata: input.metadata.unwrap_or_default().into_iter().collect(),
            parts: BTreeMap::new(),
        };
        store.uploads.insert(id.clone(), upload);
        Ok(S3Response::new(CreateMultipartUploadOutput {
            bucket: Some(input.bucket),
            key: Some(input.key),
            upload_id: Some(id),
            checksum_algorithm: input.checksum_algorithm,
            checksum_type: checksums.kind().map(ChecksumType::from_static),
            ..CreateMultipartUploadOutput::default()
        }))
    }

    async fn upload_part(
        &self,
        request: S3Request<UploadPartInput>,
    ) -> S3Result<S3Response<UploadPartOutput>> {
        let input = request.input;
        if !(1..=10_000).contains(&input.part_number) {
            return Err(s3_error!(InvalidArgument, "part numbers are 1 to 10000"));
        }
        let md5 = input.content_md5.as_deref();
        let trailers = request.trailing_headers.as_ref();
        let (bytes, crc32) = receive(input.body, md5, input.checksum_crc32.as_deref(), trailers).await?;
        let part = Arrived::new(bytes);
        let etag = part.etag();
        let mut store = self.store();
        let upload = store.uploads.get_mut(&input.upload_id);
        let upload = upload.filter(|upload| upload.bucket == input.bucket && upload.key == input.key);
        let upload = upload.ok_or_else(|| s3_error!(NoSuchUpload))?;
        upload.parts.insert(input.part_number, part);
        Ok(S3Response::new(UploadPartOutput {
            checksum_crc32: crc32.map(crc32_text),
            e_tag: Some(ETag::Strong(etag)),
            ..UploadPartOutput::default()
        }))
    }

    async fn complete_multipart_upload(
        &self,
        request: S3Request<CompleteMultipartUploadInput>,
    ) -> S3Result<S3Response<CompleteMultipartUploadOutput>> {
        let input = request.input;
        let mut store = self.store();
        let least_part = store.least_part;
        let upload = store.uploads.get(&input.upload_id);
        let upload = upload.filter(|upload| upload.bucket == input.bucket && upload.key == input.key);
        let upload = upload.ok_or_else(|| s3_error!(NoSuchUpload))?;
        let kind = upload.checksums.kind();
        if input.checksum_type.as_ref().is_some_and(|sent| Some(sent.as_str()) != kind) {
            return Err(s3_error!(InvalidRequest, "the upload was begun with another checksum type"));
        }
        let named = input.multipart_upload.and_then(|upload| upload.parts).unwrap_or_default();
        let object = upload.complete(&named, input.checksum_crc32.as_deref(), least_part)?;
        if input.mpu_object_size.is_some_and(|sent| sent as u64 != object.body.len()) {
            return Err(s3_error!(InvalidRequest, "the object has another size"));
        }
        let present = store.get(&input.bucket, &input.key, None);
        check_put(present.as_ref(), input.if_match.as_ref(), input.if_none_match.as_ref())?;
        store.uploads.remove(&input.upload_id);
        let object = store.put(&input.bucket, &input.key, object);
        let (crc32, kind) = checksum_fields(&object, true, false);
        Ok(S3Response::new(CompleteMultipartUploadOutput {
            bucket: Some(input.bucket),
            key: Some(input.key),
            checksum_crc32: crc32,
            checksum_type: kind,
            e_tag: Some(ETag::Strong(object.etag.clone())),
            version_id: Some(object.version.clone()).filter(|version| version != "null"),
            ..CompleteMultipartUploadOutput::default()
        }))
    }

    async fn abort_multipart_upload(
        &self,
        request: S3Request<AbortMultipartUploadInput>,
    ) -> S3Result<S3Response<AbortMultipartUploadOutput>> {
        match self.store().uploads.remove(&request.input.upload_id) {
            Some(_) => Ok(S3Response::new(AbortMultipartUploadOutput::default())),
            None => Err(s3_error!(NoSuchUpload)),
        }
    }

    async fn delete_object(
        &self,
        request: S3Request<DeleteObjectInput>,
    ) -> S3Result<S3Response<DeleteObjectOutput>> {
        self.store().delete(&request.input.bucket, &request.input.key);
        Ok(S3Response::new(DeleteObjectOutput::default()))
    }

    async fn delete_objects(
        &self,
        request: S3Request<DeleteObjectsInput>,
    ) -> S3Result<S3Response<DeleteObjectsOutput>> {
        let input = request.input;
        let mut store = self.store();
        let deleted = input.delete.objects.into_iter().map(|object| {
            store.delete(&input.bucket, &object.key);
            DeletedObject { key: Some(object.key), ..DeletedObject::default() }
        });
        Ok(S3Response::new(DeleteObjectsOutput {
            deleted: Some(deleted.collect()),
            ..DeleteObjectsOutput::default()
        }))
    }

    async fn head_bucket(
        &self,
        request: S3Request<HeadBucketInput>,
    ) -> S3Result<S3Response<HeadBucketOutput>> {
        match self.store().has_bucket(&request.input.bucket) {
            true => Ok(S3Response::new(HeadBucketOutput::default())),
            false => Err(s3_error!(NoSuchBucket)),
        }
    }

    async fn create_bucket(
        &self,
        request: S3Request<CreateBucketInput>,
    ) -> S3Result<S3Response<CreateBucketOutput>> {
        self.store().create(&request.input.bucket);
        Ok(S3Response::new(CreateBucketOutput::default()))
    }

    async fn list_buckets(
        &self,
        _request: S3Request<ListBucketsInput>,
    ) -> S3Result<S3Response<ListBucketsOutput>> {
        let names = self.store().bucket_names();
        let buckets = names.into_iter().map(|name| Bucket { name: Some(name), ..Bucket::default() });
        Ok(S3Response::new(ListBucketsOutput {
            buckets: Some(buckets.collect()),
            ..ListBucketsOutput::default()
        }))
    }
}

fn default_type() -> String {
    "binary/octet-stream".to_owned()
}
