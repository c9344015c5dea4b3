//! The buckets: objects, their versions, and uploads of several parts.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;
use std::time::SystemTime;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use md5::{Digest as _, Md5};

use crate::s3::body::{Body, mix};
use crate::s3::multipart::Upload;

/// An object as it is put.
#[derive(Clone, Debug)]
pub struct Object {
    pub(crate) body: Body,
    pub(crate) etag: String,
    pub(crate) modified: SystemTime,
    pub(crate) media_type: Option<String>,
    pub(crate) metadata: BTreeMap<String, String>,
    pub(crate) checksum: Option<Checksum>,
    /// Of an object that was uploaded in parts; empty otherwise.
    pub(crate) parts: Vec<Part>,
    pub(crate) version: String,
}

/// The CRC-32 that an object was uploaded with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Checksum {
    /// Of all bytes.
    Full(u32),
    /// Of the parts' CRC-32s, one after the other.
    Composite(u32),
}

/// What remains known of a part.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Part {
    pub(crate) len: u64,
    pub(crate) crc32: Option<u32>,
}

impl Object {
    /// An object with these bytes, without a checksum, modified now.
    #[must_use]
    pub fn new(body: impl Into<Body>) -> Object {
        let body = body.into();
        let etag = match &body {
            Body::Bytes(bytes) => hex(&Md5::digest(bytes)),
            // Not the MD5, but as strong: it names what the bytes are made of.
            Body::Pattern { seed, len } => format!("{:016x}{:016x}", mix(*seed), mix(*len)),
            Body::File { file, len } => {
                let modified = file.metadata().and_then(|metadata| metadata.modified());
                hex(&Md5::digest(format!("{modified:?} {len}")))
            }
        };
        Object {
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

    /// `len` bytes that are computed when they are asked for, see [`crate::s3::pattern`].
    #[must_use]
    pub fn pattern(seed: u64, len: u64) -> Object {
        Object::new(Body::Pattern { seed, len })
    }

    /// As if uploaded with its CRC-32 (FULL_OBJECT). All bytes are read or computed for it.
    ///
    /// # Errors
    /// Those of reading the file.
    pub fn with_crc32(mut self) -> std::io::Result<Object> {
        self.checksum = Some(Checksum::Full(self.body.crc32()?));
        Ok(self)
    }

    /// As if uploaded in parts of `part` bytes with a CRC-32 each (COMPOSITE).
    ///
    /// # Errors
    /// Those of reading the file.
    pub fn with_composite_crc32(mut self, part: u64) -> std::io::Result<Object> {
        let part = part.max(1);
        let mut at = 0;
        self.parts.clear();
        while at < self.body.len() || self.parts.is_empty() {
            let len = part.min(self.body.len() - at);
            let crc32 = crc32fast::hash(&self.body.read(at, len as usize)?);
            self.parts.push(Part { len, crc32: Some(crc32) });
            at += len;
        }
        self.checksum = Some(Checksum::composite(&self.parts));
        self.etag = format!("{}-{}", self.etag, self.parts.len());
        Ok(self)
    }

    /// With another modified time; the interface shows whole seconds.
    #[must_use]
    pub fn modified(mut self, time: SystemTime) -> Object {
        self.modified = time;
        self
    }

    /// With a `Content-Type`.
    #[must_use]
    pub fn media_type(mut self, media_type: &str) -> Object {
        self.media_type = Some(media_type.to_owned());
        self
    }

    /// With an ETag of the test's choice, without quotes.
    #[must_use]
    pub fn etag(mut self, etag: &str) -> Object {
        self.etag = etag.to_owned();
        self
    }

    /// Other bytes of the same size and kind of checksum, with another ETag.
    fn other(&self) -> std::io::Result<Object> {
        let other = Object::new(match &self.body {
            Body::Bytes(bytes) => bytes.iter().map(|byte| !byte).collect::<Vec<u8>>().into(),
            Body::Pattern { seed, len } => Body::Pattern { seed: mix(*seed), len: *len },
            Body::File { len, .. } => Body::Pattern { seed: mix(*len), len: *len },
        });
        let other = match self.checksum {
            None => other,
            Some(Checksum::Full(_)) => other.with_crc32()?,
            Some(Checksum::Composite(_)) => other.with_composite_crc32(self.parts[0].len)?,
        };
        Ok(Object { media_type: self.media_type.clone(), metadata: self.metadata.clone(), ..other })
    }
}

impl Checksum {
    /// Of parts that all have their CRC-32.
    pub(crate) fn composite(parts: &[Part]) -> Checksum {
        let all: Vec<u8> =
            parts.iter().flat_map(|part| part.crc32.unwrap_or_default().to_be_bytes()).collect();
        Checksum::Composite(crc32fast::hash(&all))
    }

    /// As the interface writes it, for an object of `parts` parts.
    pub(crate) fn text(self, parts: usize) -> String {
        match self {
            Checksum::Full(crc32) => crc32_text(crc32),
            Checksum::Composite(crc32) => format!("{}-{parts}", crc32_text(crc32)),
        }
    }

    pub(crate) fn kind(self) -> &'static str {
        match self {
            Checksum::Full(_) => "FULL_OBJECT",
            Checksum::Composite(_) => "COMPOSITE",
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

/// Everything there is.
#[derive(Default)]
pub(crate) struct Store {
    /// The versions of each key, the latest last.
    buckets: BTreeMap<String, BTreeMap<String, Vec<Arc<Object>>>>,
    pub(crate) uploads: BTreeMap<String, Upload>,
    /// Whether earlier versions stay.
    pub(crate) versioned: bool,
    /// Bytes that each part but the last must have.
    pub(crate) least_part: u64,
    count: u64,
}

/// A page of a listing.
pub(crate) struct Page {
    pub(crate) objects: Vec<(String, Arc<Object>)>,
    pub(crate) prefixes: BTreeSet<String>,
    /// Where the next page goes on, if there is one.
    pub(crate) next: Option<String>,
}

impl Store {
    pub(crate) fn create(&mut self, bucket: &str) {
        self.buckets.entry(bucket.to_owned()).or_default();
    }

    pub(crate) fn has_bucket(&self, bucket: &str) -> bool {
        self.buckets.contains_key(bucket)
    }

    pub(crate) fn bucket_names(&self) -> Vec<String> {
        self.buckets.keys().cloned().collect()
    }

    /// A number that was not given out before.
    pub(crate) fn fresh(&mut self) -> u64 {
        self.count += 1;
        self.count
    }

    /// Puts an object into a bucket, which is made if it is not there.
    pub(crate) fn put(&mut self, bucket: &str, key: &str, mut object: Object) -> Arc<Object> {
        if self.versioned {
            object.version = format!("v{:08}", self.fresh());
        }
        let object = Arc::new(object);
        let versions = self.buckets.entry(bucket.to_owned()).or_default().entry(key.to_owned()).or_default();
        if !self.versioned {
            versions.clear();
        }
        versions.push(Arc::clone(&object));
        object
    }

    pub(crate) fn get(&self, bucket: &str, key: &str, version: Option<&str>) -> Option<Arc<Object>> {
        let versions = self.buckets.get(bucket)?.get(key)?;
        match version {
            None => versions.last(),
            Some(version) => versions.iter().find(|object| object.version == version),
        }
        .cloned()
    }

    pub(crate) fn delete(&mut self, bucket: &str, key: &str) -> bool {
        self.buckets.get_mut(bucket).is_some_and(|keys| keys.remove(key).is_some())
    }

    /// Puts other bytes of the same size in an object's place.
    pub(crate) fn replace(&mut self, bucket: &str, key: &str) -> Option<Arc<Object>> {
        let other = self.get(bucket, key, None)?.other().ok()?;
        Some(self.put(bucket, key, other))
    }

    /// The keys that begin with `prefix` and come after `after`, those with a `delimiter` behind the prefix
    /// gathered under the part up to it: at most `most` of both together.
    pub(crate) fn list(&self, bucket: &str, prefix: &str, delimiter: &str, after: &str, most: usize) -> Page {
        let mut page = Page { objects: Vec::new(), prefixes: BTreeSet::new(), next: None };
        let Some(keys) = self.buckets.get(bucket) else { return page };
        let from = if after < prefix { Bound::Included(prefix) } else { Bound::Excluded(after) };
        let mut last = after.to_owned();
        for (key, versions) in keys.range::<str, _>((from, Bound::Unbounded)) {
            let Some(rest) = key.strip_prefix(prefix) else { break };
            let cut = (!delimiter.is_empty()).then(|| rest.find(delimiter)).flatten();
            let gathered = cut.map(|at| &key[..prefix.len() + at + delimiter.len()]);
            if gathered.is_some_and(|gathered| gathered == last) {
                continue;
            }
            if page.objects.len() + page.prefixes.len() == most {
                page.next = Some(last);
                break;
            }
            match gathered {
                Some(gathered) => {
                    gathered.clone_into(&mut last);
                    page.prefixes.insert(gathered.to_owned());
                }
                None => {
                    key.clone_into(&mut last);
                    page.objects.extend(versions.last().map(|object| (key.clone(), Arc::clone(object))));
                }
            }
        }
        page
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_of_a_listing_have_every_key_and_prefix_once() {
        let mut store = Store::default();
        for key in ["a", "b/1", "b/2", "b/3", "c", "d/1", "d/x/1", "e"] {
            store.put("one", key, Object::new(key));
        }
        for (prefix, delimiter, expected) in [
            ("", "/", &["a", "b/", "c", "d/", "e"][..]),
            ("d/", "/", &["d/1", "d/x/"]),
            ("b", "", &["b/1", "b/2", "b/3"]),
            ("x", "/", &[]),
        ] {
            for most in 1..7 {
                let (mut found, mut after) = (Vec::new(), String::new());
                loop {
                    let page = store.list("one", prefix, delimiter, &after, most);
                    let mut these: Vec<String> = page.objects.into_iter().map(|(key, _)| key).collect();
                    these.extend(page.prefixes);
                    these.sort();
                    assert!(these.len() <= most);
                    found.extend(these);
                    match page.next {
                        Some(next) => after = next,
                        None => break,
                    }
                }
                assert_eq!(found, expected, "{prefix:?} {delimiter:?} {most}");
            }
        }
    }

    #[test]
    fn a_replaced_object_has_the_same_size_and_nothing_else_in_common() {
        let mut store = Store::default();
        for (key, object) in [
            ("bytes", Object::new("some bytes").with_crc32().unwrap()),
            ("pattern", Object::pattern(1, 100).with_composite_crc32(30).unwrap()),
        ] {
            let before = store.put("one", key, object);
            let after = store.replace("one", key).unwrap();
            assert_eq!(after.body.len(), before.body.len());
            assert_eq!(after.parts.len(), before.parts.len());
            assert_ne!(after.etag, before.etag);
            assert_ne!(after.checksum, before.checksum);
        }
    }
}
