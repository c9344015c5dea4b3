//! Pipes that are borrowed while there are bytes in them.
//!
//! The kernel moves bytes from one socket to another only through a pipe (splice(2)). A delivery
//! that waits for its feed owns none. Each thread keeps a few spare ones, since a new one costs two
//! system calls and a table for its pages. How many there are in the process is bounded: each takes
//! two descriptors, and one whose client is slow holds up to [`PIPE_BYTES`] of the kernel's memory.
//! Whoever gets none copies.

use std::cell::RefCell;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use rustix::io::Errno;
use rustix::pipe::{PipeFlags, SpliceFlags};
use rustix::process::Resource;

/// What a pipe is filled with at the most, and the size that is asked for. The kernel counts in
/// pages, one for each piece of a packet: a pipe may take less than this, and never more, because
/// nobody asks for more.
pub const PIPE_BYTES: usize = 1024 * 1024;

/// A smaller pipe is of no use: copying is cheaper than splicing a packet or two at a time. Once a
/// user without privileges has 64 MiB of pipes, further ones have 8 KiB (pipe(7),
/// `pipe-user-pages-soft`).
const LEAST_BYTES: usize = 64 * 1024;

/// Spare pipes that a thread keeps.
const SPARES: usize = 8;

/// Pipes of the process at the most.
const PIPES: u64 = 512;

/// How many there may be: no more than an eighth of the descriptors, of which connections need
/// most.
static ALLOWED: LazyLock<u64> = LazyLock::new(|| {
    let descriptors = rustix::process::getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    PIPES.min(descriptors / 16)
});

/// How many there are.
static OPEN: AtomicU64 = AtomicU64::new(0);

thread_local! {
    static POOL: RefCell<Vec<Ends>> = const { RefCell::new(Vec::new()) };
}

/// An open pipe.
struct Ends {
    read: OwnedFd,
    write: OwnedFd,
    _place: Place,
}

/// A place among the pipes that are allowed.
struct Place;

impl Place {
    fn take() -> Option<Place> {
        let allowed = *ALLOWED;
        OPEN.fetch_update(Relaxed, Relaxed, |open| (open < allowed).then_some(open + 1)).ok().map(|_| Place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        OPEN.fetch_sub(1, Relaxed);
    }
}

impl Ends {
    fn open() -> Option<Ends> {
        let place = Place::take()?;
        let opened = rustix::pipe::pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK);
        let (read, write) =
            opened.inspect_err(|error| tracing::debug!(%error, "no pipe: the bytes are copied")).ok()?;
        // EPERM means that the user has as much as the system allows: then it is what it is.
        let size = rustix::pipe::fcntl_setpipe_size(&write, PIPE_BYTES)
            .or_else(|_| rustix::pipe::fcntl_getpipe_size(&write));
        size.is_ok_and(|size| size >= LEAST_BYTES).then_some(Ends { read, write, _place: place })
    }

    /// Asks the kernel, not those who filled it: what is left would reach another client.
    fn is_empty(&self) -> bool {
        matches!(rustix::io::ioctl_fionread(&self.read), Ok(0))
    }
}

/// A pooled pipe, and how many bytes are in it.
pub struct Pipe {
    /// Taken when it is given back.
    ends: Option<Ends>,
    filled: usize,
}

impl Pipe {
    /// Borrows an empty pipe; `None` when there is none to be had.
    #[must_use]
    pub fn borrow() -> Option<Pipe> {
        let ends = POOL.with_borrow_mut(Vec::pop).or_else(Ends::open)?;
        Some(Pipe { ends: Some(ends), filled: 0 })
    }

    /// Whether all that was filled in has been drained.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.filled == 0
    }

    /// Lets `fill` move bytes into the pipe, and notes how many.
    ///
    /// # Errors
    /// Those of `fill`; `EAGAIN` may also mean that the pipe is full.
    pub fn fill<E>(&mut self, fill: impl FnOnce(BorrowedFd<'_>) -> Result<usize, E>) -> Result<usize, E> {
        let Some(ends) = &self.ends else { return Ok(0) };
        let n = fill(ends.write.as_fd())?;
        self.filled += n;
        Ok(n)
    }

    /// Moves some of the bytes into a socket. With `more`, the kernel waits for the bytes that
    /// follow before it sends a packet that is not full.
    ///
    /// # Errors
    /// `WouldBlock` when the socket is full, `UnexpectedEof` when whoever filled the pipe moved
    /// less than was said, and what splice(2) says.
    pub fn drain(&mut self, socket: BorrowedFd<'_>, more: bool) -> io::Result<usize> {
        let Some(ends) = &self.ends else { return Ok(0) };
        let mut flags = SpliceFlags::NONBLOCK | SpliceFlags::MOVE;
        flags.set(SpliceFlags::MORE, more);
        match rustix::pipe::splice(&ends.read, None, socket, None, self.filled, flags) {
            Ok(0) => Err(io::ErrorKind::WriteZero.into()),
            Ok(n) => {
                self.filled = self.filled.saturating_sub(n);
                Ok(n)
            }
            // Not the socket is to blame: there is less in the pipe than was said, and will be for
            // ever.
            Err(Errno::AGAIN) if ends.is_empty() => Err(io::ErrorKind::UnexpectedEof.into()),
            Err(errno) => Err(errno.into()),
        }
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        let Some(ends) = self.ends.take().filter(|ends| self.filled == 0 && ends.is_empty()) else { return };
        // The pool is gone when a thread ends; then the pipe is simply closed.
        let _ = POOL.try_with(|pool| {
            let mut pool = pool.borrow_mut();
            if pool.len() < SPARES {
                pool.push(ends);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    fn spares() -> usize {
        POOL.with_borrow(Vec::len)
    }

    fn put(pipe: &mut Pipe, bytes: &[u8]) {
        pipe.fill(|fd| rustix::io::write(fd, bytes)).expect("filled");
    }

    fn sockets() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let one = TcpStream::connect(listener.local_addr().expect("an address")).expect("connected");
        (one, listener.accept().expect("accepted").0)
    }

    #[test]
    fn what_is_filled_in_comes_out_and_the_pipe_is_used_again() {
        let (one, mut other) = sockets();
        let mut pipe = Pipe::borrow().expect("a pipe");
        put(&mut pipe, b"hello ");
        put(&mut pipe, b"world");
        assert_eq!(pipe.drain(one.as_fd(), false).expect("drained"), 11);
        assert!(pipe.is_empty());
        let mut got = [0; 11];
        std::io::Read::read_exact(&mut other, &mut got).expect("read");
        assert_eq!(&got, b"hello world");
        drop(pipe);
        assert_eq!(spares(), 1);
        drop(Pipe::borrow());
        assert_eq!(spares(), 1);
    }

    #[test]
    fn a_pipe_with_bytes_in_it_is_closed() {
        let mut pipe = Pipe::borrow().expect("a pipe");
        put(&mut pipe, b"somebody's");
        drop(pipe);
        assert_eq!(spares(), 0);
        // Nor is it kept when whoever filled it said otherwise, or failed behind it.
        let mut pipe = Pipe::borrow().expect("a pipe");
        pipe.fill(|fd| rustix::io::write(fd, b"somebody's").map(|_| 0)).expect("filled");
        drop(pipe);
        let mut pipe = Pipe::borrow().expect("a pipe");
        pipe.fill(|fd| rustix::io::write(fd, b"somebody's").and(Err(Errno::IO))).expect_err("an error");
        drop(pipe);
        assert_eq!(spares(), 0);
    }

    #[test]
    fn a_pipe_that_has_less_than_was_said_does_not_wait_for_the_rest() {
        let (one, _other) = sockets();
        let mut pipe = Pipe::borrow().expect("a pipe");
        pipe.fill(|fd| rustix::io::write(fd, b"hello").map(|n| n + 1)).expect("filled");
        assert_eq!(pipe.drain(one.as_fd(), false).expect("drained"), 5);
        let error = pipe.drain(one.as_fd(), false).expect_err("nothing is left");
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn a_thread_keeps_a_bounded_number_of_spares() {
        let many: Vec<Pipe> = (0..SPARES + 5).map_while(|_| Pipe::borrow()).collect();
        assert_eq!(many.len(), SPARES + 5);
        drop(many);
        assert_eq!(spares(), SPARES);
    }
}
