//! The files and folders that a walk found: one record of 40 bytes and one name each.
//!
//! Records lie folder by folder: the children of one folder are neighbours, sorted by name. A name
//! is kept once, and paths are put together from the parents' names when they are needed.

use std::fmt;
use std::sync::Arc;

use outflow_content::{Source, UnixTime};
use outflow_fs::{EntryKind, RelPath, Unreadable};

use crate::fingerprint::Fingerprint;
use crate::tree::opener::FileOpener;
use crate::tree::record::{NO_PARENT, Record};

/// All files and folders below a folder, or those selected.
#[derive(Debug)]
pub struct Tree {
    pub(crate) base: RelPath,
    pub(crate) names: Vec<u8>,
    pub(crate) records: Vec<Record>,
    /// For each record the number of its file, if the opener needs it; otherwise empty.
    pub(crate) slots: Vec<u32>,
    /// How many records lie directly in the base folder; they come first.
    pub(crate) top: usize,
    pub(crate) files: usize,
    pub(crate) bytes: u64,
    pub(crate) unreadable: Unreadable,
    pub(crate) opener: Arc<dyn FileOpener>,
}

/// One file or folder of a tree.
#[derive(Clone, Copy, Debug)]
pub struct TreeEntry<'a> {
    /// Its index in the [`Tree`].
    pub index: usize,
    /// Path below the tree's base, raw bytes, without a slash at the end.
    pub path: &'a [u8],
    /// What it is.
    pub kind: EntryKind,
    /// Size in bytes; for a folder, how many entries are directly in it.
    pub size: u64,
    /// Modified time, if it is known.
    pub modified: Option<UnixTime>,
    /// Whether its owner may execute the file.
    pub executable: bool,
}

/// A file of a tree, for its opener.
#[derive(Clone, Copy)]
pub struct TreeFile<'a> {
    tree: &'a Tree,
    index: usize,
}

impl TreeFile<'_> {
    /// Path below the collection's root (not below the tree's base).
    #[must_use]
    pub fn path(&self) -> RelPath {
        self.tree.path(self.index)
    }

    /// Size in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.record().size
    }

    /// Modified time, if it is known.
    #[must_use]
    pub fn modified(&self) -> Option<UnixTime> {
        self.record().modified
    }

    /// What the caches know it by.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        self.record().fingerprint
    }

    /// Which file it was, in the order in which [`TreeBuilder::file`](crate::TreeBuilder::file)
    /// received them. Parts of the tree keep that number. `u32::MAX` where the tree was built
    /// without numbers.
    #[must_use]
    pub fn slot(&self) -> u32 {
        self.tree.slots.get(self.index).copied().unwrap_or(u32::MAX)
    }

    /// Modified time in nanoseconds since 1970, with the lowest number for a time that is not
    /// known.
    pub(crate) fn modified_nanos(&self) -> i64 {
        nanos_or_lowest(self.record().modified)
    }

    fn record(&self) -> &Record {
        &self.tree.records[self.index]
    }
}

impl fmt::Debug for TreeFile<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TreeFile").field(&self.path()).finish()
    }
}

/// How a modified time enters hashes and version numbers.
pub(crate) fn nanos_or_lowest(time: Option<UnixTime>) -> i64 {
    time.map_or(i64::MIN, UnixTime::nanos)
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

    /// Length of all names together in bytes.
    #[must_use]
    pub fn name_bytes(&self) -> usize {
        self.names.len()
    }

    /// A tree without entries yet, whose files `opener` will open.
    pub(crate) fn empty(base: RelPath, opener: Arc<dyn FileOpener>) -> Tree {
        Tree {
            base,
            names: Vec::new(),
            records: Vec::new(),
            slots: Vec::new(),
            top: 0,
            files: 0,
            bytes: 0,
            unreadable: Unreadable::default(),
            opener,
        }
    }

    /// Opens its files.
    #[must_use]
    pub fn opener(&self) -> &Arc<dyn FileOpener> {
        &self.opener
    }

    /// Whether its files' bytes are fetched over a network.
    #[must_use]
    pub fn is_remote(&self) -> bool {
        self.opener.is_remote()
    }

    /// Heap memory, in bytes.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.records.capacity() * size_of::<Record>()
            + self.names.capacity()
            + self.slots.capacity() * size_of::<u32>()
            + self.opener.memory()
    }

    /// Files and folders that the process may not read. An archive without them would look
    /// complete.
    #[must_use]
    pub fn unreadable(&self) -> &Unreadable {
        &self.unreadable
    }

    /// Visits every file and folder: each folder before what is in it, siblings by the bytes of
    /// their names.
    ///
    /// # Errors
    /// The first error of `visit`, which ends the visit.
    pub fn visit<E>(&self, mut visit: impl FnMut(TreeEntry<'_>) -> Result<(), E>) -> Result<(), E> {
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
        // The names come from the system or from a checked path, so they are valid.
        self.base.join(&below).unwrap_or_else(|_| RelPath::root())
    }

    /// A file, for the opener.
    ///
    /// # Panics
    /// If this tree has no such entry.
    #[must_use]
    pub fn file(&self, index: usize) -> TreeFile<'_> {
        assert!(index < self.records.len(), "this tree has no entry {index}");
        TreeFile { tree: self, index }
    }

    /// The bytes of a file.
    ///
    /// # Panics
    /// If this tree has no such entry.
    #[must_use]
    pub fn source(&self, index: usize) -> Arc<dyn Source> {
        self.opener.source(self.file(index))
    }

    /// A number that changes whenever a file's bytes may have changed. The same on every node.
    ///
    /// # Panics
    /// If this tree has no such entry.
    #[must_use]
    pub fn version(&self, index: usize) -> u64 {
        match self.records[index].kind {
            EntryKind::File => self.opener.version(self.file(index)),
            EntryKind::Folder => nanos_or_lowest(self.records[index].modified).cast_unsigned(),
        }
    }

    /// What the caches know a file by.
    ///
    /// # Panics
    /// If this tree has no such entry.
    #[must_use]
    pub fn fingerprint(&self, index: usize) -> Fingerprint {
        self.records[index].fingerprint
    }

    pub(crate) fn name(&self, record: &Record) -> &[u8] {
        let start = record.name_at as usize;
        &self.names[start..start + usize::from(record.name_len)]
    }

    fn entry<'a>(&self, index: usize, path: &'a [u8]) -> TreeEntry<'a> {
        let record = &self.records[index];
        let size = match record.kind {
            EntryKind::File => record.size,
            EntryKind::Folder => record.children().len() as u64,
        };
        TreeEntry {
            index,
            path,
            kind: record.kind,
            size,
            modified: record.modified,
            executable: record.executable,
        }
    }
}
