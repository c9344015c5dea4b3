//! Why something below a root cannot be opened.

use std::fmt;
use std::io;

use outflow_content::SpanError;
use rustix::io::Errno;

/// Why something below a root cannot be opened, with its name.
#[derive(Debug)]
pub struct OpenError {
    /// Path below the root, made printable.
    pub path: String,
    /// The reason.
    pub kind: OpenErrorKind,
}

/// A reason why something cannot be opened.
#[derive(Debug)]
pub enum OpenErrorKind {
    /// There is no such file or folder, or it is hidden, or its name is too long to exist.
    NotFound,
    /// The process may not read it.
    Denied,
    /// A symbolic link leads out of the root, or in circles.
    LinkRefused,
    /// A FIFO, a socket or a device.
    NotAFile,
    /// It would block, and the caller passed [`outflow_content::Wait::No`].
    WouldBlock,
    /// The process or the system has no descriptor left.
    NoDescriptors,
    /// The folder has more entries than the caller's limit.
    TooBig {
        /// The limit, in entries.
        limit: usize,
    },
    /// Any other error of the system.
    Io(io::Error),
    /// Any other error, of a collection whose files do not lie on a disk.
    Other(Box<dyn std::error::Error + Send + Sync>),
}

impl OpenError {
    /// The error that `path` cannot be opened.
    pub fn new(path: impl fmt::Display, kind: OpenErrorKind) -> OpenError {
        OpenError { path: path.to_string(), kind }
    }

    /// True when the same call may succeed on a thread that may block.
    #[must_use]
    pub fn is_would_block(&self) -> bool {
        matches!(self.kind, OpenErrorKind::WouldBlock)
    }
}

impl From<Errno> for OpenErrorKind {
    fn from(errno: Errno) -> OpenErrorKind {
        match errno {
            Errno::NOENT | Errno::NOTDIR | Errno::NAMETOOLONG => OpenErrorKind::NotFound,
            Errno::ACCESS | Errno::PERM => OpenErrorKind::Denied,
            Errno::XDEV | Errno::LOOP => OpenErrorKind::LinkRefused,
            // Opening a socket, or a device without a driver.
            Errno::NXIO | Errno::NODEV => OpenErrorKind::NotAFile,
            Errno::AGAIN => OpenErrorKind::WouldBlock,
            Errno::MFILE | Errno::NFILE => OpenErrorKind::NoDescriptors,
            other => OpenErrorKind::Io(other.into()),
        }
    }
}

impl fmt::Display for OpenErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OpenErrorKind::NotFound => f.write_str("no such file or folder"),
            OpenErrorKind::Denied => f.write_str("permission denied"),
            OpenErrorKind::LinkRefused => f.write_str("a symbolic link leads out of the served folder"),
            OpenErrorKind::NotAFile => f.write_str("not a regular file"),
            OpenErrorKind::WouldBlock => f.write_str("would block"),
            OpenErrorKind::NoDescriptors => f.write_str("too many open files"),
            OpenErrorKind::TooBig { limit } => write!(f, "more than {limit} entries"),
            OpenErrorKind::Io(error) => error.fmt(f),
            OpenErrorKind::Other(error) => error.fmt(f),
        }
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = if self.path.is_empty() { "." } else { &self.path };
        write!(f, "{path}: {}", self.kind)
    }
}

impl std::error::Error for OpenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.kind {
            OpenErrorKind::Io(error) => Some(error),
            OpenErrorKind::Other(error) => Some(&**error),
            _ => None,
        }
    }
}

impl From<OpenError> for SpanError {
    fn from(error: OpenError) -> SpanError {
        let kind = match &error.kind {
            OpenErrorKind::NotFound => io::ErrorKind::NotFound,
            OpenErrorKind::Denied | OpenErrorKind::LinkRefused => io::ErrorKind::PermissionDenied,
            OpenErrorKind::WouldBlock => io::ErrorKind::WouldBlock,
            OpenErrorKind::NotAFile => io::ErrorKind::InvalidInput,
            OpenErrorKind::NoDescriptors | OpenErrorKind::TooBig { .. } | OpenErrorKind::Other(_) => {
                io::ErrorKind::Other
            }
            OpenErrorKind::Io(error) => error.kind(),
        };
        let source = match error.kind {
            OpenErrorKind::Io(error) => error,
            kind_of => io::Error::new(kind, kind_of.to_string()),
        };
        SpanError::Open { name: error.path, source }
    }
}
