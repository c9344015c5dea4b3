//! What a walk found, small enough for millions of files: one record of 40 bytes and one name each.
//!
//! Records lie folder by folder: the children of one folder are neighbours, sorted by name. A name is kept
//! once, and paths are put together from the parents' names when they are needed.

use std::future::Future;
use std::sync::Arc;
use std::time::SystemTime;

use outflow_content::{Source, SpanError};
use rustix::fs::{FileType, Stat};

use crate::objects::Objects;
use crate::{CrcCache, Key, LazyFile, Object, RelPath, Root, Store, time_of};

/// What something in a folder is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file.
    File,
    /// A folder.
    Folder,
}

impl EntryKind {
    pub(crate) fn of(stat: &Stat) -> Option<EntryKind> {
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Some(EntryKind::File),
            FileType::Directory => Some(EntryKind::Folder),
            _ => None,
        }
    }
}

/// All files and folders below a folder, or those selected.
#[derive(Debug)]
pub struct Tree {
    pub(crate) base: RelPath,
    pub(crate) names: Vec<u8>,
    pub(crate) records: Vec<Record>,
    /// How many records lie directly in the base folder; they come first.
    pub(crate) top: usize,
    pub(crate) files: usize,
    pub(crate) bytes: u64,
    pub(crate) unreadable: Unreadable,
    pub(crate) origin: Origin,
}

/// Where the bytes of a tree's files come from.
#[derive(Debug)]
pub(crate) enum Origin {
    /// They lie below this root.
    Local(Arc<Root>),
    /// They are objects in a store.
    Store(Objects),
}

/// A file of a tree, wherever its bytes lie.
#[derive(Clone, Debug)]
pub enum TreeFile {
    /// On disk.
    Local(LazyFile),
    /// In a store.
    Remote {
        /// The store.
        store: Store,
        /// The object there.
        object: Arc<Object>,
        /// By which a [`CrcCache`] knows it.
        key: Key,
    },
}

impl TreeFile {
    /// By which a [`CrcCache`] knows the file.
    #[must_use]
    pub fn key(&self) -> Key {
        match self {
            TreeFile::Local(file) => file.key(),
            TreeFile::Remote { key, .. } => *key,
        }
    }

    /// Its bytes.
    #[must_use]
    pub fn source(self) -> Arc<dyn Source> {
        match self {
            TreeFile::Local(file) => Arc::new(file),
            TreeFile::Remote { store, object, .. } => Arc::new(store.file(object)),
        }
    }
}

impl From<LazyFile> for TreeFile {
    fn from(file: LazyFile) -> TreeFile {
        TreeFile::Local(file)
    }
}

/// Stands for a time that nobody knows, in place of nanoseconds since 1970.
pub const NO_TIME: i64 = i64::MIN;

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
    /// The opaque part of the tag of a file of `size` bytes modified at `mtime`. It is the same on every node
    /// that has the same file.
    #[must_use]
    pub fn text(self, size: u64, mtime: i64) -> Option<String> {
        match self {
            FileTag::Times => Some(format!("{size:x}-{:x}", mtime.cast_unsigned())),
            FileTag::Hash(hash) => Some(format!("{hash:032x}")),
            FileTag::None => None,
        }
    }
}

/// Files and folders that the process may not read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unreadable {
    /// How many.
    pub count: usize,
    /// The first of them, made printable; at most [`Unreadable::NAMED`].
    pub first: Vec<String>,
}

impl Unreadable {
    /// How many are named.
    pub const NAMED: usize = 10;

    pub(crate) fn add(&mut self, path: String) {
        self.count += 1;
        if self.first.len() < Unreadable::NAMED {
            self.first.push(path);
        }
    }
}

/// One file or folder of a tree.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// By which [`Tree`] knows it.
    pub index: usize,
    /// Path below the tree's base, raw bytes, without a slash at the end.
    pub path: &'a [u8],
    /// What it is.
    pub kind: EntryKind,
    /// Size in bytes; for a folder, how many entries are directly in it.
    pub size: u64,
    /// Modified time, in nanoseconds since 1970, or [`NO_TIME`].
    pub mtime: i64,
    /// Whether its owner may execute the file.
    pub executable: bool,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Record {
    /// Size of a file. A folder's children: the first one's index and, in the upper half, how many.
    pub(crate) size: u64,
    pub(crate) mtime: i64,
    /// By which the CRC cache knows a file. A folder's device and inode, to notice a loop of links.
    pub(crate) key: Key,
    pub(crate) name_at: u32,
    /// The folder it lies in; [`NO_PARENT`] for what lies directly in the base.
    pub(crate) parent: u32,
    /// Up to 255 bytes for a name; more for a selected file's path.
    pub(crate) name_len: u16,
    pub(crate) kind: EntryKind,
    pub(crate) executable: bool,
}

pub(crate) const NO_PARENT: u32 = u32::MAX;

impl Record {
    /// A folder in the folder `parent`, without a name and without anything in it.
    pub(crate) fn folder(parent: u32) -> Record {
        Record {
            size: 0,
            mtime: NO_TIME,
            key: Key::default(),
            name_at: 0,
            parent,
            name_len: 0,
            kind: EntryKind::Folder,
            executable: false,
        }
    }

    pub(crate) fn children(&self) -> std::ops::Range<usize> {
        let first = (self.size & 0xffff_ffff) as usize;
        first..first + (self.size >> 32) as usize
    }

    pub(crate) fn set_children(&mut self, first: usize, count: usize) {
        self.size = (first as u64) | (count as u64) << 32;
    }
}

impl Tree {
    /// The folder that was walked.
    #[must_use]
    pub fn base(&self) -> &RelPath {
        &self.base
    }

    /// How many files there are.
    #[must_use]
    pub fn files(&self) -> usize {
        self.files
    }

    /// Size of all files together, in bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Files and folders, counted together.
    #[must_use]
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// True when there is nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// How many bytes all names have together.
    #[must_use]
    pub fn name_bytes(&self) -> usize {
        self.names.len()
    }

    /// A tree without files yet, whose files will come from `origin`.
    pub(crate) fn empty(base: RelPath, origin: Origin) -> Tree {
        Tree {
            base,
            names: Vec::new(),
            records: Vec::new(),
            top: 0,
            files: 0,
            bytes: 0,
            unreadable: Unreadable::default(),
            origin,
        }
    }

    /// Whether its files lie in a store.
    #[must_use]
    pub fn is_remote(&self) -> bool {
        matches!(self.origin, Origin::Store(_))
    }

    /// Heap memory, in bytes.
    #[must_use]
    pub fn memory(&self) -> usize {
        let objects = if let Origin::Store(objects) = &self.origin { objects.memory() } else { 0 };
        self.records.capacity() * size_of::<Record>() + self.names.capacity() + objects
    }

    /// What must not be left out silently: files and folders that the process may not read.
    #[must_use]
    pub fn unreadable(&self) -> &Unreadable {
        &self.unreadable
    }

    /// Visits every file and folder: each folder before what is in it, siblings by the bytes of their names.
    ///
    /// # Errors
    /// The first error of `visit`, which ends the visit.
    pub fn visit<E>(&self, mut visit: impl FnMut(Entry<'_>) -> Result<(), E>) -> Result<(), E> {
        let mut path = Vec::new();
        // Ranges of siblings still to be visited, and how long the path is where they lie.
        let mut open = vec![(0..self.top, 0)];
        while let Some((siblings, base)) = open.last_mut() {
            path.truncate(*base);
            let Some(index) = siblings.next() else {
                open.pop();
                continue;
            };
            let record = &self.records[index];
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(self.name(record));
            visit(self.entry(index, &path))?;
            if record.kind == EntryKind::Folder {
                open.push((record.children(), path.len()));
            }
        }
        Ok(())
    }

    /// Path of an entry below the root (not below the base).
    ///
    /// # Panics
    /// If this tree has no such entry.
    #[must_use]
    pub fn path(&self, index: usize) -> RelPath {
        let mut names = Vec::new();
        let mut at = index;
        loop {
            let record = &self.records[at];
            names.push(self.name(record));
            if record.parent == NO_PARENT {
                break;
            }
            at = record.parent as usize;
        }
        names.reverse();
        let below = names.join(&b'/');
        // The names come from the system or from a checked path, so there is nothing to refuse.
        self.base.join(&below).unwrap_or_else(|_| RelPath::root())
    }

    /// A file, to be opened when its bytes are needed.
    ///
    /// # Panics
    /// If this tree has no such entry.
    #[must_use]
    pub fn file(&self, index: usize) -> TreeFile {
        let record = &self.records[index];
        match &self.origin {
            Origin::Local(root) => TreeFile::Local(LazyFile::new(
                Arc::clone(root),
                self.path(index),
                record.size,
                record.mtime,
                record.key,
            )),
            Origin::Store(objects) => TreeFile::Remote {
                store: objects.store().clone(),
                object: Arc::clone(objects.of(index)),
                key: record.key,
            },
        }
    }

    /// A number that changes whenever a file's bytes may have changed. The same on every node.
    ///
    /// # Panics
    /// If this tree has no such entry.
    #[must_use]
    pub fn version(&self, index: usize) -> u64 {
        let record = &self.records[index];
        match (&self.origin, record.kind) {
            (Origin::Store(objects), EntryKind::File) => objects.version(index, record.mtime),
            _ => record.mtime.cast_unsigned(),
        }
    }

    /// The CRC-32 of a file, if it came with it or `cache` knows it. Does not wait.
    ///
    /// # Panics
    /// If this tree has no such entry.
    #[must_use]
    pub fn crc32(&self, index: usize, cache: &CrcCache) -> Option<u32> {
        let known = if let Origin::Store(objects) = &self.origin { objects.of(index).crc32 } else { None };
        known.or_else(|| cache.get(self.key(index)))
    }

    /// The CRC-32 of a file: known, or computed by reading it.
    ///
    /// # Panics
    /// If this tree has no such entry.
    ///
    /// # Errors
    /// [`SpanError`] when it cannot be read, or was changed meanwhile.
    pub fn compute_crc32(
        &self,
        index: usize,
        cache: &Arc<CrcCache>,
    ) -> impl Future<Output = Result<u32, SpanError>> + Send + 'static {
        let known = self.crc32(index, cache);
        let (cache, file) = (Arc::clone(cache), self.file(index));
        async move {
            match known {
                Some(crc) => Ok(crc),
                None => cache.compute(file).await,
            }
        }
    }

    /// By what the CRC cache knows a file.
    ///
    /// # Panics
    /// If this tree has no such entry.
    #[must_use]
    pub fn key(&self, index: usize) -> Key {
        self.records[index].key
    }

    pub(crate) fn name(&self, record: &Record) -> &[u8] {
        let start = record.name_at as usize;
        &self.names[start..start + usize::from(record.name_len)]
    }

    fn entry<'a>(&self, index: usize, path: &'a [u8]) -> Entry<'a> {
        let record = &self.records[index];
        let size = match record.kind {
            EntryKind::File => record.size,
            EntryKind::Folder => record.children().len() as u64,
        };
        Entry { index, path, kind: record.kind, size, mtime: record.mtime, executable: record.executable }
    }
}

impl Entry<'_> {
    /// Modified time.
    #[must_use]
    pub fn modified(&self) -> SystemTime {
        time_of(self.mtime)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_takes_forty_bytes() {
        assert_eq!(size_of::<Record>(), 40);
    }
}
