//! An open folder.

use std::fmt;
use std::os::fd::{AsFd, OwnedFd};

use outflow_content::RelPath;
use rustix::fs::{FileType, Stat};

use crate::identity::Identity;

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

/// An open folder.
pub struct LocalFolder {
    fd: OwnedFd,
    path: RelPath,
    identity: Identity,
}

impl LocalFolder {
    pub(crate) fn new(fd: OwnedFd, path: RelPath, stat: &Stat) -> LocalFolder {
        LocalFolder { fd, path, identity: Identity::of(stat) }
    }

    /// The path by which it was opened.
    #[must_use]
    pub fn path(&self) -> &RelPath {
        &self.path
    }

    /// The folder's identity when it was opened.
    #[must_use]
    pub fn identity(&self) -> Identity {
        self.identity
    }
}

impl AsFd for LocalFolder {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl fmt::Debug for LocalFolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalFolder").field("path", &self.path).finish()
    }
}
