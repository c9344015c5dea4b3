//! The subject of a download: a file or an archive.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Identifies a content, whatever address it was requested at.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ContentKey(pub [u8; 16]);

impl fmt::Display for ContentKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ContentKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What the ledger records of a content.
#[derive(Clone)]
pub struct ContentInfo {
    /// Two contents with the same key are the same content.
    pub key: ContentKey,
    /// Its strong entity tag, without quotes.
    pub etag: String,
    /// Length in bytes.
    pub length: u64,
    /// Name of the file or the archive, without control characters.
    pub name: String,
    /// Address of the request, without the link: path and query.
    pub path: String,
    /// The transfer that it belongs to.
    pub transfer: Option<String>,
    /// The files of an archive. `None` for a single file.
    pub parts: Option<Arc<dyn ArchiveParts>>,
}

/// The files of an archive, in the order of their bytes in it.
pub trait ArchiveParts: Send + Sync + 'static {
    /// Number of files.
    fn count(&self) -> u64;

    /// Number of files that lie wholly within `range` of the archive's bytes.
    fn within(&self, range: &Range<u64>) -> u64;

    /// The file at `index`, which is less than [`ArchiveParts::count`].
    fn part(&self, index: u64) -> ArchivePart;
}

/// One file of an archive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArchivePart {
    /// Its name in the archive.
    pub name: String,
    /// Its size in bytes.
    pub size: u64,
    /// Its bytes in the archive, header included.
    pub range: Range<u64>,
}
