//! The served folder, opened once.

use std::fmt;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use outflow_content::{RelPath, Wait};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};

use crate::error::{OpenError, OpenErrorKind};
use crate::file::LocalFile;
use crate::folder::LocalFolder;
use crate::identity::Identity;

use crate::resolve::{Resolver, open_flags};

/// What of a folder is served.
#[derive(Clone, Copy, Debug, Default)]
pub struct RootOptions {
    /// Symbolic links may lead out of the folder. Off: such a link is refused, one inside works.
    pub follow_symlinks: bool,
    /// Names that begin with a dot are served, too.
    pub hidden: bool,
}

/// A served folder (or a single file of one), opened once: renaming it on the way changes nothing, and
/// nothing outside can be reached through it.
pub struct Root {
    dir: OwnedFd,
    path: PathBuf,
    name: Vec<u8>,
    /// The one name that is visible when a single file is served.
    only: Option<Vec<u8>>,
    options: RootOptions,
    resolver: Resolver,
}

/// What a path turned out to be.
#[derive(Debug)]
pub enum Opened {
    /// A regular file.
    File(LocalFile),
    /// A folder.
    Folder(LocalFolder),
}

impl Root {
    /// Opens `path`, a folder or a regular file. Blocks.
    ///
    /// # Errors
    /// What the system says; `InvalidInput` for something that is neither file nor folder.
    pub fn new(path: &Path, options: RootOptions) -> io::Result<Root> {
        let real = path.canonicalize()?;
        let metadata = std::fs::metadata(&real)?;
        if metadata.is_dir() {
            let dir =
                rustix::fs::open(&real, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
            // Says early, and to whom it concerns, that the folder cannot be read.
            rustix::fs::openat(&dir, ".", open_flags() | OFlags::DIRECTORY, Mode::empty())?;
            let name = real.file_name().map_or_else(Vec::new, |name| name.as_bytes().to_vec());
            let resolver = Resolver::new(&real, options.follow_symlinks);
            return Ok(Root { dir, path: real, name, only: None, options, resolver });
        }
        if !metadata.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "neither a folder nor a regular file"));
        }
        rustix::fs::open(&real, open_flags(), Mode::empty())?;
        // The name is the one that was given, even when it is a link; its folder is where the link lies.
        let name = path.file_name().or(real.file_name()).map(OsStrExt::as_bytes).unwrap_or_default().to_vec();
        let parent = match path.parent() {
            Some(parent) if path.file_name().is_some() && !parent.as_os_str().is_empty() => {
                parent.canonicalize()?
            }
            Some(_) if path.file_name().is_some() => Path::new(".").canonicalize()?,
            _ => real.parent().unwrap_or(Path::new("/")).to_owned(),
        };
        let dir =
            rustix::fs::open(&parent, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        // Whoever names a link means its target, and no other name can be asked for.
        let options = RootOptions { follow_symlinks: true, hidden: true };
        let resolver = Resolver::new(&parent, true);
        Ok(Root { dir, path: parent, only: Some(name.clone()), name, options, resolver })
    }

    /// The folder's own name (or the single file's), raw; empty for `/`.
    #[must_use]
    pub fn name(&self) -> &[u8] {
        &self.name
    }

    /// Where the folder was when it was opened.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What of the folder is served.
    #[must_use]
    pub fn options(&self) -> RootOptions {
        self.options
    }

    /// Opens what `path` names.
    ///
    /// # Errors
    /// [`OpenError`]; with [`Wait::No`] one that [is "would block"](OpenError::is_would_block) when the
    /// system has to ask a disk.
    pub fn open(&self, path: &RelPath, wait: Wait) -> Result<Opened, OpenError> {
        let fail = |kind| OpenError::new(path, kind);
        if !self.is_visible(path) {
            return Err(fail(OpenErrorKind::NotFound));
        }
        let fd = self.resolver.open(self.dir.as_fd(), path, open_flags(), wait).map_err(fail)?;
        let stat = rustix::fs::fstat(&fd).map_err(|errno| fail(errno.into()))?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Ok(Opened::File(LocalFile::new(fd, path.clone(), &stat))),
            FileType::Directory => Ok(Opened::Folder(LocalFolder::new(fd, path.clone(), &stat))),
            _ => Err(fail(OpenErrorKind::NotAFile)),
        }
    }

    /// Whether opening `path` would give the very file that `file` is, unchanged since it was opened.
    ///
    /// One look at the path instead of opening it again. That the path stays inside the root need not be
    /// checked anew: it did when `file` was opened, and this is the same inode. Does not wait, but for
    /// a file system that has to ask a network.
    #[must_use]
    pub fn still_names(&self, path: &RelPath, file: &LocalFile) -> bool {
        rustix::fs::statat(&self.dir, path.as_bytes(), AtFlags::empty())
            .is_ok_and(|stat| Identity::of(&stat) == file.identity())
    }

    /// What `path` is, without opening it: following links under the root's rule. Blocks.
    pub(crate) fn stat(&self, path: &RelPath) -> Result<Stat, OpenErrorKind> {
        if !self.is_visible(path) {
            return Err(OpenErrorKind::NotFound);
        }
        let fd = self.resolver.open(self.dir.as_fd(), path, OFlags::PATH | OFlags::CLOEXEC, Wait::Yes)?;
        Ok(rustix::fs::fstat(&fd)?)
    }

    /// Whether a listing of `folder` shows `name`.
    pub(crate) fn shows(&self, folder: &RelPath, name: &[u8]) -> bool {
        match &self.only {
            Some(only) => folder.is_root() && name == only.as_slice(),
            None => self.options.hidden || name.first() != Some(&b'.'),
        }
    }

    /// Whether `path` may be asked for at all.
    pub(crate) fn is_visible(&self, path: &RelPath) -> bool {
        match &self.only {
            Some(only) => path.is_root() || path.as_bytes() == only.as_slice(),
            None => self.options.hidden || !path.is_hidden(),
        }
    }
}

impl Opened {
    /// The file's or folder's identity.
    #[must_use]
    pub fn identity(&self) -> Identity {
        match self {
            Opened::File(file) => file.identity(),
            Opened::Folder(folder) => folder.identity(),
        }
    }
}

impl fmt::Debug for Root {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Root").field("path", &self.path).field("only", &self.only).finish()
    }
}
