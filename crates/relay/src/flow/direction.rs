//! One way of a flow: read, write, and what is held in between.

use std::cell::RefCell;
use std::io;
use std::os::fd::AsFd as _;
use std::task::{Context, Poll, ready};

use outflow_net::pipe::{PIPE_BYTES, Pipe};
use rustix::io::Errno;
use rustix::net::RecvFlags;
use rustix::pipe::SpliceFlags;

use super::{Bytes, Counters, End, Side, Socket};

/// What one read may copy.
const COPY_BYTES: usize = 64 * 1024;

/// A read of so much is a large one. After [`STREAK`] of them in a row, splicing begins; after as many small ones, it
/// ends. Below, a second system call and a look at a pipe cost more than the copy.
const LARGE: usize = 16 * 1024;
const STREAK: u8 = 2;

/// What may be copied when splice(2) says that there is nothing (see [`Direction::splice`]).
const PROBE_BYTES: usize = 4 * 1024;

/// After so many bytes it is other tasks' turn.
const TURN_BYTES: usize = 1024 * 1024;

thread_local! {
    /// Empty whenever a direction returns: it is the thread's, not the direction's.
    static BUFFER: RefCell<Box<[u8]>> = RefCell::new(vec![0; COPY_BYTES].into_boxed_slice());
}

/// Who failed.
pub(super) enum Failure {
    Source(io::Error),
    Target(io::Error),
}

impl Failure {
    pub(super) fn into_end(self, source: Side, target: Side) -> End {
        match self {
            Failure::Source(error) => End::Broken(source, error),
            Failure::Target(error) => End::Broken(target, error),
        }
    }
}

/// Bytes from one socket to the other.
pub(super) struct Direction {
    state: State,
    held: Held,
    /// Whether the kernel moves the bytes, and how many reads in a row have spoken for the other way.
    splices: bool,
    streak: u8,
    unspliceable: bool,
    bytes: Bytes,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// The source has ended; what is held is still to be written.
    Ending,
    /// The target was told.
    Ended,
}

/// Read, and not yet written.
enum Held {
    Nothing,
    /// What the target did not take at once, from here on.
    Copied(Box<[u8]>, usize),
    Piped(Pipe),
}

/// What a read has brought.
enum Taken {
    Piped(usize),
    /// In the thread's buffer.
    Copied(usize),
}

impl Direction {
    /// One whose source said `head` before.
    pub(super) fn after(head: &[u8]) -> Direction {
        let held = if head.is_empty() { Held::Nothing } else { Held::Copied(head.into(), 0) };
        Direction {
            state: State::Open,
            held,
            splices: false,
            streak: 0,
            unspliceable: false,
            bytes: Bytes::default(),
        }
    }

    /// What it has handed to its target.
    pub(super) fn bytes(&self) -> Bytes {
        self.bytes
    }

    /// Moves what can be moved. Ready when the target has been told that the source has ended.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut Socket,
        target: &mut Socket,
        counters: &Counters,
    ) -> Poll<Result<(), Failure>> {
        let turn = self.bytes.all() + TURN_BYTES as u64;
        while self.state != State::Ended {
            // While something is held, only the target is waited for: the source may say what it likes.
            ready!(self.poll_write(cx, target)).map_err(Failure::Target)?;
            if self.state == State::Ending {
                target.end().map_err(Failure::Target)?;
                self.state = State::Ended;
            } else if self.bytes.all() < turn {
                let read = self.poll_read(cx, source, target, counters);
                if read.is_pending() {
                    // An empty pipe is of more use to others.
                    self.held = Held::Nothing;
                }
                ready!(read)?;
            } else {
                self.held = Held::Nothing;
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
        }
        self.held = Held::Nothing;
        Poll::Ready(Ok(()))
    }

    /// Writes all that is held.
    fn poll_write(&mut self, cx: &mut Context<'_>, target: &mut Socket) -> Poll<io::Result<()>> {
        loop {
            match &mut self.held {
                Held::Nothing => return Poll::Ready(Ok(())),
                Held::Copied(bytes, from) => {
                    let n = ready!(target.poll_write(cx, &bytes[*from..]))?;
                    *from += n;
                    self.bytes.copied += n as u64;
                    if *from == bytes.len() {
                        self.held = Held::Nothing;
                    }
                }
                // Kept for the next read, which may follow at once.
                Held::Piped(pipe) if pipe.is_empty() => return Poll::Ready(Ok(())),
                Held::Piped(pipe) => {
                    // Never with `MORE`: nobody knows whether there is more.
                    let drain = || pipe.drain(target.as_fd(), false);
                    let n = ready!(target.poll_write_with(cx, drain))?;
                    self.bytes.spliced += n as u64;
                }
            }
        }
    }

    /// Reads once. What is copied is written at once, as far as the target takes it.
    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut Socket,
        target: &mut Socket,
        counters: &Counters,
    ) -> Poll<Result<(), Failure>> {
        BUFFER.with_borrow_mut(|buffer| {
            let pipe = if self.splices { ready!(self.poll_pipe(cx, source, counters))? } else { None };
            let taken = match pipe {
                Some(mut pipe) => {
                    let taken = self.splice(cx, source, &mut pipe, &mut buffer[..PROBE_BYTES], counters);
                    self.held = Held::Piped(pipe);
                    ready!(taken)
                }
                None => ready!(source.poll_read(cx, buffer)).map(Taken::Copied),
            };
            match taken.map_err(Failure::Source)? {
                Taken::Copied(0) => self.state = State::Ending,
                Taken::Copied(n) => {
                    self.learn(n);
                    self.copy(cx, target, &buffer[..n]).map_err(Failure::Target)?;
                }
                Taken::Piped(n) => self.learn(n),
            }
            Poll::Ready(Ok(()))
        })
    }

    /// A pipe, once there is something to put into it; none if none can be had.
    fn poll_pipe(
        &mut self,
        cx: &mut Context<'_>,
        source: &Socket,
        counters: &Counters,
    ) -> Poll<Result<Option<Pipe>, Failure>> {
        if let Held::Piped(pipe) = std::mem::replace(&mut self.held, Held::Nothing) {
            return Poll::Ready(Ok(Some(pipe)));
        }
        ready!(source.poll_readable(cx)).map_err(Failure::Source)?;
        let pipe = Pipe::borrow();
        if pipe.is_none() {
            counters.add_without_pipe();
        }
        Poll::Ready(Ok(pipe))
    }

    /// Fills an empty pipe, so that `EAGAIN` can mean one thing only: the socket has nothing that can be spliced. It
    /// may still have what can be read, behind a byte of urgent data. So whenever splice(2) brings nothing, recv(2) has
    /// the last word, about the end as well.
    fn splice(
        &mut self,
        cx: &mut Context<'_>,
        source: &Socket,
        pipe: &mut Pipe,
        probe: &mut [u8],
        counters: &Counters,
    ) -> Poll<io::Result<Taken>> {
        let flags = SpliceFlags::NONBLOCK | SpliceFlags::MOVE;
        source.poll_read_with(cx, || {
            match pipe.fill(|into| rustix::pipe::splice(source, None, into, None, PIPE_BYTES, flags)) {
                Ok(0) | Err(Errno::AGAIN) => {}
                Ok(n) => return Ok(Taken::Piped(n)),
                Err(Errno::INVAL) => {
                    self.unspliceable = true;
                    self.splices = false;
                    counters.add_unspliceable();
                }
                Err(errno) => return Err(errno.into()),
            }
            let (n, _) = rustix::net::recv(source, &mut *probe, RecvFlags::DONTWAIT)?;
            Ok(Taken::Copied(n))
        })
    }

    /// Writes what was read, as far as the target takes it; the rest is held in as much memory as it needs.
    fn copy(&mut self, cx: &mut Context<'_>, target: &mut Socket, bytes: &[u8]) -> io::Result<()> {
        let mut written = 0;
        while let Poll::Ready(n) = target.poll_write(cx, &bytes[written..])? {
            written += n;
            self.bytes.copied += n as u64;
            if written == bytes.len() {
                return Ok(());
            }
        }
        self.held = Held::Copied(bytes[written..].into(), 0);
        Ok(())
    }

    /// Chooses the path of the next read by how much this one has brought.
    fn learn(&mut self, n: usize) {
        if (n >= LARGE) == self.splices || self.unspliceable {
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
