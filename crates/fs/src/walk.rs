//! Walks a folder, or a selection of what is in it, for a visitor. Blocks.
//!
//! Folders are walked level by level: first everything directly in the base, then for each folder
//! that was found, in that order, everything directly in it. What waits for its turn is one record
//! and one name for each folder.

use std::os::fd::{AsFd as _, BorrowedFd};

use outflow_content::{RelPath, Wait, printable};
use rustix::fs::{AtFlags, Stat};

use crate::error::{OpenError, OpenErrorKind};
use crate::folder::{EntryKind, LocalFolder};
use crate::identity::Identity;

use crate::root::{Opened, Root};

/// Which part of a folder to walk.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum WalkScope {
    /// Everything.
    All,
    /// These paths below the folder: files, and folders with everything in them. Sorted, none
    /// twice.
    Paths(Vec<RelPath>),
    /// Everything down to this many levels, with the folders on the last level left empty.
    Levels(usize),
}

/// Limits of one walk. Beyond them it fails, because an incomplete result must not look complete.
#[derive(Clone, Copy, Debug)]
pub struct WalkLimits {
    /// Maximum number of files and folders. A tree takes 40 bytes of memory for each, and its name.
    pub entries: usize,
    /// Maximum depth of folders inside folders.
    pub depth: usize,
    /// Maximum length of a path in bytes. ZIP has room for 65,535.
    pub path: usize,
}

/// Maximum number of files and folders in one walk, by default.
///
/// Bound: local files.
const MAX_ENTRIES: usize = 10_000_000;
/// Maximum depth of folders in one walk, by default.
///
/// Bound: local files.
const MAX_DEPTH: usize = 1_000;
/// Maximum length of a path in one walk in bytes, by default.
///
/// Bound: local files.
const MAX_PATH: usize = 32_000;

impl Default for WalkLimits {
    fn default() -> WalkLimits {
        WalkLimits { entries: MAX_ENTRIES, depth: MAX_DEPTH, path: MAX_PATH }
    }
}

/// Why a walk failed.
#[derive(Debug, thiserror::Error)]
pub enum WalkError {
    /// The folder itself cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// Selected files or folders do not exist, or are not served.
    #[error("{count} of the selected files are not there")]
    Missing {
        /// How many.
        count: usize,
        /// The first of them, made printable; at most [`Unreadable::NAMED`].
        first: Vec<String>,
    },
    /// More files and folders than the limit.
    #[error("there are more than {limit} files and folders")]
    TooMany {
        /// The limit.
        limit: usize,
    },
    /// Deeper than the limit, or with a longer path.
    #[error("{path}… is nested too deeply")]
    TooDeep {
        /// The beginning of the path, made printable.
        path: String,
    },
}

impl WalkError {
    /// The error for `path`, which is too long or too deep.
    #[must_use]
    pub fn too_deep(path: &[u8]) -> WalkError {
        WalkError::TooDeep { path: printable(&path[..path.len().min(200)]) }
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

    /// Counts one more, and keeps its name if it is one of the first.
    pub fn add(&mut self, path: String) {
        self.count += 1;
        if self.first.len() < Unreadable::NAMED {
            self.first.push(path);
        }
    }
}

/// A file or folder that a walk found.
#[derive(Clone, Copy, Debug)]
pub struct WalkEntry<'a> {
    /// Its name, raw; the whole path below the base for what was selected.
    pub name: &'a [u8],
    /// What it is; links are what they lead to.
    pub kind: EntryKind,
    /// What it was when it was found.
    pub identity: Identity,
    /// Whether its owner may execute it.
    pub executable: bool,
}

/// Receives what a walk finds, level by level.
pub trait WalkVisitor {
    /// A file or folder in the current folder, which is the base at first. Siblings come sorted by
    /// name.
    ///
    /// # Errors
    /// A [`WalkError`] ends the walk.
    fn entry(&mut self, entry: WalkEntry<'_>) -> Result<(), WalkError>;

    /// From now on, entries lie in the next folder: the first one that [`WalkVisitor::entry`]
    /// received and that has not had its turn. Every folder has one, even if there is nothing in
    /// it.
    fn next_folder(&mut self);

    /// The process may not read this file or folder.
    fn unreadable(&mut self, path: String);
}

impl Root {
    /// Walks `scope` of the folder `base`, and hands everything to `visitor`. Hidden files are left
    /// out unless the root shows them; links inside the root are followed (but not in circles);
    /// links that lead out, FIFOs, sockets and devices are left out. Blocks.
    ///
    /// # Errors
    /// [`WalkError`].
    pub fn visit(
        &self,
        base: &RelPath,
        scope: &WalkScope,
        limits: WalkLimits,
        visitor: &mut impl WalkVisitor,
    ) -> Result<(), WalkError> {
        let folder = match self.open(base, Wait::Yes)? {
            Opened::Folder(folder) => folder,
            Opened::File(_) => return Err(OpenError::new(base, OpenErrorKind::NotFound).into()),
        };
        let levels = if let WalkScope::Levels(levels) = scope { *levels } else { usize::MAX };
        let mut walk = Walk {
            root: self,
            limits,
            base,
            base_identity: folder.identity(),
            visitor,
            found: 0,
            folders: Vec::new(),
            names: Vec::new(),
            siblings: Siblings::default(),
        };
        match scope {
            WalkScope::All | WalkScope::Levels(_) => walk.children(&folder, NO_PARENT)?,
            WalkScope::Paths(paths) => walk.selected(paths)?,
        }
        drop(folder);
        walk.descend(levels)
    }
}

/// The parent of what lies directly in the base.
const NO_PARENT: u32 = u32::MAX;

struct Walk<'a, V> {
    root: &'a Root,
    limits: WalkLimits,
    base: &'a RelPath,
    base_identity: Identity,
    visitor: &'a mut V,
    /// Entries that the visitor received.
    found: usize,
    /// All folders found so far, in the order of their turns.
    folders: Vec<FoundFolder>,
    /// Their names, one after the other.
    names: Vec<u8>,
    /// Names in the current folder. Kept between folders for its memory only.
    siblings: Siblings,
}

struct FoundFolder {
    dev: u64,
    ino: u64,
    /// The folder it lies in, or [`NO_PARENT`].
    parent: u32,
    name_len: u32,
    name_at: usize,
}

#[derive(Default)]
struct Siblings {
    names: Vec<u8>,
    /// Where each name begins, and how long it is.
    places: Vec<(u32, u16)>,
}

impl<V: WalkVisitor> Walk<'_, V> {
    /// Visits the selected files and folders, whose names are their paths.
    fn selected(&mut self, paths: &[RelPath]) -> Result<(), WalkError> {
        let mut missing = Unreadable::default();
        for below in paths {
            let path = self.base.join(below.as_bytes()).unwrap_or_else(|_| RelPath::root());
            let stat = if below.is_root() { None } else { self.root.stat(&path).ok() };
            let Some((stat, kind)) = stat.and_then(|stat| Some((stat, EntryKind::of(&stat)?))) else {
                missing.add(below.to_string());
                continue;
            };
            self.limit(0)?;
            self.entry(below.as_bytes(), &stat, kind, NO_PARENT)?;
            // Opening is the exact check, and there are few.
            if kind == EntryKind::File && self.root.open(&path, Wait::Yes).is_err() {
                self.visitor.unreadable(below.to_string());
            }
        }
        if missing.count > 0 {
            return Err(WalkError::Missing { count: missing.count, first: missing.first });
        }
        Ok(())
    }

    /// Visits each folder, while more are found.
    fn descend(&mut self, levels: usize) -> Result<(), WalkError> {
        let mut index = 0;
        while index < self.folders.len() {
            self.visitor.next_folder();
            self.folder(index, levels)?;
            index += 1;
        }
        Ok(())
    }

    fn folder(&mut self, index: usize, levels: usize) -> Result<(), WalkError> {
        let this = &self.folders[index];
        let is_this = |dev, ino| (dev, ino) == (this.dev, this.ino);
        let mut depth = 1;
        let mut above = this.parent;
        let mut looped = is_this(self.base_identity.dev, self.base_identity.ino);
        while above != NO_PARENT {
            let folder = &self.folders[above as usize];
            looped |= is_this(folder.dev, folder.ino);
            above = folder.parent;
            depth += 1;
        }
        if looped || depth >= levels {
            return Ok(());
        }
        let path = self.path(index);
        if depth > self.limits.depth || path.as_bytes().len() > self.limits.path {
            return Err(WalkError::too_deep(path.as_bytes()));
        }
        match self.root.open(&path, Wait::Yes) {
            Ok(Opened::Folder(folder)) => {
                let parent = u32::try_from(index).map_err(|_| WalkError::TooMany { limit: index })?;
                match self.children(&folder, parent) {
                    // It may be passed through, but not listed.
                    Err(WalkError::Open(OpenError { kind: OpenErrorKind::Denied, .. })) => {
                        self.visitor.unreadable(format!("{path}/"));
                        Ok(())
                    }
                    walked => walked,
                }
            }
            Err(OpenError { kind: OpenErrorKind::Denied, .. }) => {
                self.visitor.unreadable(format!("{path}/"));
                Ok(())
            }
            // Gone, or something else by now: as if the walk had come a moment later.
            Ok(Opened::File(_)) | Err(OpenError { kind: OpenErrorKind::NotFound, .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Visits what is in a folder, sorted by name.
    fn children(&mut self, folder: &LocalFolder, parent: u32) -> Result<(), WalkError> {
        let mut siblings = std::mem::take(&mut self.siblings);
        siblings.names.clear();
        siblings.places.clear();
        let mut failed = None;
        self.root
            .each_name(folder, |name| {
                self.limit(siblings.places.len()).and_then(|()| siblings.push(name)).map_err(|error| {
                    failed = Some(error);
                    OpenErrorKind::WouldBlock
                })
            })
            .map_err(|error| failed.take().unwrap_or(WalkError::Open(error)))?;
        let Siblings { names, places } = &mut siblings;
        let name = |(at, len): (u32, u16)| &names[at as usize..at as usize + usize::from(len)];
        places.sort_unstable_by(|a, b| name(*a).cmp(name(*b)));
        for place in &*places {
            let name = name(*place);
            let Some(stat) = self.root.stat_in(folder, name) else { continue };
            let Some(kind) = EntryKind::of(&stat) else { continue };
            // A file that everybody may read is not checked, because the check costs as much as all
            // the rest. (If an access list denies it to this process alone, the delivery is cut at
            // that file.)
            let is_public = stat.st_mode & 0o444 == 0o444;
            if kind == EntryKind::File && !is_public && !may_read_at(folder.as_fd(), name) {
                let path = folder.path().join(name).unwrap_or_else(|_| RelPath::root());
                self.visitor.unreadable(path.to_string());
            }
            self.entry(name, &stat, kind, parent)?;
        }
        self.siblings = siblings;
        Ok(())
    }

    /// Fails if there is no room for another entry beside those found and `more`.
    fn limit(&self, more: usize) -> Result<(), WalkError> {
        let limit = self.limits.entries;
        if self.found + more < limit { Ok(()) } else { Err(WalkError::TooMany { limit }) }
    }

    fn entry(&mut self, name: &[u8], stat: &Stat, kind: EntryKind, parent: u32) -> Result<(), WalkError> {
        let identity = Identity::of(stat);
        let executable = kind == EntryKind::File && stat.st_mode & 0o100 != 0;
        self.visitor.entry(WalkEntry { name, kind, identity, executable })?;
        self.found += 1;
        if kind == EntryKind::Folder {
            let name_len = u32::try_from(name.len()).map_err(|_| WalkError::too_deep(name))?;
            let name_at = self.names.len();
            self.names.extend_from_slice(name);
            self.folders.push(FoundFolder {
                dev: identity.dev,
                ino: identity.ino,
                parent,
                name_len,
                name_at,
            });
        }
        Ok(())
    }

    /// Path of a folder below the root.
    fn path(&self, index: usize) -> RelPath {
        let mut names = Vec::new();
        let mut at = index;
        loop {
            let folder = &self.folders[at];
            names.push(&self.names[folder.name_at..folder.name_at + folder.name_len as usize]);
            if folder.parent == NO_PARENT {
                break;
            }
            at = folder.parent as usize;
        }
        names.reverse();
        // The names come from the system or from a checked path, so there is nothing to refuse.
        self.base.join(&names.join(&b'/')).unwrap_or_else(|_| RelPath::root())
    }
}

impl Siblings {
    fn push(&mut self, name: &[u8]) -> Result<(), WalkError> {
        let at =
            u32::try_from(self.names.len()).map_err(|_| WalkError::TooMany { limit: self.places.len() })?;
        let len = u16::try_from(name.len()).map_err(|_| WalkError::too_deep(name))?;
        self.names.extend_from_slice(name);
        self.places.push((at, len));
        Ok(())
    }
}

/// Whether the process may read `name` in `dir`; links followed.
fn may_read_at(dir: BorrowedFd<'_>, name: &[u8]) -> bool {
    rustix::fs::accessat(dir, name, rustix::fs::Access::READ_OK, AtFlags::EACCESS).is_ok()
}
