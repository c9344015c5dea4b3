//! What is downloaded.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Tells one content from all others, whatever address it is asked for at.
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

/// What is downloaded.
#[derive(Clone)]
pub struct ContentInfo {
    /// Two contents of one key are the same content.
    pub key: ContentKey,
    /// Its strong entity tag, without quotes.
    pub etag: String,
    /// Length in bytes.
    pub length: u64,
    /// A file's name, or the archive's; made printable.
    pub name: String,
    /// Address at which it was asked for, without the link: path and query.
    pub path: String,
    /// The transfer that it belongs to.
    pub transfer: Option<String>,
    /// The files of an archive. `None`: it is one file.
    pub parts: Option<Arc<dyn Parts>>,
}

/// The files that an archive is made of, in the order in which they lie in it.
pub trait Parts: Send + Sync + 'static {
    /// How many there are.
    fn count(&self) -> u64;

    /// How many of them lie wholly within `range` of the archive's bytes.
    fn within(&self, range: &Range<u64>) -> u64;

    /// The file of that index, below [`Parts::count`].
    fn part(&self, index: u64) -> Part;
}

/// One file of an archive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Its name in the archive.
    pub name: String,
    /// Its size in bytes.
    pub size: u64,
    /// Where it lies in the archive, header included.
    pub range: Range<u64>,
}
