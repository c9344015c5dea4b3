//! An object: its bytes, its ETag, and the CRC-32 it was uploaded with.

use std::collections::BTreeMap;
use std::time::SystemTime;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use md5::{Digest as _, Md5};

use crate::s3::body::{ObjectBody, mix};

/// An object as it is put.
#[derive(Clone, Debug)]
pub struct StoredObject {
    pub(crate) body: ObjectBody,
    pub(crate) etag: String,
    pub(crate) modified: SystemTime,
    pub(crate) media_type: Option<String>,
    pub(crate) metadata: BTreeMap<String, String>,
    pub(crate) checksum: Option<ObjectChecksum>,
    /// The parts it was uploaded in; empty if it was not.
    pub(crate) parts: Vec<PartChecksum>,
    pub(crate) version: String,
}

/// The CRC-32 that an object was uploaded with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ObjectChecksum {
    /// Of all bytes.
    Full(u32),
    /// Of the parts' CRC-32s, one after the other.
    Composite(u32),
}

/// Size and CRC-32 of a part.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PartChecksum {
    pub(crate) len: u64,
    pub(crate) crc32: Option<u32>,
}

impl StoredObject {
    /// An object with these bytes, without a checksum, modified now.
    #[must_use]
    pub fn new(body: impl Into<ObjectBody>) -> StoredObject {
        let body = body.into();
        let etag = match &body {
            ObjectBody::Bytes(bytes) => hex(&Md5::digest(bytes)),
            // Not the MD5, but as specific: it names what the bytes are made of.
            ObjectBody::Pattern { seed, len } => format!("{:016x}{:016x}", mix(*seed), mix(*len)),
            ObjectBody::File { file, len } => {
                let modified = file.metadata().and_then(|metadata| metadata.modified());
                hex(&Md5::digest(format!("{modified:?} {len}")))
            }
        };
        StoredObject {
            body,
            etag,
            modified: SystemTime::now(),
            media_type: None,
            metadata: BTreeMap::new(),
            checksum: None,
            parts: Vec::new(),
            version: "null".to_owned(),
        }
    }

    /// `len` bytes that are computed when they are read, see [`crate::s3::pattern`].
    #[must_use]
    pub fn pattern(seed: u64, len: u64) -> StoredObject {
        StoredObject::new(ObjectBody::Pattern { seed, len })
    }

    /// As if uploaded with its CRC-32 (FULL_OBJECT). Reads or computes all bytes.
    ///
    /// # Errors
    /// Those of reading the file.
    pub fn with_crc32(mut self) -> std::io::Result<StoredObject> {
        self.checksum = Some(ObjectChecksum::Full(self.body.crc32()?));
        Ok(self)
    }

    /// As if uploaded in parts of `part` bytes with a CRC-32 each (COMPOSITE).
    ///
    /// # Errors
    /// Those of reading the file.
    pub fn with_composite_crc32(mut self, part: u64) -> std::io::Result<StoredObject> {
        let part = part.max(1);
        let mut at = 0;
        self.parts.clear();
        while at < self.body.len() || self.parts.is_empty() {
            let len = part.min(self.body.len() - at);
            let crc32 = crc32fast::hash(&self.body.read(at, len as usize)?);
            self.parts.push(PartChecksum { len, crc32: Some(crc32) });
            at += len;
        }
        self.checksum = Some(ObjectChecksum::composite(&self.parts));
        self.etag = format!("{}-{}", self.etag, self.parts.len());
        Ok(self)
    }

    /// With another modified time; S3 reports whole seconds.
    #[must_use]
    pub fn modified(mut self, time: SystemTime) -> StoredObject {
        self.modified = time;
        self
    }

    /// With a `Content-Type`.
    #[must_use]
    pub fn media_type(mut self, media_type: &str) -> StoredObject {
        self.media_type = Some(media_type.to_owned());
        self
    }

    /// With an ETag of the test's choice, without quotes.
    #[must_use]
    pub fn etag(mut self, etag: &str) -> StoredObject {
        self.etag = etag.to_owned();
        self
    }

    /// Other bytes of the same size and kind of checksum, with another ETag.
    pub(crate) fn other(&self) -> std::io::Result<StoredObject> {
        let other = StoredObject::new(match &self.body {
            ObjectBody::Bytes(bytes) => bytes.iter().map(|byte| !byte).collect::<Vec<u8>>().into(),
            ObjectBody::Pattern { seed, len } => ObjectBody::Pattern { seed: mix(*seed), len: *len },
            ObjectBody::File { len, .. } => ObjectBody::Pattern { seed: mix(*len), len: *len },
        });
        let other = match self.checksum {
            None => other,
            Some(ObjectChecksum::Full(_)) => other.with_crc32()?,
            Some(ObjectChecksum::Composite(_)) => other.with_composite_crc32(self.parts[0].len)?,
        };
        Ok(StoredObject { media_type: self.media_type.clone(), metadata: self.metadata.clone(), ..other })
    }
}

impl ObjectChecksum {
    /// Of parts that all have their CRC-32.
    pub(crate) fn composite(parts: &[PartChecksum]) -> ObjectChecksum {
        let all: Vec<u8> =
            parts.iter().flat_map(|part| part.crc32.unwrap_or_default().to_be_bytes()).collect();
        ObjectChecksum::Composite(crc32fast::hash(&all))
    }

    /// As S3 writes it, for an object of `parts` parts.
    pub(crate) fn text(self, parts: usize) -> String {
        match self {
            ObjectChecksum::Full(crc32) => crc32_text(crc32),
            ObjectChecksum::Composite(crc32) => format!("{}-{parts}", crc32_text(crc32)),
        }
    }

    pub(crate) fn kind(self) -> &'static str {
        match self {
            ObjectChecksum::Full(_) => "FULL_OBJECT",
            ObjectChecksum::Composite(_) => "COMPOSITE",
        }
    }
}

/// A CRC-32 as S3 writes it.
pub(crate) fn crc32_text(crc32: u32) -> String {
    BASE64_STANDARD.encode(crc32.to_be_bytes())
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
