//! What is directly in a folder.

use std::fmt;
use std::os::fd::{AsFd, OwnedFd};
use std::time::SystemTime;

use rustix::fs::{AtFlags, Dir, FileType, Stat};

use crate::{EntryKind, FileTag, Identity, OpenError, OpenErrorKind, RelPath, Root, time_of};

/// An open folder.
pub struct LocalFolder {
    fd: OwnedFd,
    path: RelPath,
    identity: Identity,
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
    /// Modified time, in nanoseconds since 1970, or [`crate::NO_TIME`].
    pub mtime: i64,
    /// What a file's entity tag is made of.
    pub tag: FileTag,
}

impl FolderEntry {
    /// Modified time.
    #[must_use]
    pub fn modified(&self) -> SystemTime {
        time_of(self.mtime)
    }

    /// The opaque part of a file's strong entity tag. `None` for a folder, or if nothing would tell a changed
    /// file from this one.
    #[must_use]
    pub fn etag(&self) -> Option<String> {
        if self.is_folder() { None } else { self.tag.text(self.size, self.mtime) }
    }

    /// True for a folder.
    #[must_use]
    pub fn is_folder(&self) -> bool {
        self.kind == EntryKind::Folder
    }
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

    /// Everything in it that `root` serves, sorted by name. Links that lead out of the root, FIFOs, sockets
    /// and devices are left out. Blocks.
    ///
    /// # Errors
    /// [`OpenError`]; `TooBig` for more than `limit` entries.
    pub fn entries(&self, root: &Root, limit: usize) -> Result<Vec<FolderEntry>, OpenError> {
        let mut entries = Vec::new();
        self.each_name(root, |name| {
            if entries.len() == limit {
                return Err(OpenErrorKind::TooBig { limit });
            }
            entries.push(name.to_vec());
            Ok(())
        })?;
        entries.sort_unstable();
        Ok(entries
            .into_iter()
            .filter_map(|name| {
                let stat = self.stat(root, &name)?;
                let kind = EntryKind::of(&stat)?;
                let identity = Identity::of(&stat);
                let size = if kind == EntryKind::Folder { 0 } else { identity.size };
                Some(FolderEntry { name, kind, size, mtime: identity.mtime, tag: FileTag::Times })
            })
            .collect())
    }

    /// Every visible name in it, in the order of the disk.
    pub(crate) fn each_name(
        &self,
        root: &Root,
        mut take: impl FnMut(&[u8]) -> Result<(), OpenErrorKind>,
    ) -> Result<(), OpenError> {
        let fail = |kind| OpenError::new(&self.path, kind);
        let mut dir = Dir::read_from(&self.fd).map_err(|errno| fail(errno.into()))?;
        while let Some(entry) = dir.read() {
            let entry = entry.map_err(|errno| fail(errno.into()))?;
            let name = entry.file_name().to_bytes();
            if matches!(name, b"." | b"..") {
                continue;
            }
            if root.shows(&self.path, name) {
                take(name).map_err(fail)?;
            }
        }
        Ok(())
    }

    /// What `name` is, links followed under the root's rule. `None` for what is not served, or gone
    /// again.
    pub(crate) fn stat(&self, root: &Root, name: &[u8]) -> Option<Stat> {
        let stat = rustix::fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile | FileType::Directory => Some(stat),
            FileType::Symlink => root.stat(&self.path.join(name).ok()?).ok(),
            _ => None,
        }
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
