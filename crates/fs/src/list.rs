//! The entries directly in a folder.

use rustix::fs::{AtFlags, Dir, FileType, Stat};

use crate::error::{OpenError, OpenErrorKind};
use crate::folder::{EntryKind, LocalFolder};
use crate::identity::Identity;
use crate::root::Root;

/// A file or folder in a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalEntry {
    /// Its name, raw.
    pub name: Vec<u8>,
    /// What it is; links are what they lead to.
    pub kind: EntryKind,
    /// What it was when it was listed.
    pub identity: Identity,
}

impl Root {
    /// Everything in `folder` that this root serves, sorted by name. Links that lead out of the
    /// root, FIFOs, sockets and devices are left out. Blocks.
    ///
    /// # Errors
    /// [`OpenError`]; `TooBig` for more than `limit` entries.
    pub fn entries(&self, folder: &LocalFolder, limit: usize) -> Result<Vec<LocalEntry>, OpenError> {
        let mut names = Vec::new();
        self.each_name(folder, |name| {
            if names.len() == limit {
                return Err(OpenErrorKind::TooBig { limit });
            }
            names.push(name.to_vec());
            Ok(())
        })?;
        names.sort_unstable();
        Ok(names
            .into_iter()
            .filter_map(|name| {
                let stat = self.stat_in(folder, &name)?;
                let kind = EntryKind::of(&stat)?;
                Some(LocalEntry { name, kind, identity: Identity::of(&stat) })
            })
            .collect())
    }

    /// Every visible name in `folder`, in the order of the disk.
    pub(crate) fn each_name(
        &self,
        folder: &LocalFolder,
        mut take: impl FnMut(&[u8]) -> Result<(), OpenErrorKind>,
    ) -> Result<(), OpenError> {
        let fail = |kind| OpenError::new(folder.path(), kind);
        let mut dir = Dir::read_from(folder).map_err(|errno| fail(errno.into()))?;
        while let Some(entry) = dir.read() {
            let entry = entry.map_err(|errno| fail(errno.into()))?;
            let name = entry.file_name().to_bytes();
            if matches!(name, b"." | b"..") {
                continue;
            }
            if self.shows(folder.path(), name) {
                take(name).map_err(fail)?;
            }
        }
        Ok(())
    }

    /// What `name` in `folder` is, with links followed under the root's rule. `None` for what is
    /// not served, or gone again.
    pub(crate) fn stat_in(&self, folder: &LocalFolder, name: &[u8]) -> Option<Stat> {
        let stat = rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile | FileType::Directory => Some(stat),
            FileType::Symlink => self.stat(&folder.path().join(name).ok()?).ok(),
            _ => None,
        }
    }
}
