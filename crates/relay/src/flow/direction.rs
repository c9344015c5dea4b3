//! One direction of a flow: reads, writes, and what it holds in between.

use std::cell::RefCell;
use std::io;
use std::os::fd::AsFd as _;
use std::task::{Context, Poll, ready};

use outflow_net::pipe::{PIPE_BYTES, Pipe};
use rustix::io::Errno;
use rustix::net::RecvFlags;
use rustix::pipe::SpliceFlags;

use super::counters::{ByteCounts, FlowCounters};
use super::socket::FlowSocket;

/// Bytes that one read may copy.
///
/// Bound: relay.
const COPY_BYTES: usize = 64 * 1024;

/// The size from which a read is large. After [`STREAK`] large reads in a row a direction begins to
/// splice, after as many small ones it ends that: for small reads a second system call and a pipe
/// cost more than the copy.
const LARGE_READ: usize = 16 * 1024;
const STREAK: u8 = 2;

/// Bytes to read with recv(2) when splice(2) returns nothing (see [`Direction::splice`]).
const PROBE_BYTES: usize = 4 * 1024;

/// Bytes that a direction moves before it yields to other tasks.
///
/// Bound: relay.
const TURN_BYTES: usize = 1024 * 1024;

thread_local! {
    /// Holds no bytes when a direction returns, so all directions of a thread share it.
    static BUFFER: RefCell<Box<[u8]>> = RefCell::new(vec![0; COPY_BYTES].into_boxed_slice());
}

/// Which of its two sockets failed.
pub(super) enum DirectionError {
    Source(io::Error),
    Target(io::Error),
}

/// Bytes from one socket to the other.
pub(super) struct Direction {
    state: DirectionState,
    pending: PendingBytes,
    /// Whether the kernel moves the bytes.
    splices: bool,
    /// How many reads in a row were better served by the other path.
    streak: u8,
    unspliceable: bool,
    bytes: ByteCounts,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum DirectionState {
    Open,
    /// The source has ended; pending bytes are still to be written.
    Ending,
    /// The target has been shut down.
    Ended,
}

/// Bytes that were read and not yet written.
enum PendingBytes {
    None,
    /// Bytes that the target did not take at once, and how many of them it has taken since.
    Copied(Box<[u8]>, usize),
    Piped(Pipe),
}

/// Where a read has put how many bytes.
enum ReadBytes {
    Piped(usize),
    /// In the thread's buffer.
    Copied(usize),
}

impl Direction {
    /// A direction that writes `head` before the first byte of its source.
    pub(super) fn starting_with(head: &[u8]) -> Direction {
        let pending = if head.is_empty() { PendingBytes::None } else { PendingBytes::Copied(head.into(), 0) };
        Direction {
            state: DirectionState::Open,
            pending,
            splices: false,
            streak: 0,
            unspliceable: false,
            bytes: ByteCounts::default(),
        }
    }

    /// Bytes that it has handed to its target.
    pub(super) fn bytes(&self) -> ByteCounts {
        self.bytes
    }

    /// Moves as much as possible. Ready when the source has ended and the target has been shut
    /// down.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut FlowSocket,
        target: &mut FlowSocket,
        counters: &FlowCounters,
    ) -> Poll<Result<(), DirectionError>> {
        let turn = self.bytes.total() + TURN_BYTES as u64;
        while self.state != DirectionState::Ended {
            // Backpressure: while bytes are pending, the source is not read.
            ready!(self.poll_write(cx, target)).map_err(DirectionError::Target)?;
            if self.state == DirectionState::Ending {
                target.shut_down_write().map_err(DirectionError::Target)?;
                self.state = DirectionState::Ended;
            } else if self.bytes.total() < turn {
                let read = self.poll_read(cx, source, target, counters);
                if read.is_pending() {
                    // Gives the empty pipe back to the pool.
                    self.pending = PendingBytes::None;
                }
                ready!(read)?;
            } else {
                self.pending = PendingBytes::None;
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
        }
        self.pending = PendingBytes::None;
        Poll::Ready(Ok(()))
    }

    /// Writes all pending bytes.
    fn poll_write(&mut self, cx: &mut Context<'_>, target: &mut FlowSocket) -> Poll<io::Result<()>> {
        loop {
            match &mut self.pending {
                PendingBytes::None => return Poll::Ready(Ok(())),
                PendingBytes::Copied(bytes, from) => {
                    let n = ready!(target.poll_write(cx, &bytes[*from..]))?;
                    *from += n;
                    self.bytes.copied += n as u64;
                    if *from == bytes.len() {
                        self.pending = PendingBytes::None;
                    }
                }
                // Keeps the pipe for the next read, which may follow at once.
                PendingBytes::Piped(pipe) if pipe.is_empty() => return Poll::Ready(Ok(())),
                PendingBytes::Piped(pipe) => {
                    // Never with `MORE`: whether more bytes follow is unknown.
                    let drain = || pipe.drain(target.as_fd(), false);
                    let n = ready!(target.poll_write_with(cx, drain))?;
                    self.bytes.spliced += n as u64;
                }
            }
        }
    }

    /// Reads once. Copied bytes are written at once, as far as the target takes them.
    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut FlowSocket,
        target: &mut FlowSocket,
        counters: &FlowCounters,
    ) -> Poll<Result<(), DirectionError>> {
        BUFFER.with_borrow_mut(|buffer| {
            let pipe = if self.splices { ready!(self.poll_pipe(cx, source, counters))? } else { None };
            let taken = match pipe {
                Some(mut pipe) => {
                    let taken = self.splice(cx, source, &mut pipe, &mut buffer[..PROBE_BYTES], counters);
                    self.pending = PendingBytes::Piped(pipe);
                    ready!(taken)
                }
                None => ready!(source.poll_read(cx, buffer)).map(ReadBytes::Copied),
            };
            match taken.map_err(DirectionError::Source)? {
                ReadBytes::Copied(0) => self.state = DirectionState::Ending,
                ReadBytes::Copied(n) => {
                    self.choose_path(n);
                    self.copy(cx, target, &buffer[..n]).map_err(DirectionError::Target)?;
                }
                ReadBytes::Piped(n) => self.choose_path(n),
            }
            Poll::Ready(Ok(()))
        })
    }

    /// A pipe, once the source has bytes for it; `None` if the pool has none.
    fn poll_pipe(
        &mut self,
        cx: &mut Context<'_>,
        source: &FlowSocket,
        counters: &FlowCounters,
    ) -> Poll<Result<Option<Pipe>, DirectionError>> {
        if let PendingBytes::Piped(pipe) = std::mem::replace(&mut self.pending, PendingBytes::None) {
            return Poll::Ready(Ok(Some(pipe)));
        }
        ready!(source.poll_readable(cx)).map_err(DirectionError::Source)?;
        let pipe = Pipe::borrow();
        if pipe.is_none() {
            counters.shortages.inc();
        }
        Poll::Ready(Ok(pipe))
    }

    /// Fills an empty pipe. It is empty so that `EAGAIN` has one meaning: the socket has nothing to
    /// splice. There may still be bytes to read behind a byte of urgent data, so when splice(2)
    /// returns nothing, recv(2) decides, about the end of the stream as well.
    fn splice(
        &mut self,
        cx: &mut Context<'_>,
        source: &FlowSocket,
        pipe: &mut Pipe,
        probe: &mut [u8],
        counters: &FlowCounters,
    ) -> Poll<io::Result<ReadBytes>> {
        let flags = SpliceFlags::NONBLOCK | SpliceFlags::MOVE;
        source.poll_read_with(cx, || {
            match pipe.fill(|into| rustix::pipe::splice(source, None, into, None, PIPE_BYTES, flags)) {
                Ok(0) | Err(Errno::AGAIN) => {}
                Ok(n) => return Ok(ReadBytes::Piped(n)),
                Err(Errno::INVAL) => {
                    self.unspliceable = true;
                    self.splices = false;
                    counters.refusals.inc();
                }
                Err(errno) => return Err(errno.into()),
            }
            let (n, _) = rustix::net::recv(source, &mut *probe, RecvFlags::DONTWAIT)?;
            Ok(ReadBytes::Copied(n))
        })
    }

    /// Writes what was read, as far as the target takes it, and keeps the rest.
    fn copy(&mut self, cx: &mut Context<'_>, target: &mut FlowSocket, bytes: &[u8]) -> io::Result<()> {
        let mut written = 0;
        while let Poll::Ready(n) = target.poll_write(cx, &bytes[written..])? {
            written += n;
            self.bytes.copied += n as u64;
            if written == bytes.len() {
                return Ok(());
            }
        }
        self.pending = PendingBytes::Copied(bytes[written..].into(), 0);
        Ok(())
    }

    /// Chooses the path of the next read by the size of this one.
    fn choose_path(&mut self, n: usize) {
        if (n >= LARGE_READ) == self.splices || self.unspliceable {
            self.streak = 0;
            return;
        }
        self.streak += 1;
        if self.streak == STREAK {
            self.streak = 0;
            self.splices = !self.splices;
        }
    }
}
