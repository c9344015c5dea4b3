//! Objects as the files of a tree.

use std::fmt;
use std::sync::Arc;

use outflow_content::{Source, UnixTime};
use outflow_fs::{OpenErrorKind, RelPath};
use outflow_objects::{Object, Store, StoreError, StoreErrorKind};

use crate::entry::{FileTag, FoundFile};
use crate::fingerprint::Fingerprint;
use crate::tree::{FileCrc32, FileOpener, FileRecord, LearnedCrc32, OpenerFuture, TreeFile};

/// Opens objects of one store. A file's slot is its object's place in the list.
pub(crate) struct ObjectOpener {
    store: Store,
    objects: Vec<Arc<Object>>,
    /// Heap memory of all of them, in bytes.
    memory: usize,
}

impl ObjectOpener {
    pub(crate) fn new(store: Store, objects: Vec<Arc<Object>>) -> ObjectOpener {
        let text = |text: &Option<String>| text.as_ref().map_or(0, String::capacity);
        let each = objects.iter().map(|object| {
            size_of::<Object>()
                + 3 * size_of::<usize>()
                + object.key.capacity()
                + text(&object.etag)
                + text(&object.version)
        });
        let memory = each.sum();
        ObjectOpener { store, objects, memory }
    }

    /// What a tree remembers of the object in `slot`.
    pub(crate) fn record(&self, slot: u32) -> FileRecord {
        let object = &self.objects[slot as usize];
        let fingerprint = fingerprint_of(&self.store, object);
        FileRecord { size: object.size, modified: object.modified, fingerprint, executable: false }
    }

    pub(crate) fn object(&self, slot: u32) -> &Arc<Object> {
        &self.objects[slot as usize]
    }
}

impl FileOpener for ObjectOpener {
    fn source(&self, file: TreeFile<'_>) -> Arc<dyn Source> {
        self.store.source(Arc::clone(self.object(file.slot())))
    }

    fn tag(&self, file: TreeFile<'_>) -> FileTag {
        tag_of(self.object(file.slot()))
    }

    fn version(&self, file: TreeFile<'_>) -> u64 {
        let object = self.object(file.slot());
        let tag = tag_of(object).text(object.size, file.modified()).unwrap_or_default();
        let mut hasher = blake3::Hasher::new();
        hasher.update(tag.as_bytes());
        hasher.update(&file.modified_nanos().to_le_bytes());
        let mut short = [0; 8];
        short.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
        u64::from_le_bytes(short)
    }

    fn crc32(&self, file: TreeFile<'_>) -> Option<u32> {
        self.object(file.slot()).crc32
    }

    fn compute_crc32(&self, file: TreeFile<'_>) -> OpenerFuture {
        let (store, object) = (self.store.clone(), Arc::clone(self.object(file.slot())));
        let fingerprint = file.fingerprint();
        Box::pin(async move {
            let crc32 = store.compute_crc32(object).await?;
            Ok(FileCrc32 { crc32, fingerprint })
        })
    }

    /// Asks the store, which may know the CRC-32. The bytes are not fetched for it: that costs
    /// money, and the first whole download yields it as well. After a failure the store is left
    /// alone.
    fn learn_crc32(&self, file: TreeFile<'_>, _: &mut dyn FnMut() -> bool) -> LearnedCrc32 {
        match self.store.wait(self.store.crc32(self.object(file.slot()))) {
            Ok(Some(crc32)) => LearnedCrc32::Known(FileCrc32 { crc32, fingerprint: file.fingerprint() }),
            Ok(None) | Err(StoreError { kind: StoreErrorKind::NotFound, .. }) => LearnedCrc32::Nothing,
            Err(_) => LearnedCrc32::GiveUp,
        }
    }

    fn is_remote(&self) -> bool {
        self.store.is_remote()
    }

    fn memory(&self) -> usize {
        self.memory
    }
}

impl fmt::Debug for ObjectOpener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ObjectOpener({}, in {:?})", self.objects.len(), self.store)
    }
}

/// The parts of an object's strong entity tag. A weak tag of the store does not promise equal
/// bytes.
pub(crate) fn tag_of(object: &Object) -> FileTag {
    let hash = |parts: &[&[u8]]| {
        let mut hasher = blake3::Hasher::new();
        for part in parts {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        let mut half = [0; 16];
        half.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        FileTag::Hash(u128::from_be_bytes(half))
    };
    let size = object.size.to_le_bytes();
    match (&object.etag, object.crc32, object.modified) {
        (Some(etag), ..) if !etag.starts_with("W/") => {
            hash(&[b"etag", object.key.as_bytes(), etag.as_bytes(), &size])
        }
        (_, Some(crc32), _) => hash(&[b"crc32", &crc32.to_le_bytes(), &size]),
        (_, None, Some(_)) => FileTag::Times,
        (_, None, None) => FileTag::None,
    }
}

/// What the caches know an object by.
fn fingerprint_of(store: &Store, object: &Object) -> Fingerprint {
    let times;
    let version = match (&object.etag, object.modified) {
        (Some(etag), _) => etag.as_bytes(),
        (None, Some(modified)) => {
            times = UnixTime::nanos(modified).to_le_bytes();
            times.as_slice()
        }
        (None, None) => b"",
    };
    Fingerprint::of(&[
        b"object",
        store.address().as_bytes(),
        object.key.as_bytes(),
        version,
        &object.size.to_le_bytes(),
    ])
}

/// An object as the file `path`.
pub(crate) fn found(store: &Store, path: &RelPath, object: &Arc<Object>) -> FoundFile {
    FoundFile {
        path: path.clone(),
        size: object.size,
        modified: object.modified,
        etag: tag_of(object).text(object.size, object.modified),
        media_type: None,
        source: store.source(Arc::clone(object)),
    }
}

/// What the error of a store means for a path in a collection.
pub(crate) fn open_error(error: StoreError) -> OpenErrorKind {
    match error.kind {
        StoreErrorKind::NotFound => OpenErrorKind::NotFound,
        StoreErrorKind::TooBig { limit } => OpenErrorKind::TooBig { limit },
        _ => OpenErrorKind::Other(Box::new(error)),
    }
}
