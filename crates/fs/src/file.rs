//! Local files: open ones, and ones that are opened when their bytes leave.

use std::fmt;
use std::io::IoSliceMut;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::Arc;

use outflow_content::{Feed, FileSource, FileSpan, OpenFile, Source, Span, SpanError, Wait};
use rustix::fs::Stat;
use rustix::io::ReadWriteFlags;

use crate::feed::FileFeed;
use crate::{Identity, Key, OpenError, OpenErrorKind, Opened, RelPath, Root};

/// An open regular file, and what it was when it was opened.
#[derive(Clone)]
pub struct LocalFile(Arc<Inner>);

struct Inner {
    fd: OwnedFd,
    identity: Identity,
    links: u64,
    executable: bool,
    path: RelPath,
}

impl LocalFile {
    pub(crate) fn new(fd: OwnedFd, path: RelPath, stat: &Stat) -> LocalFile {
        LocalFile(Arc::new(Inner {
            fd,
            identity: Identity::of(stat),
            links: links(stat),
            executable: stat.st_mode & 0o100 != 0,
            path,
        }))
    }

    /// What the file was when it was opened.
    #[must_use]
    pub fn identity(&self) -> Identity {
        self.0.identity
    }

    /// Size in bytes when it was opened.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.0.identity.size
    }

    /// Whether its owner may execute it.
    #[must_use]
    pub fn is_executable(&self) -> bool {
        self.0.executable
    }

    /// The path by which it was opened.
    #[must_use]
    pub fn path(&self) -> &RelPath {
        &self.0.path
    }

    /// All its bytes, if they are in the page cache and the file is still what it was when it was opened.
    /// Does not wait.
    #[must_use]
    pub fn read_resident(&self) -> Option<Vec<u8>> {
        let mut bytes = vec![0; usize::try_from(self.size()).ok()?];
        let read =
            rustix::io::preadv2(&self.0.fd, &mut [IoSliceMut::new(&mut bytes)], 0, ReadWriteFlags::NOWAIT);
        let whole = read.is_ok_and(|read| read == bytes.len()) && self.0.verify().is_ok();
        whole.then_some(bytes)
    }

    /// Reads at `offset` into `buffer`; 0 at the file's end. Blocks.
    ///
    /// # Errors
    /// [`SpanError::Read`].
    pub(crate) fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize, SpanError> {
        loop {
            match rustix::io::pread(&self.0.fd, &mut *buffer, offset) {
                Err(rustix::io::Errno::INTR) => {}
                Err(errno) => {
                    return Err(SpanError::Read { name: self.name(), offset, source: errno.into() });
                }
                Ok(read) => return Ok(read),
            }
        }
    }

    /// The error of a file that ends before its span does.
    pub(crate) fn truncated(&self, offset: u64, missing: u64) -> SpanError {
        SpanError::Truncated { name: self.name(), offset, missing }
    }
}

impl Inner {
    fn verify(&self) -> Result<(), SpanError> {
        let changed = |how: String| SpanError::Changed { name: self.path.to_string(), how };
        let stat = rustix::fs::fstat(&self.fd)
            .map_err(|errno| SpanError::Open { name: self.path.to_string(), source: errno.into() })?;
        let now = Identity::of(&stat);
        let was = &self.identity;
        if now.size != was.size {
            return Err(changed(format!("it had {} bytes and has {} now", was.size, now.size)));
        }
        if now.mtime != was.mtime {
            return Err(changed("it was written to".to_owned()));
        }
        // Deleting a file, renaming another one over it or linking it elsewhere changes the inode's time,
        // too, but not one of its bytes: whoever is in the middle of it may have the rest. Such a change
        // shows by the number of links.
        if now.ctime != was.ctime && links(&stat) == self.links {
            return Err(changed("its inode was changed".to_owned()));
        }
        Ok(())
    }
}

// The field's type differs between processor architectures.
#[allow(clippy::useless_conversion)]
fn links(stat: &Stat) -> u64 {
    u64::from(stat.st_nlink)
}

impl OpenFile for Inner {
    fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    fn verify(&self) -> Result<(), SpanError> {
        Inner::verify(self)
    }

    fn name(&self) -> String {
        self.path.to_string()
    }
}

impl OpenFile for LocalFile {
    fn fd(&self) -> BorrowedFd<'_> {
        self.0.fd.as_fd()
    }

    fn verify(&self) -> Result<(), SpanError> {
        self.0.verify()
    }

    fn name(&self) -> String {
        self.0.path.to_string()
    }
}

impl FileSource for LocalFile {
    fn open(&self, _wait: Wait) -> Result<Arc<dyn OpenFile>, SpanError> {
        Ok(Arc::clone(&self.0) as Arc<dyn OpenFile>)
    }

    fn feed(&self, offset: u64, len: u64) -> Box<dyn Feed> {
        Box::new(FileFeed::of_open(self.clone(), offset, len))
    }
}

impl Source for LocalFile {
    fn span(self: Arc<Self>, offset: u64, len: u64) -> Span {
        Span::File(FileSpan { file: self, offset, len })
    }
}

impl fmt::Debug for LocalFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalFile").field("path", &self.0.path).field("identity", &self.0.identity).finish()
    }
}

/// A file of an archive: opened when its bytes leave, and refused then if it is not the one that was
/// planned with.
///
/// Inode, size and modified time have to agree: a clock tick is long enough for a file to be replaced by
/// another one of the same size and time. The inode's own time may differ, as changing a file's mode or
/// linking it elsewhere changes none of the archive's bytes.
#[derive(Clone, Debug)]
pub struct LazyFile {
    root: Arc<Root>,
    path: RelPath,
    size: u64,
    expected: Expected,
    key: Key,
}

/// What a file has to be besides its size.
#[derive(Clone, Copy, Debug)]
enum Expected {
    /// Modified at this time, and the inode of the key.
    Inode(i64),
    /// Modified at this time in microseconds since 1970, if that is known: the folder may have been copied.
    Micros(Option<u64>),
}

impl LazyFile {
    /// The file `path` below `root`, expected with `size` bytes, modified at `mtime` (nanoseconds since
    /// 1970), with the inode of `key`.
    #[must_use]
    pub fn new(root: Arc<Root>, path: RelPath, size: u64, mtime: i64, key: Key) -> LazyFile {
        LazyFile { root, path, size, expected: Expected::Inode(mtime), key }
    }

    /// The file `path` below `root` as an object with this tag: `"inode-mtime-size"` in hexadecimal, the time in
    /// microseconds, as the client for stores gives it. The inode does not count.
    pub(crate) fn of_object(root: Arc<Root>, path: RelPath, size: u64, etag: Option<&str>) -> LazyFile {
        let mtime = etag.and_then(|etag| etag.trim_matches('"').split('-').nth(1));
        let micros = mtime.and_then(|mtime| u64::from_str_radix(mtime, 16).ok());
        let key = Key::of(&[b"file of a store", path.as_bytes()]);
        LazyFile { root, path, size, expected: Expected::Micros(micros), key }
    }

    /// By which a [`crate::CrcCache`] knows the file.
    #[must_use]
    pub fn key(&self) -> Key {
        self.key
    }

    /// The path below the root.
    #[must_use]
    pub fn path(&self) -> &RelPath {
        &self.path
    }

    /// Opens the file and checks that it is the expected one.
    ///
    /// # Errors
    /// [`SpanError::Open`], or [`SpanError::Changed`] for another inode, size or time.
    pub fn open_local(&self, wait: Wait) -> Result<LocalFile, SpanError> {
        let file = match self.root.open(&self.path, wait)? {
            Opened::File(file) => file,
            Opened::Folder(_) => return Err(OpenError::new(&self.path, OpenErrorKind::NotAFile).into()),
        };
        let identity = file.identity();
        let changed = |how: String| Err(SpanError::Changed { name: self.path.to_string(), how });
        if identity.size != self.size {
            return changed(format!("it had {} bytes and has {} now", self.size, identity.size));
        }
        let (same_time, same_inode) = match self.expected {
            Expected::Inode(mtime) => (identity.mtime == mtime, self.key.is_inode_of(&identity)),
            Expected::Micros(micros) => {
                let now = u64::try_from(identity.mtime.div_euclid(1_000)).ok();
                (micros.is_none() || micros == now, true)
            }
        };
        if !same_time {
            return changed("its modified time is another".to_owned());
        }
        if !same_inode {
            return changed("another file is in its place".to_owned());
        }
        Ok(file)
    }
}

impl FileSource for LazyFile {
    fn open(&self, wait: Wait) -> Result<Arc<dyn OpenFile>, SpanError> {
        let file = self.open_local(wait)?;
        Ok(file.0)
    }

    fn feed(&self, offset: u64, len: u64) -> Box<dyn Feed> {
        Box::new(FileFeed::of_lazy(self.clone(), offset, len))
    }
}

impl Source for LazyFile {
    fn span(self: Arc<Self>, offset: u64, len: u64) -> Span {
        Span::File(FileSpan { file: self, offset, len })
    }
}
