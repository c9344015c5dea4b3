//! Walks a folder, or a selection of what is in it, into a [`Tree`]. Blocks; for threads that may.

use std::os::fd::AsFd as _;
use std::sync::Arc;

use outflow_content::Wait;
use rustix::fs::Stat;

use crate::path::printable;
use crate::root::may_read_at;
use crate::tree::{NO_PARENT, Origin, Record};
use crate::{
    EntryKind, Identity, Key, LocalFolder, OpenError, OpenErrorKind, Opened, RelPath, Root, Tree, Unreadable,
};

/// What of a folder is wanted.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Wanted {
    /// Everything.
    All,
    /// These paths below the folder: files, and folders with everything in them. Sorted, none twice.
    These(Vec<RelPath>),
    /// Everything down to this many levels, folders on the last level left empty.
    Levels(usize),
}

/// How much a walk may find before it gives up.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Files and folders. Each takes 40 bytes of memory and its name.
    pub entries: usize,
    /// Folders inside folders.
    pub depth: usize,
    /// Length of a path in bytes. ZIP has room for 65,535.
    pub path: usize,
}

impl Default for Bounds {
    fn default() -> Bounds {
        Bounds { entries: 10_000_000, depth: 1_000, path: 32_000 }
    }
}

/// Why there is no tree.
#[derive(Debug, thiserror::Error)]
pub enum WalkError {
    /// The folder itself cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// Selected files or folders do not exist (or are not served).
    #[error("{count} of the selected files are not there")]
    Missing {
        /// How many.
        count: usize,
        /// The first of them, made printable; at most [`Unreadable::NAMED`].
        first: Vec<String>,
    },
    /// More files and folders than the bound.
    #[error("there are more than {limit} files and folders")]
    TooMany {
        /// The bound.
        limit: usize,
    },
    /// Deeper than the bound, or with a longer path.
    #[error("{path}… is nested too deeply")]
    TooDeep {
        /// The beginning of the path, made printable.
        path: String,
    },
}

impl Root {
    /// Walks what is `wanted` of the folder `base`. Hidden files are left out unless the root shows them;
    /// links inside the root are followed (but not in circles); links that lead out, FIFOs, sockets and
    /// devices are left out. What cannot be read is in [`Tree::unreadable`]. Blocks.
    ///
    /// # Errors
    /// [`WalkError`].
    pub fn walk(
        self: &Arc<Self>,
        base: &RelPath,
        wanted: &Wanted,
        bounds: Bounds,
    ) -> Result<Tree, WalkError> {
        let folder = match self.open(base, Wait::Yes)? {
            Opened::Folder(folder) => folder,
            Opened::File(_) => return Err(OpenError::new(base, OpenErrorKind::NotFound).into()),
        };
        let tree = Tree::empty(base.clone(), Origin::Local(Arc::clone(self)));
        let levels = if let Wanted::Levels(levels) = wanted { *levels } else { usize::MAX };
        let mut walk = Walk { root: self, bounds, base: folder.identity(), tree };
        match wanted {
            Wanted::All | Wanted::Levels(_) => walk.children(&folder, NO_PARENT)?,
            Wanted::These(paths) => walk.selected(paths)?,
        }
        drop(folder);
        walk.tree.top = walk.tree.records.len();
        walk.descend(levels)?;
        let mut tree = walk.tree;
        tree.records.shrink_to_fit();
        tree.names.shrink_to_fit();
        Ok(tree)
    }
}

struct Walk<'a> {
    root: &'a Root,
    bounds: Bounds,
    base: Identity,
    tree: Tree,
}

impl Walk<'_> {
    /// Records the selected files and folders, whose names are their paths.
    fn selected(&mut self, paths: &[RelPath]) -> Result<(), WalkError> {
        let mut missing = Unreadable::default();
        for below in paths {
            let path = self.tree.base.join(below.as_bytes()).unwrap_or_else(|_| RelPath::root());
            let stat = if below.is_root() { None } else { self.root.stat(&path).ok() };
            let Some((stat, kind)) = stat.and_then(|stat| Some((stat, EntryKind::of(&stat)?))) else {
                missing.add(below.to_string());
                continue;
            };
            let index = self.push(below.as_bytes(), NO_PARENT)?;
            self.fill(index, &stat, kind);
            if kind == EntryKind::File {
                // Opening is the exact question here, and there are few.
                if self.root.open(&path, Wait::Yes).is_err() {
                    self.tree.unreadable.add(below.to_string());
                }
            }
        }
        if missing.count > 0 {
            return Err(WalkError::Missing { count: missing.count, first: missing.first });
        }
        Ok(())
    }

    /// Goes through the records while they grow, folder by folder.
    fn descend(&mut self, levels: usize) -> Result<(), WalkError> {
        let mut index = 0;
        while index < self.tree.records.len() {
            if self.tree.records[index].kind == EntryKind::Folder {
                self.folder(index, levels)?;
            }
            index += 1;
        }
        Ok(())
    }

    fn folder(&mut self, index: usize, levels: usize) -> Result<(), WalkError> {
        let path = self.tree.path(index);
        let first = self.tree.records.len();
        self.tree.records[index].set_children(first, 0);
        let mut depth = 1;
        let mut above = self.tree.records[index].parent;
        let key = self.tree.records[index].key;
        let mut looped = key == Key::of_folder(&self.base);
        while above != NO_PARENT {
            looped |= self.tree.records[above as usize].key == key;
            above = self.tree.records[above as usize].parent;
            depth += 1;
        }
        if looped || depth >= levels {
            return Ok(());
        }
        if depth > self.bounds.depth || path.as_bytes().len() > self.bounds.path {
            let start = &path.as_bytes()[..path.as_bytes().len().min(200)];
            return Err(WalkError::TooDeep { path: printable(start) });
        }
        match self.root.open(&path, Wait::Yes) {
            Ok(Opened::Folder(folder)) => {
                let parent = u32::try_from(index).map_err(|_| WalkError::TooMany { limit: index })?;
                match self.children(&folder, parent) {
                    // May be listed, but not passed through.
                    Err(WalkError::Open(OpenError { kind: OpenErrorKind::Denied, .. })) => {
                        self.tree.records.truncate(first);
                        self.tree.unreadable.add(format!("{path}/"));
                    }
                    walked => walked?,
                }
                let count = self.tree.records.len() - first;
                self.tree.records[index].set_children(first, count);
                Ok(())
            }
            Err(OpenError { kind: OpenErrorKind::Denied, .. }) => {
                self.tree.unreadable.add(format!("{path}/"));
                Ok(())
            }
            // Gone, or something else by now: as if we had come a moment later.
            Ok(Opened::File(_)) | Err(OpenError { kind: OpenErrorKind::NotFound, .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Records what is in a folder, sorted by name.
    fn children(&mut self, folder: &LocalFolder, parent: u32) -> Result<(), WalkError> {
        let first = self.tree.records.len();
        let mut too_many = None;
        let root = self.root;
        folder
            .each_name(root, |name| {
                self.push(name, parent).map(drop).map_err(|error| {
                    too_many = Some(error);
                    OpenErrorKind::WouldBlock
                })
            })
            .map_err(|error| too_many.take().unwrap_or(WalkError::Open(error)))?;

        let Tree { names, records, .. } = &mut self.tree;
        let name_of = |record: &Record| {
            let start = record.name_at as usize;
            &names[start..start + usize::from(record.name_len)]
        };
        records[first..].sort_unstable_by(|a, b| name_of(a).cmp(name_of(b)));

        // Keeps those that are files or folders, in place.
        let mut kept = first;
        for index in first..self.tree.records.len() {
            let record = self.tree.records[index];
            let name = self.tree.name(&record);
            let Some(stat) = folder.stat(self.root, name) else { continue };
            let Some(kind) = EntryKind::of(&stat) else { continue };
            // What everybody may read needs no question, and asking costs as much as all the rest. (An access
            // list could deny it to us alone; then the delivery is cut when it comes to that file.)
            let is_public = stat.st_mode & 0o444 == 0o444;
            if kind == EntryKind::File && !is_public && !may_read_at(folder.as_fd(), name) {
                let path = folder.path().join(name).unwrap_or_else(|_| RelPath::root());
                self.tree.unreadable.add(path.to_string());
            }
            self.tree.records[kept] = record;
            self.fill(kept, &stat, kind);
            kept += 1;
        }
        self.tree.records.truncate(kept);
        Ok(())
    }

    fn push(&mut self, name: &[u8], parent: u32) -> Result<usize, WalkError> {
        let tree = &mut self.tree;
        let limit = self.bounds.entries;
        let index = tree.records.len();
        let name_at = u32::try_from(tree.names.len()).map_err(|_| WalkError::TooMany { limit })?;
        if index >= limit {
            return Err(WalkError::TooMany { limit });
        }
        let name_len = u16::try_from(name.len())
            .map_err(|_| WalkError::TooDeep { path: printable(&name[..200.min(name.len())]) })?;
        tree.names.extend_from_slice(name);
        tree.records.push(Record {
            size: 0,
            mtime: 0,
            key: Key::default(),
            name_at,
            parent,
            name_len,
            kind: EntryKind::File,
            executable: false,
        });
        Ok(index)
    }

    fn fill(&mut self, index: usize, stat: &Stat, kind: EntryKind) {
        let identity = Identity::of(stat);
        let record = &mut self.tree.records[index];
        record.kind = kind;
        record.mtime = identity.mtime;
        match kind {
            EntryKind::File => {
                record.size = identity.size;
                record.key = Key::of_file(&identity);
                record.executable = stat.st_mode & 0o100 != 0;
                self.tree.files += 1;
                self.tree.bytes = self.tree.bytes.saturating_add(identity.size);
            }
            EntryKind::Folder => record.key = Key::of_folder(&identity),
        }
    }
}
