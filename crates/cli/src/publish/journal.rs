//! The object `publishing.json` in the folder of a transfer that is being published.
//!
//! A run that breaks leaves it behind: CRC-32s of uploaded objects with the ETag that each had
//! then. A later run skips an object by its CRC-32 only if it still has that ETag. The object also
//! marks the folder as a transfer in the making.

use std::collections::HashMap;

use bytes::Bytes;
use outflow_catalog::{Object, SmallRead, Store, StoreError, StoreErrorKind, Uploaded};
use serde::{Deserialize, Serialize};

/// Maximum size of a journal, in bytes.
///
/// Bound: transfers.
const MAX_BYTES: usize = 256 << 20;

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(crate) struct UploadJournal {
    /// By object key below the store.
    objects: HashMap<String, JournalEntry>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
struct JournalEntry {
    size: u64,
    crc32: u32,
    etag: String,
}

impl UploadJournal {
    pub(crate) fn key_of(id: &str) -> String {
        format!("{id}/publishing.json")
    }

    /// Returns `None` if there is no journal, and an empty one if it cannot be parsed.
    pub(crate) async fn read(store: &Store, id: &str) -> Result<Option<UploadJournal>, StoreError> {
        match store.read_small(&UploadJournal::key_of(id), MAX_BYTES, None).await {
            Ok(SmallRead::Read { bytes, .. }) => Ok(Some(serde_json::from_slice(&bytes).unwrap_or_default())),
            Ok(SmallRead::NotModified) => Ok(None),
            Err(StoreError { kind: StoreErrorKind::NotFound, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(crate) async fn write(&self, store: &Store, id: &str) -> Result<(), StoreError> {
        let json = serde_json::to_vec(self).unwrap_or_default();
        store.put(&UploadJournal::key_of(id), Bytes::from(json), "application/json").await
    }

    pub(crate) fn add(&mut self, key: String, uploaded: &Uploaded) {
        if let Some(etag) = &uploaded.etag {
            let entry = JournalEntry { size: uploaded.size, crc32: uploaded.crc32, etag: etag.clone() };
            self.objects.insert(key, entry);
        }
    }

    /// The CRC-32 of an object, if it has not changed since it was uploaded.
    pub(crate) fn crc32(&self, object: &Object) -> Option<u32> {
        let entry = self.objects.get(&object.key)?;
        let unchanged = entry.size == object.size && object.etag.as_ref() == Some(&entry.etag);
        unchanged.then_some(entry.crc32)
    }
}
