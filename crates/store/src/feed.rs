//! A file's bytes through memory, read on threads that may block.

use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use outflow_content::{Feed, OpenFile as _, SpanError, Wait};
use tokio::task::JoinHandle;

use crate::{LazyFile, LocalFile};

/// How much is read at once, in bytes. One delivery holds one such chunk.
pub(crate) const CHUNK: usize = 256 * 1024;

/// Yields exactly `left` bytes from `offset`, or an error.
pub(crate) struct FileFeed {
    state: State,
    offset: u64,
    left: u64,
}

enum State {
    Lazy(LazyFile),
    Open(LocalFile),
    Reading(JoinHandle<Result<(LocalFile, Bytes), SpanError>>),
    Ended,
}

impl FileFeed {
    pub(crate) fn of_open(file: LocalFile, offset: u64, len: u64) -> FileFeed {
        FileFeed { state: State::Open(file), offset, left: len }
    }

    pub(crate) fn of_lazy(file: LazyFile, offset: u64, len: u64) -> FileFeed {
        FileFeed { state: State::Lazy(file), offset, left: len }
    }

    /// Begins to read the next chunk.
    fn begin(&mut self) {
        let (offset, left) = (self.offset, self.left);
        self.state = match std::mem::replace(&mut self.state, State::Ended) {
            State::Lazy(lazy) => State::Reading(tokio::task::spawn_blocking(move || {
                read(lazy.open_local(Wait::Yes)?, offset, left)
            })),
            State::Open(file) => {
                State::Reading(tokio::task::spawn_blocking(move || read(file, offset, left)))
            }
            other => other,
        };
    }
}

/// One chunk. The file is checked after reading and before its last chunk is handed out, so that a
/// changed file can never be taken for a complete one.
fn read(file: LocalFile, offset: u64, left: u64) -> Result<(LocalFile, Bytes), SpanError> {
    let want = usize::try_from(left).unwrap_or(usize::MAX).min(CHUNK);
    let mut buffer = vec![0; want];
    let mut filled = 0;
    while filled < want {
        let at = offset + filled as u64;
        match file.read_at(&mut buffer[filled..], at)? {
            0 => return Err(file.truncated(at, left - filled as u64)),
            read => filled += read,
        }
    }
    if left == want as u64 {
        file.verify()?;
    }
    Ok((file, buffer.into()))
}

impl Feed for FileFeed {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, SpanError>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        self.begin();
        let State::Reading(reading) = &mut self.state else { return Poll::Ready(None) };
        let answer = ready!(Pin::new(reading).poll(cx));
        self.state = State::Ended;
        match answer {
            Ok(Ok((file, bytes))) => {
                self.state = State::Open(file);
                self.offset += bytes.len() as u64;
                self.left -= bytes.len() as u64;
                Poll::Ready(Some(Ok(bytes)))
            }
            Ok(Err(error)) => {
                self.left = 0;
                Poll::Ready(Some(Err(error)))
            }
            // The runtime is shutting down.
            Err(gone) => {
                self.left = 0;
                let source = io::Error::other(gone);
                Poll::Ready(Some(Err(SpanError::Read {
                    name: "a file".to_owned(),
                    offset: self.offset,
                    source,
                })))
            }
        }
    }
}
