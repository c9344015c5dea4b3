//! From a list of paths, or level by level, to a tree.

use std::cmp::Ordering;
use std::collections::VecDeque;
use std::sync::Arc;

use outflow_content::UnixTime;
use outflow_fs::{BadPath, EntryKind, RelPath, WalkError, WalkLimits};

use crate::fingerprint::Fingerprint;
use crate::tree::entries::Tree;
use crate::tree::opener::FileOpener;
use crate::tree::record::{NO_PARENT, Record};

/// What a tree remembers of a file besides its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileRecord {
    /// Size in bytes.
    pub size: u64,
    /// Modified time, if it is known.
    pub modified: Option<UnixTime>,
    /// What the caches know it by: another one for every version of every file, in all collections.
    pub fingerprint: Fingerprint,
    /// Whether its owner may execute it.
    pub executable: bool,
}

/// Builds a tree from files and folders in any order.
#[derive(Debug, Default)]
pub struct TreeBuilder {
    paths: Vec<Vec<u8>>,
    /// A folder that may be empty has none.
    files: Vec<Option<FileRecord>>,
}

impl TreeBuilder {
    /// A builder of an empty tree.
    #[must_use]
    pub fn new() -> TreeBuilder {
        TreeBuilder::default()
    }

    /// Adds a file; the folders above it need not be added. Returns the number by which the opener
    /// will know it ([`TreeFile::slot`](crate::TreeFile::slot)). Of two files with the same path
    /// the first one counts.
    ///
    /// # Errors
    /// [`BadPath`].
    pub fn file(&mut self, path: &[u8], record: FileRecord) -> Result<u32, BadPath> {
        if RelPath::new(path)?.is_root() {
            return Err(BadPath::Empty);
        }
        self.paths.push(path.to_vec());
        self.files.push(Some(record));
        // More than 2^32 do not fit a tree, which says so when it is built.
        Ok((self.files.len() - 1) as u32)
    }

    /// Adds a folder, which may stay empty.
    ///
    /// # Errors
    /// [`BadPath`].
    pub fn folder(&mut self, path: &[u8]) -> Result<(), BadPath> {
        if RelPath::new(path)?.is_root() {
            return Err(BadPath::Empty);
        }
        self.paths.push([path, b"/"].concat());
        self.files.push(None);
        Ok(())
    }

    /// The tree, whose files `opener` will open.
    ///
    /// # Errors
    /// [`WalkError`] if it does not keep the limits.
    pub fn build(self, opener: Arc<dyn FileOpener>, limits: WalkLimits) -> Result<Tree, WalkError> {
        let TreeBuilder { paths, files } = self;
        if files.len() >= u32::MAX as usize {
            return Err(WalkError::TooMany { limit: limits.entries });
        }
        let mut named: Vec<NamedFile<'_>> =
            paths.iter().zip(0..).map(|(path, slot)| (path.as_slice(), slot)).collect();
        named.sort_by(|(a, _), (b, _)| by_components(a, b));
        named.dedup_by(|(a, _), (b, _)| a == b);
        // A path with a slash at its end is never taken for a file.
        let record = |slot: u32| files[slot as usize].unwrap_or(NO_FILE);
        Tree::of_sorted(RelPath::root(), &named, record, opener, limits)
    }
}

const NO_FILE: FileRecord =
    FileRecord { size: 0, modified: None, fingerprint: Fingerprint([0; 3]), executable: false };

/// The slot of a folder.
const NO_SLOT: u32 = u32::MAX;

/// A file's path in the tree to be, and its number. A slash at its end makes it a folder.
pub(crate) type NamedFile<'a> = (&'a [u8], u32);

/// The order of a tree: folder by folder, names by their bytes.
pub(crate) fn by_components(a: &[u8], b: &[u8]) -> Ordering {
    a.split(|byte| *byte == b'/').cmp(b.split(|byte| *byte == b'/'))
}

impl Tree {
    /// The tree of the files `named`, which are sorted [by components](by_components) and checked
    /// to be paths, and none of which is there twice.
    pub(crate) fn of_sorted(
        base: RelPath,
        named: &[NamedFile<'_>],
        record: impl Fn(u32) -> FileRecord,
        opener: Arc<dyn FileOpener>,
        limits: WalkLimits,
    ) -> Result<Tree, WalkError> {
        let mut tree = Tree::empty(base, opener);
        // Folders that still have to be filled: their files, where the names in them begin, and how
        // deep they are.
        let mut open = VecDeque::from([(NO_PARENT, 0..named.len(), 0, 0)]);
        while let Some((parent, range, skip, depth)) = open.pop_front() {
            if let Some((path, _)) = named.get(range.start)
                && depth > limits.depth
            {
                return Err(WalkError::too_deep(path));
            }
            let first = tree.records.len();
            let mut at = range.start;
            while at < range.end {
                let (path, slot) = named[at];
                if skip == path.len() {
                    // It has a slash at its end: this folder is there, even if it is empty.
                    at += 1;
                    continue;
                }
                let name = component(path, skip);
                if skip + name.len() == path.len() {
                    let FileRecord { size, modified, fingerprint, executable } = record(slot);
                    let kind = EntryKind::File;
                    let record =
                        Record { size, modified, fingerprint, executable, kind, parent, ..Record::FOLDER };
                    tree.push(name, record, Some(slot), limits)?;
                    at += 1;
                    continue;
                }
                let inside = |path: &[u8]| path[skip..].get(name.len()) == Some(&b'/');
                let count = named[at..range.end]
                    .partition_point(|(path, _)| component(path, skip) == name && inside(path));
                let index = tree.push(name, Record { parent, ..Record::FOLDER }, Some(NO_SLOT), limits)?;
                open.push_back((index, at..at + count, skip + name.len() + 1, depth + 1));
                at += count;
            }
            let count = tree.records.len() - first;
            match parent {
                NO_PARENT => tree.top = count,
                folder => tree.records[folder as usize].set_children(first, count),
            }
        }
        tree.shrink();
        Ok(tree)
    }

    /// Adds an entry behind all others. A folder begins empty.
    pub(crate) fn push(
        &mut self,
        name: &[u8],
        record: Record,
        slot: Option<u32>,
        limits: WalkLimits,
    ) -> Result<u32, WalkError> {
        let limit = limits.entries;
        let index = u32::try_from(self.records.len()).map_err(|_| WalkError::TooMany { limit })?;
        let name_at = u32::try_from(self.names.len()).map_err(|_| WalkError::TooMany { limit })?;
        if self.records.len() >= limit {
            return Err(WalkError::TooMany { limit });
        }
        let name_len = u16::try_from(name.len()).map_err(|_| WalkError::too_deep(name))?;
        self.names.extend_from_slice(name);
        let mut record = Record { name_at, name_len, ..record };
        match record.kind {
            EntryKind::File => {
                self.files += 1;
                self.bytes = self.bytes.saturating_add(record.size);
            }
            EntryKind::Folder => record.size = 0,
        }
        self.records.push(record);
        self.slots.extend(slot);
        Ok(index)
    }

    /// Gives back memory that was reserved for more entries.
    pub(crate) fn shrink(&mut self) {
        self.records.shrink_to_fit();
        self.names.shrink_to_fit();
        self.slots.shrink_to_fit();
    }
}

/// Builds a tree while a walk finds it: first everything directly in the base, then folder by
/// folder, in the order in which they were added.
pub(crate) struct LevelBuilder {
    tree: Tree,
    limits: WalkLimits,
    /// The folder that entries are added to, and its first entry.
    current: u32,
    first: usize,
    /// From where on the next folder is looked for.
    next: usize,
}

impl LevelBuilder {
    pub(crate) fn new(base: RelPath, opener: Arc<dyn FileOpener>, limits: WalkLimits) -> LevelBuilder {
        LevelBuilder { tree: Tree::empty(base, opener), limits, current: NO_PARENT, first: 0, next: 0 }
    }

    /// Adds an entry to the current folder, whose entries come sorted by name.
    pub(crate) fn entry(
        &mut self,
        name: &[u8],
        kind: EntryKind,
        record: FileRecord,
    ) -> Result<(), WalkError> {
        let FileRecord { size, modified, fingerprint, executable } = record;
        let parent = self.current;
        let record = Record { size, modified, fingerprint, executable, kind, parent, ..Record::FOLDER };
        self.tree.push(name, record, None, self.limits).map(drop)
    }

    /// Goes on with the next folder that was added.
    pub(crate) fn next_folder(&mut self) {
        self.close();
        while self.tree.records.get(self.next).is_some_and(|record| record.kind == EntryKind::File) {
            self.next += 1;
        }
        // A tree has fewer than 2^32 records: `push` sees to that.
        self.current = self.next as u32;
        self.first = self.tree.records.len();
        self.next += 1;
    }

    /// Counts a file or folder that cannot be read.
    pub(crate) fn unreadable(&mut self, path: String) {
        self.tree.unreadable.add(path);
    }

    pub(crate) fn build(mut self) -> Tree {
        self.close();
        self.tree.shrink();
        self.tree
    }

    fn close(&mut self) {
        let count = self.tree.records.len() - self.first;
        match self.current {
            NO_PARENT => self.tree.top = count,
            folder => {
                if let Some(folder) = self.tree.records.get_mut(folder as usize) {
                    folder.set_children(self.first, count);
                }
            }
        }
    }
}

/// The component of `path` that begins at `skip`.
fn component(path: &[u8], skip: usize) -> &[u8] {
    let rest = &path[skip..];
    let end = rest.iter().position(|byte| *byte == b'/').unwrap_or(rest.len());
    &rest[..end]
}
