//! A file that is opened when its bytes leave.

use std::sync::Arc;

use outflow_content::{
    Feed, FileSource, FileSpan, OpenFile, RelPath, Source, Span, SpanError, UnixTime, Wait,
};

use crate::error::{OpenError, OpenErrorKind};
use crate::feed::{FileFeed, OpenLater};
use crate::file::LocalFile;

use crate::root::{Opened, Root};

/// A file that was found earlier. It is opened when its bytes leave, and refused if it is another
/// one by then.
///
/// Inode, size and modified time have to agree: a clock tick is long enough for a file to be
/// replaced by another one of the same size and time. The inode's own time may differ, because
/// changing a file's mode or linking it elsewhere changes none of its bytes.
#[derive(Clone, Debug)]
pub struct ExpectedFile {
    root: Arc<Root>,
    path: RelPath,
    size: u64,
    version: ExpectedVersion,
}

/// What a file has to be besides its size.
#[derive(Clone, Copy, Debug)]
enum ExpectedVersion {
    /// Modified at this time, and the same inode.
    Inode { modified: UnixTime, inode: u32 },
    /// Modified in this microsecond since 1970, if that is known. The folder may have been copied,
    /// so the inode is not compared.
    Micros(Option<u64>),
}

impl ExpectedFile {
    /// The file `path` below `root`, expected with `size` bytes, last modified at `modified`, and
    /// with the inode that has this [hash](crate::Identity::inode_hash).
    #[must_use]
    pub fn new(root: Arc<Root>, path: RelPath, size: u64, modified: UnixTime, inode: u32) -> ExpectedFile {
        ExpectedFile { root, path, size, version: ExpectedVersion::Inode { modified, inode } }
    }

    /// The file `path` below `root`, expected with `size` bytes, and modified in the microsecond
    /// `micros` since 1970 if that is known. Its inode does not matter.
    #[must_use]
    pub fn without_inode(root: Arc<Root>, path: RelPath, size: u64, micros: Option<u64>) -> ExpectedFile {
        ExpectedFile { root, path, size, version: ExpectedVersion::Micros(micros) }
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
        let (same_time, same_inode) = match self.version {
            ExpectedVersion::Inode { modified, inode } => {
                (identity.modified() == modified, identity.inode_hash() == inode)
            }
            ExpectedVersion::Micros(micros) => {
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

impl OpenLater for ExpectedFile {
    fn open_later(&self, wait: Wait) -> Result<LocalFile, SpanError> {
        self.open_local(wait)
    }
}

impl FileSource for ExpectedFile {
    fn open(&self, wait: Wait) -> Result<Arc<dyn OpenFile>, SpanError> {
        Ok(self.open_local(wait)?.to_open_file())
    }

    fn feed(&self, offset: u64, len: u64) -> Box<dyn Feed> {
        Box::new(FileFeed::when_opened(self.clone(), offset, len))
    }
}

impl Source for ExpectedFile {
    fn span(self: Arc<Self>, offset: u64, len: u64) -> Span {
        Span::File(FileSpan { file: self, offset, len })
    }
}
