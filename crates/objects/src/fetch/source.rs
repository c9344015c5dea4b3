//! What is known of one object, and its bytes.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use outflow_content::{FeedSpan, Source, Span};

use crate::Store;
use crate::remote::reader::Reader;

/// An object as it was when it was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Object {
    /// Its name below the store's address, without a slash at the start.
    pub key: String,
    /// Size in bytes.
    pub size: u64,
    /// The store's entity tag, as it is sent in `If-Match`, with its quotes. Without one a change is noticed by
    /// size only.
    pub etag: Option<String>,
    /// The store's version of it, where it keeps versions.
    pub version: Option<String>,
    /// Modified time in nanoseconds since 1970, if the store says.
    pub modified: Option<i64>,
    /// CRC-32 of all its bytes, if it is known.
    pub crc32: Option<u32>,
}

/// The bytes of an object in a store, fetched while they leave.
pub struct RemoteFile {
    store: Store,
    object: Arc<Object>,
    /// The reader of what has been fetched ahead.
    ahead: Mutex<Option<(u64, Reader)>>,
}

impl RemoteFile {
    pub(crate) fn new(store: Store, object: Arc<Object>) -> RemoteFile {
        RemoteFile { store, object, ahead: Mutex::default() }
    }

    fn reader(&self, offset: u64, len: u64) -> Reader {
        Reader::new(self.store.engine(), &self.object, offset..offset.saturating_add(len))
    }
}

impl Source for RemoteFile {
    fn span(self: Arc<Self>, offset: u64, len: u64) -> Span {
        if let Some(file) = self.store.local_file(&self.object) {
            return Arc::new(file).span(offset, len);
        }
        let ahead = self.ahead.lock().unwrap_or_else(PoisonError::into_inner).take();
        let ahead = ahead.filter(|(of, reader)| reader.at() == offset && *of == len);
        let reader = ahead.map_or_else(|| self.reader(offset, len), |(_, reader)| reader);
        Span::Feed(FeedSpan { feed: Box::new(reader), len })
    }

    fn fetch_ahead(&self, offset: u64, len: u64) {
        if len == 0 || self.store.is_folder() {
            return;
        }
        let mut reader = self.reader(offset, len);
        reader.look_ahead();
        *self.ahead.lock().unwrap_or_else(PoisonError::into_inner) = Some((len, reader));
    }
}

impl fmt::Debug for RemoteFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RemoteFile").field(&self.object.key).finish()
    }
}
