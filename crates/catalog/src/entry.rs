//! Files and folders as they are listed and found.

use std::sync::Arc;

use outflow_content::{Source, UnixTime};
use outflow_fs::{EntryKind, RelPath};

/// What a file's strong entity tag is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileTag {
    /// Its size and modified time.
    Times,
    /// This hash, in place of what else is known of it.
    Hash(u128),
    /// Nothing that would tell one version from another.
    None,
}

impl FileTag {
    /// The opaque part of the tag of a file of `size` bytes, which is the same on every node that
    /// has the same file.
    #[must_use]
    pub fn text(self, size: u64, modified: Option<UnixTime>) -> Option<String> {
        match self {
            FileTag::Times => modified.map(|time| format!("{size:x}-{:x}", time.nanos().cast_unsigned())),
            FileTag::Hash(hash) => Some(format!("{hash:032x}")),
            FileTag::None => None,
        }
    }
}

/// A file or folder in a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FolderEntry {
    /// Its name, raw.
    pub name: Vec<u8>,
    /// What it is; links are what they lead to.
    pub kind: EntryKind,
    /// Size in bytes; 0 for a folder.
    pub size: u64,
    /// Modified time, if it is known.
    pub modified: Option<UnixTime>,
    /// What a file's entity tag is made of.
    pub tag: FileTag,
}

impl FolderEntry {
    /// The opaque part of a file's strong entity tag. `None` for a folder, or if nothing would tell
    /// a changed file from this one.
    #[must_use]
    pub fn etag(&self) -> Option<String> {
        if self.is_folder() { None } else { self.tag.text(self.size, self.modified) }
    }

    /// True for a folder.
    #[must_use]
    pub fn is_folder(&self) -> bool {
        self.kind == EntryKind::Folder
    }
}

/// A file or a folder at a path.
#[derive(Clone, Debug)]
pub enum FoundPath {
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
    /// Modified time, if it is known.
    pub modified: Option<UnixTime>,
    /// The opaque part of its strong entity tag. `None` if nothing would tell a changed file from
    /// this one.
    pub etag: Option<String>,
    /// Its media type, if it is known better than by its name.
    pub media_type: Option<Arc<str>>,
    /// Its bytes.
    pub source: Arc<dyn Source>,
}
