//! A folder that was opened once.

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

use crate::resolve::{PathResolver, open_flags};

/// Which files of a folder can be opened.
#[derive(Clone, Copy, Debug, Default)]
pub struct RootOptions {
    /// Follow symbolic links that lead out of the folder. Off: such a link is refused, and one
    /// inside works.
    pub follow_symlinks: bool,
    /// Show names that begin with a dot.
    pub hidden: bool,
}

/// A folder (or a single file in one) that was opened once: renaming it changes nothing, and
/// nothing outside can be reached through it.
pub struct Root {
    dir: OwnedFd,
    path: PathBuf,
    name: Vec<u8>,
    /// The only visible name, for a single file.
    only: Option<Vec<u8>>,
    options: RootOptions,
    resolver: PathResolver,
}

/// What a path names.
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
    /// The system's error; `InvalidInput` for something that is neither file nor folder.
    pub fn new(path: &Path, options: RootOptions) -> io::Result<Root> {
        let real = path.canonicalize()?;
        let metadata = std::fs::metadata(&real)?;
        if metadata.is_dir() {
            let dir =
                rustix::fs::open(&real, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
            // An unreadable folder fails here, where its owner sees it.
            rustix::fs::openat(&dir, ".", open_flags() | OFlags::DIRECTORY, Mode::empty())?;
            let name = real.file_name().map_or_else(Vec::new, |name| name.as_bytes().to_vec());
            let resolver = PathResolver::new(&real, options.follow_symlinks);
            return Ok(Root { dir, path: real, name, only: None, options, resolver });
        }
        if !metadata.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "neither a folder nor a regular file"));
        }
        rustix::fs::open(&real, open_flags(), Mode::empty())?;
        // The given name counts, even if it is a link; the folder is where the link lies.
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
        // A symlink given by name is followed; it is the only reachable name.
        let options = RootOptions { follow_symlinks: true, hidden: true };
        let resolver = PathResolver::new(&parent, true);
        Ok(Root { dir, path: parent, only: Some(name.clone()), name, options, resolver })
    }

    /// The folder's own name (or the single file's), raw; empty for `/`.
    #[must_use]
    pub fn name(&self) -> &[u8] {
        &self.name
    }

    /// The folder's path when it was opened.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The options it was opened with.
    #[must_use]
    pub fn options(&self) -> RootOptions {
        self.options
    }

    /// Opens what `path` names.
    ///
    /// # Errors
    /// [`OpenError`]; with [`Wait::No`] one that [is "would block"](OpenError::is_would_block) when
    /// the system has to ask a disk.
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

    /// Whether opening `path` would give the same file as `file`, unchanged since it was opened.
    ///
    /// One stat(2) instead of opening it again. The path was inside the root when `file` was
    /// opened, and this is the same inode, so that need not be checked again. Does not block,
    /// except on a network file system.
    #[must_use]
    pub fn still_names(&self, path: &RelPath, file: &LocalFile) -> bool {
        rustix::fs::statat(&self.dir, path.as_bytes(), AtFlags::empty())
            .is_ok_and(|stat| Identity::of(&stat) == file.identity())
    }

    /// Stats `path` without opening it, and follows links under the root's rule. Blocks.
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

    /// Whether `path` is neither hidden nor excluded.
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
