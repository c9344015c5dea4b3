//! Multipart uploads and their checksums (CRC-32, FULL_OBJECT or COMPOSITE).

use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};
use md5::{Digest as _, Md5};
use s3s::dto::CompletedPart;
use s3s::{S3Result, s3_error};

use crate::s3::object::{ObjectChecksum, PartChecksum, StoredObject, crc32_text, hex};

/// An upload that is neither completed nor aborted.
pub(crate) struct Upload {
    pub(crate) bucket: String,
    pub(crate) key: String,
    pub(crate) checksums: Checksums,
    pub(crate) media_type: Option<String>,
    pub(crate) metadata: BTreeMap<String, String>,
    pub(crate) parts: BTreeMap<i32, Arrived>,
}

/// The checksum type an upload was created with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Checksums {
    /// No algorithm, or one that the double does not compute.
    None,
    Full,
    Composite,
}

impl Checksums {
    pub(crate) fn kind(self) -> Option<&'static str> {
        match self {
            Checksums::None => None,
            Checksums::Full => Some("FULL_OBJECT"),
            Checksums::Composite => Some("COMPOSITE"),
        }
    }
}

/// An uploaded part.
pub(crate) struct Arrived {
    pub(crate) bytes: Bytes,
    pub(crate) md5: [u8; 16],
    pub(crate) crc32: u32,
}

impl Arrived {
    pub(crate) fn new(bytes: Bytes) -> Arrived {
        Arrived { md5: Md5::digest(&bytes).into(), crc32: crc32fast::hash(&bytes), bytes }
    }

    pub(crate) fn etag(&self) -> String {
        hex(&self.md5)
    }
}

impl Upload {
    /// The object that the named parts make.
    pub(crate) fn complete(
        &self,
        named: &[CompletedPart],
        crc32: Option<&str>,
        least_part: u64,
    ) -> S3Result<StoredObject> {
        if named.is_empty() {
            return Err(s3_error!(MalformedXML, "an upload needs at least one part"));
        }
        let (mut all, mut md5s, mut parts) = (BytesMut::new(), Md5::new(), Vec::new());
        let mut whole = crc32fast::Hasher::new();
        let mut before = 0;
        for (at, part) in named.iter().enumerate() {
            let number = part.part_number.unwrap_or_default();
            if number <= before {
                return Err(s3_error!(InvalidPartOrder));
            }
            before = number;
            let Some(arrived) = self.parts.get(&number) else {
                return Err(s3_error!(InvalidPart, "part {number} was not uploaded"));
            };
            if part.e_tag.as_ref().is_none_or(|etag| etag.value() != arrived.etag()) {
                return Err(s3_error!(InvalidPart, "part {number} has another ETag"));
            }
            let has = crc32_text(arrived.crc32);
            if part.checksum_crc32.as_ref().is_some_and(|named| *named != has) {
                return Err(s3_error!(InvalidPart, "part {number} has another CRC-32"));
            }
            let len = arrived.bytes.len() as u64;
            if at + 1 < named.len() && len < least_part {
                return Err(s3_error!(EntityTooSmall));
            }
            all.extend_from_slice(&arrived.bytes);
            md5s.update(arrived.md5);
            whole.combine(&crc32fast::Hasher::new_with_initial_len(arrived.crc32, len));
            let crc32 = (self.checksums != Checksums::None).then_some(arrived.crc32);
            parts.push(PartChecksum { len, crc32 });
        }
        let checksum = match self.checksums {
            Checksums::None => None,
            Checksums::Full => Some(ObjectChecksum::Full(whole.finalize())),
            Checksums::Composite => Some(ObjectChecksum::composite(&parts)),
        };
        if let (Some(sent), Some(checksum)) = (crc32, checksum) {
            // Clients send a composite value with or without the number of parts.
            let has = checksum.text(parts.len());
            if sent != has && has.strip_suffix(&format!("-{}", parts.len())) != Some(sent) {
                return Err(s3_error!(BadDigest, "the object has another CRC-32"));
            }
        }
        let etag = format!("{}-{}", hex(&md5s.finalize()), parts.len());
        let mut object = StoredObject::new(all.freeze()).etag(&etag);
        object.checksum = checksum;
        object.parts = parts;
        object.media_type.clone_from(&self.media_type);
        object.metadata.clone_from(&self.metadata);
        Ok(object)
    }
}
