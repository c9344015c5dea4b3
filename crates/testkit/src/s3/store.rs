//! The buckets: objects, their versions, and multipart uploads.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use crate::s3::multipart::Upload;
use crate::s3::object::StoredObject;

/// All buckets.
#[derive(Default)]
pub(crate) struct Buckets {
    /// The versions of each key, the latest last.
    buckets: BTreeMap<String, BTreeMap<String, Vec<Arc<StoredObject>>>>,
    pub(crate) uploads: BTreeMap<String, Upload>,
    /// Whether overwritten versions are kept.
    pub(crate) versioned: bool,
    /// Minimum size of each part but the last.
    pub(crate) least_part: u64,
    count: u64,
}

/// A page of a listing.
pub(crate) struct ListingPage {
    pub(crate) objects: Vec<(String, Arc<StoredObject>)>,
    pub(crate) prefixes: BTreeSet<String>,
    /// Where the next page starts, if there is one.
    pub(crate) next: Option<String>,
}

impl Buckets {
    pub(crate) fn create(&mut self, bucket: &str) {
        self.buckets.entry(bucket.to_owned()).or_default();
    }

    pub(crate) fn has_bucket(&self, bucket: &str) -> bool {
        self.buckets.contains_key(bucket)
    }

    pub(crate) fn bucket_names(&self) -> Vec<String> {
        self.buckets.keys().cloned().collect()
    }

    /// A number that was not used before.
    pub(crate) fn fresh(&mut self) -> u64 {
        self.count += 1;
        self.count
    }

    /// Puts an object into a bucket, which is made if it is not there.
    pub(crate) fn put(&mut self, bucket: &str, key: &str, mut object: StoredObject) -> Arc<StoredObject> {
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

    pub(crate) fn get(&self, bucket: &str, key: &str, version: Option<&str>) -> Option<Arc<StoredObject>> {
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
    pub(crate) fn replace(&mut self, bucket: &str, key: &str) -> Option<Arc<StoredObject>> {
        let other = self.get(bucket, key, None)?.other().ok()?;
        Some(self.put(bucket, key, other))
    }

    /// Up to `limit` keys with this prefix after `after`, in order. Keys with a `delimiter` behind
    /// the prefix are grouped under the part up to it, and count as one.
    pub(crate) fn list(
        &self,
        bucket: &str,
        prefix: &str,
        delimiter: &str,
        after: &str,
        limit: usize,
    ) -> ListingPage {
        let mut page = ListingPage { objects: Vec::new(), prefixes: BTreeSet::new(), next: None };
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
            if page.objects.len() + page.prefixes.len() == limit {
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
        let mut store = Buckets::default();
        for key in ["a", "b/1", "b/2", "b/3", "c", "d/1", "d/x/1", "e"] {
            store.put("one", key, StoredObject::new(key));
        }
        for (prefix, delimiter, expected) in [
            ("", "/", &["a", "b/", "c", "d/", "e"][..]),
            ("d/", "/", &["d/1", "d/x/"]),
            ("b", "", &["b/1", "b/2", "b/3"]),
            ("x", "/", &[]),
        ] {
            for limit in 1..7 {
                let (mut found, mut after) = (Vec::new(), String::new());
                loop {
                    let page = store.list("one", prefix, delimiter, &after, limit);
                    let mut these: Vec<String> = page.objects.into_iter().map(|(key, _)| key).collect();
                    these.extend(page.prefixes);
                    these.sort();
                    assert!(these.len() <= limit);
                    found.extend(these);
                    match page.next {
                        Some(next) => after = next,
                        None => break,
                    }
                }
                assert_eq!(found, expected, "{prefix:?} {delimiter:?} {limit}");
            }
        }
    }

    #[test]
    fn a_replaced_object_has_the_same_size_and_nothing_else_in_common() {
        let mut store = Buckets::default();
        for (key, object) in [
            ("bytes", StoredObject::new("some bytes").with_crc32().unwrap()),
            ("pattern", StoredObject::pattern(1, 100).with_composite_crc32(30).unwrap()),
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
