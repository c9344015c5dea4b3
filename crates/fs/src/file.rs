//! An open file, and its identity when it was opened.

use std::fmt;
use std::io::IoSliceMut;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::Arc;

use outflow_content::{OpenFile, RelPath, SpanError};
use rustix::fs::Stat;
use rustix::io::ReadWriteFlags;

use crate::identity::Identity;

/// An open regular file, and its identity when it was opened.
#[derive(Clone)]
pub struct LocalFile(Arc<FileAtOpen>);

struct FileAtOpen {
    fd: OwnedFd,
    identity: Identity,
    links: u64,
    executable: bool,
    path: RelPath,
}

impl LocalFile {
    pub(crate) fn new(fd: OwnedFd, path: RelPath, stat: &Stat) -> LocalFile {
        LocalFile(Arc::new(FileAtOpen {
            fd,
            identity: Identity::of(stat),
            links: links(stat),
            executable: stat.st_mode & 0o100 != 0,
            path,
        }))
    }

    /// The file's identity when it was opened.
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

    /// All its bytes, if they are in the page cache and the file has not changed since it was
    /// opened. Does not block.
    #[must_use]
    pub fn read_resident(&self) -> Option<Vec<u8>> {
        let mut bytes = vec![0; usize::try_from(self.size()).ok()?];
        let read =
            rustix::io::preadv2(&self.0.fd, &mut [IoSliceMut::new(&mut bytes)], 0, ReadWriteFlags::NOWAIT);
        let whole = read.is_ok_and(|read| read == bytes.len()) && self.0.verify().is_ok();
        whole.then_some(bytes)
    }

    /// The same open file, for senders.
    #[must_use]
    pub fn to_open_file(&self) -> Arc<dyn OpenFile> {
        Arc::clone(&self.0) as Arc<dyn OpenFile>
    }

    /// Reads at `offset` into `buffer`; 0 at the file's end. Blocks.
    ///
    /// # Errors
    /// [`SpanError::Read`].
    pub fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize, SpanError> {
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

    /// The error of a file that ends at `offset` although `missing` bytes should follow.
    #[must_use]
    pub fn truncated(&self, offset: u64, missing: u64) -> SpanError {
        SpanError::Truncated { name: self.name(), offset, missing }
    }
}

impl FileAtOpen {
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
        // Deleting a file, renaming another one over it or linking it elsewhere changes the inode's
        // time but none of its bytes: a delivery under way may continue. The number of links tells
        // such a change.
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

impl OpenFile for FileAtOpen {
    fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    fn verify(&self) -> Result<(), SpanError> {
        FileAtOpen::verify(self)
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

impl fmt::Debug for LocalFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalFile").field("path", &self.0.path).field("identity", &self.0.identity).finish()
    }
}
