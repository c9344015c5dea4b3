//! What can be served: an ordered set of files under one address.

use std::fmt;
use std::sync::Arc;

use outflow_content::Wait;
use outflow_fs::{OpenError, RelPath, WalkError, WalkLimits, WalkScope};

use crate::entry::{FolderEntry, FoundPath};
use crate::tree::Tree;

/// A set of files in folders: a folder on disk, a transfer, a part of a store.
///
/// Except for [`Collection::find`] with [`Wait::No`] the calls may block, so they are for threads
/// that may.
pub trait Collection: fmt::Debug + Send + Sync + 'static {
    /// What it is called, raw; may be empty.
    fn name(&self) -> &[u8];

    /// Tells it from all others, and one state of it from another if it [never
    /// changes](Collection::is_immutable).
    fn identity(&self) -> [u8; 32];

    /// Whether a call that was answered once will be answered the same for ever.
    fn is_immutable(&self) -> bool {
        false
    }

    /// What its publisher says of it.
    fn about(&self) -> Option<&TransferInfo> {
        None
    }

    /// What `path` is.
    ///
    /// # Errors
    /// [`OpenError`]; with [`Wait::No`] one that [is "would block"](OpenError::is_would_block) when
    /// the answer takes time.
    fn find(&self, path: &RelPath, wait: Wait) -> Result<FoundPath, OpenError>;

    /// Everything directly in `folder`, sorted by name.
    ///
    /// # Errors
    /// [`OpenError`]; `TooBig` for more than `limit` entries.
    fn list(&self, folder: &RelPath, limit: usize) -> Result<Vec<FolderEntry>, OpenError>;

    /// The files and folders of `scope` below `folder`.
    ///
    /// # Errors
    /// [`WalkError`].
    fn walk(
        self: Arc<Self>,
        folder: &RelPath,
        scope: &WalkScope,
        limits: WalkLimits,
    ) -> Result<Tree, WalkError>;
}

/// What its publisher says of a transfer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TransferInfo {
    /// Its name in addresses.
    pub id: String,
    /// A line of text.
    pub title: Option<String>,
    /// Some lines of text.
    pub message: Option<String>,
    /// When it was published, in nanoseconds since 1970.
    pub created: i64,
    /// When it ends, in nanoseconds since 1970.
    pub expires: Option<i64>,
    /// How many files it has.
    pub files: usize,
    /// Size of all files together, in bytes.
    pub bytes: u64,
}
