//! A file's bytes through memory: at once from the page cache, the rest from threads that may
//! block.

use std::future::Future as _;
use std::io::{self, IoSliceMut};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use outflow_content::{Feed, FileSource, FileSpan, OpenFile, Source, Span, SpanError, Wait};
use rustix::io::ReadWriteFlags;
use tokio::task::JoinHandle;

use crate::file::LocalFile;

/// Size of one read in bytes. A delivery holds one such chunk. Copying it out of the page cache
/// takes about 25 us, which a thread that serves others can afford.
///
/// Bound: local files.
const CHUNK: usize = 128 * 1024;

/// Yields exactly `left` bytes from `offset`, or an error.
///
/// Handing a file to another thread and back costs more than reading a small one from the page
/// cache. So each chunk is first tried without blocking.
pub(crate) struct FileFeed<F> {
    state: FeedState<F>,
    offset: u64,
    left: u64,
}

enum FeedState<F> {
    Unopened(F),
    Open(LocalFile),
    Reading(JoinHandle<ReadChunk>),
    Ended,
}

/// The file, for the next read, and the bytes of this one.
type ReadChunk = Result<(LocalFile, Bytes), SpanError>;

/// A file that a feed opens with its first chunk.
pub(crate) trait OpenLater: Send + 'static {
    fn open_later(&self, wait: Wait) -> Result<LocalFile, SpanError>;
}

impl OpenLater for LocalFile {
    fn open_later(&self, _: Wait) -> Result<LocalFile, SpanError> {
        Ok(self.clone())
    }
}

impl FileFeed<LocalFile> {
    pub(crate) fn of_open(file: LocalFile, offset: u64, len: u64) -> FileFeed<LocalFile> {
        FileFeed { state: FeedState::Open(file), offset, left: len }
    }
}

impl<F: OpenLater> FileFeed<F> {
    pub(crate) fn when_opened(file: F, offset: u64, len: u64) -> FileFeed<F> {
        FileFeed { state: FeedState::Unopened(file), offset, left: len }
    }

    /// Reads the next chunk if that does not block; otherwise starts to read it on another thread.
    fn begin(&mut self, state: FeedState<F>) -> Result<ReadChunk, JoinHandle<ReadChunk>> {
        let (offset, left) = (self.offset, self.left);
        let file = match state {
            FeedState::Reading(reading) => return Err(reading),
            FeedState::Open(file) => file,
            FeedState::Unopened(file) => match file.open_later(Wait::No) {
                Ok(file) => file,
                Err(error) if error.is_would_block() => {
                    return Err(tokio::task::spawn_blocking(move || {
                        Chunk::new(file.open_later(Wait::Yes)?, offset, left).wait()
                    }));
                }
                Err(error) => return Ok(Err(error)),
            },
            FeedState::Ended => {
                let source = io::Error::other("it was read from after an error");
                return Ok(Err(SpanError::Read { name: "a file".to_owned(), offset, source }));
            }
        };
        let mut chunk = Chunk::new(file, offset, left);
        if chunk.read_cached() { Ok(chunk.done()) } else { Err(tokio::task::spawn_blocking(|| chunk.wait())) }
    }
}

/// A chunk that is being read.
struct Chunk {
    file: LocalFile,
    offset: u64,
    /// The feed's bytes from `offset` on: those of this chunk and those after it.
    left: u64,
    buffer: Vec<u8>,
    filled: usize,
}

impl Chunk {
    fn new(file: LocalFile, offset: u64, left: u64) -> Chunk {
        let len = usize::try_from(left).unwrap_or(usize::MAX).min(CHUNK);
        Chunk { file, offset, left, buffer: vec![0; len], filled: 0 }
    }

    fn at(&self) -> u64 {
        self.offset + self.filled as u64
    }

    /// Reads from the page cache; true if that is all of the chunk.
    fn read_cached(&mut self) -> bool {
        while self.filled < self.buffer.len() {
            let at = self.at();
            let into = &mut [IoSliceMut::new(&mut self.buffer[self.filled..])];
            match rustix::io::preadv2(self.file.fd(), into, at, ReadWriteFlags::NOWAIT) {
                // 0 may not be the file's end: Linux 5.9 and 5.10 return it anywhere (preadv2(2),
                // BUGS). An error is not final either, because not every file system knows the
                // flag. A plain read decides.
                Ok(0) | Err(_) => return false,
                Ok(read) => self.filled += read,
            }
        }
        true
    }

    /// Reads the rest of the chunk. Blocks.
    fn wait(mut self) -> ReadChunk {
        while self.filled < self.buffer.len() {
            let at = self.at();
            match self.file.read_at(&mut self.buffer[self.filled..], at)? {
                0 => return Err(self.file.truncated(at, self.left - self.filled as u64)),
                read => self.filled += read,
            }
        }
        self.done()
    }

    /// Hands the chunk out. Checks the file before the last chunk, so that a changed file is never
    /// complete.
    fn done(self) -> ReadChunk {
        if self.left == self.buffer.len() as u64 {
            self.file.verify()?;
        }
        Ok((self.file, self.buffer.into()))
    }
}

impl FileSource for LocalFile {
    fn open(&self, _wait: Wait) -> Result<Arc<dyn OpenFile>, SpanError> {
        Ok(self.to_open_file())
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

impl<F: OpenLater> Feed for FileFeed<F> {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, SpanError>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let state = std::mem::replace(&mut self.state, FeedState::Ended);
        let answer = match self.begin(state) {
            Ok(answer) => answer,
            Err(mut reading) => match Pin::new(&mut reading).poll(cx) {
                Poll::Ready(Ok(answer)) => answer,
                // The runtime is shutting down.
                Poll::Ready(Err(gone)) => Err(SpanError::Read {
                    name: "a file".to_owned(),
                    offset: self.offset,
                    source: io::Error::other(gone),
                }),
                Poll::Pending => {
                    self.state = FeedState::Reading(reading);
                    return Poll::Pending;
                }
            },
        };
        Poll::Ready(Some(match answer {
            Ok((file, bytes)) => {
                self.state = FeedState::Open(file);
                self.offset += bytes.len() as u64;
                self.left -= bytes.len() as u64;
                Ok(bytes)
            }
            Err(error) => {
                self.left = 0;
                Err(error)
            }
        }))
    }
}
