//! What can be served: an ordered set of files under one address.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use outflow_content::{Source, Wait};

use crate::{
    Bounds, FileTag, FolderEntry, LocalFile, NO_TIME, OpenError, RelPath, Tree, WalkError, Wanted, time_of,
};

/// A set of files in folders: a folder on disk, a transfer, a part of a store.
///
/// The calls may block (but [`Collection::find`] does not where it is told not to), so they are for threads that may.
pub trait Collection: fmt::Debug + Send + Sync + 'static {
    /// What it is called, raw; may be empty.
    fn name(&self) -> &[u8];

    /// Tells it from all others, and one state of it from another if it [never changes](Collection::is_immutable).
    fn identity(&self) -> [u8; 32];

    /// Whether a call that was answered once will be answered the same for ever.
    fn is_immutable(&self) -> bool {
        false
    }

    /// What is told of it beyond its files.
    fn about(&self) -> Option<&About> {
        None
    }

    /// What `path` is.
    ///
    /// # Errors
    /// [`OpenError`]; with [`Wait::No`] one that [is "would block"](OpenError::is_would_block) when the answer
    /// takes time.
    fn find(&self, path: &RelPath, wait: Wait) -> Result<Found, OpenError>;

    /// Everything directly in `folder`, sorted by name.
    ///
    /// # Errors
    /// [`OpenError`]; `TooBig` for more than `limit` entries.
    fn list(&self, folder: &RelPath, limit: usize) -> Result<Vec<FolderEntry>, OpenError>;

    /// What is `wanted` of `folder`.
    ///
    /// # Errors
    /// [`WalkError`].
    fn walk(self: Arc<Self>, folder: &RelPath, wanted: &Wanted, bounds: Bounds) -> Result<Tree, WalkError>;
}

/// What was found at a path.
#[derive(Clone, Debug)]
pub enum Found {
    /// A file.
    File(FoundFile),
    /// A folder.
    Folder,
}

/// A file as it is to be served.
#[derive(Clone, Debug)]
pub struct FoundFile {
    /// Where it is in its collection.
    pub path: RelPath,
    /// Size in bytes.
    pub size: u64,
    /// Modified time, in nanoseconds since 1970, or [`NO_TIME`].
    pub mtime: i64,
    /// The opaque part of its strong entity tag. `None` if nothing would tell a changed file from this one.
    pub etag: Option<String>,
    /// Its media type, if it is known better than by its name.
    pub media_type: Option<Arc<str>>,
    /// Its bytes.
    pub source: Arc<dyn Source>,
}

impl FoundFile {
    /// Modified time, if it is known.
    #[must_use]
    pub fn modified(&self) -> Option<SystemTime> {
        (self.mtime != NO_TIME).then(|| time_of(self.mtime))
    }
}

impl From<LocalFile> for FoundFile {
    fn from(file: LocalFile) -> FoundFile {
        let identity = file.identity();
        FoundFile {
            path: file.path().clone(),
            size: identity.size,
            mtime: identity.mtime,
            etag: FileTag::Times.text(identity.size, identity.mtime),
            media_type: None,
            source: Arc::new(file),
        }
    }
}

/// What its publisher says of a transfer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct About {
    /// Its name in addresses.
    pub id: String,
    /// A line of text.
    pub title: Option<String>,
    /// Some lines of text.
    pub message: Option<String>,
    /// When it was published, in nanoseconds since 1970.
    pub created: i64,
    /// From when on it is not served any more, in nanoseconds since 1970.
    pub expires: Option<i64>,
    /// How many files it has.
    pub files: usize,
    /// Size of all files together, in bytes.
    pub bytes: u64,
}
