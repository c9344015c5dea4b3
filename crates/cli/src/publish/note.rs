//! What a broken run leaves in the transfer's folder for the next one: which objects are whole, and their CRC-32s.
//!
//! Not all stores can tell an object's CRC-32. The note can, as long as the object has the tag that it had then. It
//! also says that the folder is a transfer in the making, and nobody's own.

use std::collections::HashMap;

use bytes::Bytes;
use outflow_catalog::{Object, Small, Store, StoreError, StoreErrorKind, Uploaded};
use serde::{Deserialize, Serialize};

const LIMIT: usize = 256 << 20;

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(crate) struct Note {
    /// By key below the store.
    objects: HashMap<String, Noted>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
struct Noted {
    size: u64,
    crc32: u32,
    etag: String,
}

impl Note {
    pub(crate) fn key_of(id: &str) -> String {
        format!("{id}/publishing.json")
    }

    /// None if there is none. One that makes no sense says nothing.
    pub(crate) async fn read(store: &Store, id: &str) -> Result<Option<Note>, StoreError> {
        match store.read_small(&Note::key_of(id), LIMIT, None).await {
            Ok(Small::Read { bytes, .. }) => Ok(Some(serde_json::from_slice(&bytes).unwrap_or_default())),
            Ok(Small::NotModified) => Ok(None),
            Err(StoreError { kind: StoreErrorKind::NotFound, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(crate) async fn write(&self, store: &Store, id: &str) -> Result<(), StoreError> {
        let json = serde_json::to_vec(self).unwrap_or_default();
        store.put(&Note::key_of(id), Bytes::from(json), "application/json").await
    }

    pub(crate) fn add(&mut self, key: String, uploaded: &Uploaded) {
        if let Some(etag) = &uploaded.etag {
            let noted = Noted { size: uploaded.size, crc32: uploaded.crc32, etag: etag.clone() };
            self.objects.insert(key, noted);
        }
    }

    /// The CRC-32 of an object, if it is still the one that was noted.
    pub(crate) fn crc32(&self, object: &Object) -> Option<u32> {
        let noted = self.objects.get(&object.key)?;
        let is_it = noted.size == object.size && object.etag.as_ref() == Some(&noted.etag);
        is_it.then_some(noted.crc32)
    }
}
