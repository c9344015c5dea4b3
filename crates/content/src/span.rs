//! Spans: runs of a content's bytes that come from one place, and the traits that fetch them.

use std::fmt;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;

/// A run of a content's bytes that comes from one place.
pub enum Span {
    /// Bytes in memory.
    Memory(Bytes),
    /// A run of a file: the kernel can move it without the program seeing it.
    File(FileSpan),
    /// Bytes that are produced or fetched while they leave.
    Feed(FeedSpan),
}

impl Span {
    /// Length in bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        match self {
            Span::Memory(bytes) => bytes.len() as u64,
            Span::File(file) => file.len,
            Span::Feed(feed) => feed.len,
        }
    }

    /// True for a span without bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Keeps at most the first `len` bytes.
    pub fn truncate(&mut self, len: u64) {
        match self {
            Span::Memory(bytes) => bytes.truncate(usize::try_from(len).unwrap_or(usize::MAX)),
            Span::File(file) => file.len = file.len.min(len),
            Span::Feed(feed) => feed.len = feed.len.min(len),
        }
    }
}

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Span::Memory(bytes) => write!(f, "Memory({} bytes)", bytes.len()),
            Span::File(file) => file.fmt(f),
            Span::Feed(feed) => write!(f, "Feed({} bytes)", feed.len),
        }
    }
}

/// A run of a file's bytes.
#[derive(Clone, Debug)]
pub struct FileSpan {
    /// The file.
    pub file: Arc<dyn FileSource>,
    /// Where the run begins, in bytes from the file's start.
    pub offset: u64,
    /// Length of the run in bytes.
    pub len: u64,
}

/// Bytes that are produced while they leave.
pub struct FeedSpan {
    /// Produces the bytes. It may produce more than `len`; the reader stops there.
    pub feed: Box<dyn Feed>,
    /// Number of the feed's bytes that belong to the span.
    pub len: u64,
}

/// Whether a call may wait for a disk or a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Answer at once, with a [`SpanError::is_would_block`] error where that is impossible. For
    /// calls on a thread that serves other connections, too.
    No,
    /// Block if need be. For calls on a thread that may block.
    Yes,
}

/// A file that spans point into. It is opened when its bytes are about to leave, so that an archive
/// of a million files holds one descriptor, not a million.
pub trait FileSource: fmt::Debug + Send + Sync + 'static {
    /// Opens the file, or gives one that is open already, and checks that it is still the file that
    /// the content was made from.
    ///
    /// # Errors
    /// [`SpanError`] names the file and the cause; see [`Wait`] for the one that means "call again
    /// on a thread that may block".
    fn open(&self, wait: Wait) -> Result<Arc<dyn OpenFile>, SpanError>;

    /// The same bytes through memory, for servers that cannot send from a descriptor.
    /// Yields exactly `len` bytes from `offset`, or an error.
    fn feed(&self, offset: u64, len: u64) -> Box<dyn Feed>;
}

/// An open file that detects changes since it was opened.
pub trait OpenFile: Send + Sync + 'static {
    /// The descriptor to send from. The file's own position is never used.
    fn fd(&self) -> BorrowedFd<'_>;

    /// Checks that the file has not been changed since it was opened (`fstat`; does not wait).
    ///
    /// # Errors
    /// [`SpanError::Changed`] if it has been.
    fn verify(&self) -> Result<(), SpanError>;

    /// The file's name in messages.
    fn name(&self) -> String;

    /// True if the bytes are in memory and cannot change any more (memfd_create(2), with its
    /// seals): the engine need neither wait for them nor check them again.
    fn is_sealed(&self) -> bool {
        false
    }
}

/// The source of an object's bytes: a local file, an object in a store.
pub trait Source: fmt::Debug + Send + Sync + 'static {
    /// The run of `len` bytes from `offset`, as a span of exactly that length. Must not wait.
    fn span(self: Arc<Self>, offset: u64, len: u64) -> Span;

    /// Announces that the span of `len` bytes from `offset` will be requested soon. A remote source
    /// can fetch it meanwhile, until it is dropped.
    fn fetch_ahead(&self, offset: u64, len: u64) {
        let _ = (offset, len);
    }
}

/// Yields bytes one chunk after the other. Dropping it cancels what is under way.
///
/// An engine can let the kernel move some of them: as long as [`Feed::poll_spliceable`] gives true,
/// [`Feed::splice`] does it. All bytes come in order, whichever way each of them takes.
pub trait Feed: Send {
    /// The next chunk (never empty), `None` at the end. A caller that never uses
    /// [`Feed::poll_spliceable`] gets all bytes here.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, SpanError>>>;

    /// Whether the next bytes lie in a descriptor, from which [`Feed::splice`] moves them without
    /// copying. False: [`Feed::poll_next`] has them, or will have. A caller that cannot splice at
    /// the moment may poll that after a true, too.
    ///
    /// # Errors
    /// [`SpanError`] when the bytes cannot be read.
    fn poll_spliceable(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, SpanError>> {
        let _ = cx;
        Poll::Ready(Ok(false))
    }

    /// Moves up to `limit` of the next bytes into the empty pipe `into`, and gives their number
    /// (splice(2)). 0: none can be moved now, poll [`Feed::poll_spliceable`] again. Never waits. It
    /// may move fewer bytes than there are, but never more than belong to the feed.
    ///
    /// # Errors
    /// [`SpanError`] when the bytes cannot be read.
    fn splice(&mut self, into: BorrowedFd<'_>, limit: usize) -> Result<usize, SpanError> {
        let _ = (into, limit);
        Ok(0)
    }

    /// The recipient takes nothing at the moment. The feed should fetch bytes from a descriptor
    /// into memory, so that the sender at its other end does not have to wait, too.
    fn fall_behind(&mut self) {}
}

/// A content's bytes as spans, found by offset.
pub trait Spans: Send + Sync + 'static {
    /// Length of all spans in bytes.
    fn len(&self) -> u64;

    /// True when there is not one byte.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The span that begins exactly at `offset` and reaches to the end of its run. Never empty for
    /// an `offset` below [`Spans::len`]. Must not wait: bytes that take time come from a [`Feed`].
    ///
    /// # Errors
    /// [`SpanError`] when the bytes cannot be read.
    fn span_at(&self, offset: u64) -> Result<Span, SpanError>;

    /// True if all of it is one run of memory or of a file, whose span costs next to nothing.
    fn is_single_run(&self) -> bool {
        false
    }
}

/// Why a span's bytes cannot be read. Names the file, so that the message says what to check.
#[derive(Debug, thiserror::Error)]
pub enum SpanError {
    /// The file could not be opened.
    #[error("cannot open {name}: {source}")]
    Open {
        /// Which file.
        name: String,
        /// The system's error.
        source: io::Error,
    },
    /// Reading failed.
    #[error("cannot read {name} at byte {offset}: {source}")]
    Read {
        /// Which file.
        name: String,
        /// Where, in bytes from its start.
        offset: u64,
        /// The system's error.
        source: io::Error,
    },
    /// The file ended before the span did.
    #[error("{name} was truncated: it ended at byte {offset}, {missing} bytes early")]
    Truncated {
        /// Which file.
        name: String,
        /// Where it ended.
        offset: u64,
        /// How many bytes of the span were still to come.
        missing: u64,
    },
    /// The file is not the one the content was made from.
    #[error("{name} was changed while it was being sent: {how}")]
    Changed {
        /// Which file.
        name: String,
        /// The difference.
        how: String,
    },
    /// Anything else.
    #[error("{name}: {source}")]
    Other {
        /// The name of the bytes' origin.
        name: String,
        /// The cause.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl SpanError {
    /// True for a call with [`Wait::No`] that would have to block.
    #[must_use]
    pub fn is_would_block(&self) -> bool {
        matches!(self, SpanError::Open { source, .. } | SpanError::Read { source, .. }
            if source.kind() == io::ErrorKind::WouldBlock)
    }
}

/// Spans one after the other: bytes and runs of files.
///
/// The counterpart of fast_send's `each_file`: several files leave as one content.
#[derive(Debug, Default)]
pub struct SpanList {
    runs: Vec<(u64, SpanRun)>,
    len: u64,
}

#[derive(Clone, Debug)]
enum SpanRun {
    Memory(Bytes),
    File(FileSpan),
    Source { source: Arc<dyn Source>, offset: u64, len: u64 },
}

impl SpanList {
    /// No spans yet.
    #[must_use]
    pub fn new() -> SpanList {
        SpanList::default()
    }

    /// Appends bytes.
    pub fn push_bytes(&mut self, bytes: impl Into<Bytes>) {
        let bytes = bytes.into();
        let len = bytes.len() as u64;
        self.push(SpanRun::Memory(bytes), len);
    }

    /// Appends a run of a file.
    pub fn push_file(&mut self, file: FileSpan) {
        let len = file.len;
        self.push(SpanRun::File(file), len);
    }

    /// Appends the run of `len` bytes from `offset` of a source.
    pub fn push_source(&mut self, source: Arc<dyn Source>, offset: u64, len: u64) {
        self.push(SpanRun::Source { source, offset, len }, len);
    }

    fn push(&mut self, run: SpanRun, len: u64) {
        if len > 0 {
            self.runs.push((self.len, run));
            self.len += len;
        }
    }
}

impl Spans for SpanList {
    fn len(&self) -> u64 {
        self.len
    }

    fn is_single_run(&self) -> bool {
        matches!(self.runs.as_slice(), [(_, SpanRun::Memory(_) | SpanRun::File(_))])
    }

    fn span_at(&self, offset: u64) -> Result<Span, SpanError> {
        let index = self.runs.partition_point(|(start, _)| *start <= offset);
        let Some((start, run)) = index.checked_sub(1).and_then(|i| self.runs.get(i)) else {
            return Ok(Span::Memory(Bytes::new()));
        };
        let skip = offset - start;
        Ok(match run {
            SpanRun::Memory(bytes) => Span::Memory(bytes.slice(skip.min(bytes.len() as u64) as usize..)),
            SpanRun::Source { source, offset, len } => {
                let skip = skip.min(*len);
                Arc::clone(source).span(offset + skip, len - skip)
            }
            SpanRun::File(file) => {
                let skip = skip.min(file.len);
                Span::File(FileSpan {
                    file: Arc::clone(&file.file),
                    offset: file.offset + skip,
                    len: file.len - skip,
                })
            }
        })
    }
}
