//! Pipes for splice(2), borrowed while they hold bytes.
//!
//! The kernel moves bytes from one socket to another only through a pipe. A caller that waits for
//! bytes holds none. Each thread keeps a few spare pipes, since a new one costs two system calls
//! and a table for its pages. Their number in the process is bounded, because each takes two
//! descriptors and, while its client is slow, up to [`PIPE_BYTES`] of the kernel's memory. A caller
//! that gets no pipe copies.

use std::cell::RefCell;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use rustix::io::Errno;
use rustix::pipe::{PipeFlags, SpliceFlags};
use rustix::process::Resource;

/// Bytes that a pipe may hold: the size that is requested from the kernel. The kernel counts in
/// pages, one for each fragment of a packet, so a pipe may be full with fewer bytes.
///
/// Bound: sending.
pub const PIPE_BYTES: usize = 1024 * 1024;

/// The smallest useful size: below it, copying is cheaper than splicing a packet or two at a time.
/// Once an unprivileged user has 64 MiB of pipes, further ones have 8 KiB (pipe(7),
/// `pipe-user-pages-soft`).
const MIN_PIPE_BYTES: usize = 64 * 1024;

/// Spare pipes that a thread keeps.
///
/// Bound: sending.
const MAX_SPARE_PIPES: usize = 8;

/// Pipes of the process, or a sixteenth of the limit of open files if that is less.
///
/// Bound: sending.
const MAX_PIPES: u64 = 512;

/// Pipes that the process may have: they take at most an eighth of the descriptors, most of which
/// connections need.
static ALLOWED: LazyLock<u64> = LazyLock::new(|| {
    let descriptors = rustix::process::getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    MAX_PIPES.min(descriptors / 16)
});

/// Pipes that the process has.
static OPEN: AtomicU64 = AtomicU64::new(0);

thread_local! {
    static POOL: RefCell<Vec<PipeEnds>> = const { RefCell::new(Vec::new()) };
}

/// An open pipe.
struct PipeEnds {
    read: OwnedFd,
    write: OwnedFd,
    _permit: PipePermit,
}

/// The right to one pipe, given back on drop.
struct PipePermit;

impl PipePermit {
    fn acquire() -> Option<PipePermit> {
        let allowed = *ALLOWED;
        OPEN.fetch_update(Relaxed, Relaxed, |open| (open < allowed).then_some(open + 1))
            .ok()
            .map(|_| PipePermit)
    }
}

impl Drop for PipePermit {
    fn drop(&mut self) {
        OPEN.fetch_sub(1, Relaxed);
    }
}

impl PipeEnds {
    fn open() -> Option<PipeEnds> {
        let permit = PipePermit::acquire()?;
        let opened = rustix::pipe::pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK);
        let (read, write) =
            opened.inspect_err(|error| tracing::debug!(%error, "no pipe: the bytes are copied")).ok()?;
        // EPERM: the user has reached the limit of the system, and the pipe keeps its size.
        let size = rustix::pipe::fcntl_setpipe_size(&write, PIPE_BYTES)
            .or_else(|_| rustix::pipe::fcntl_getpipe_size(&write));
        size.is_ok_and(|size| size >= MIN_PIPE_BYTES).then_some(PipeEnds { read, write, _permit: permit })
    }

    /// Asks the kernel rather than trusting the caller: a left-over byte would reach another
    /// client.
    fn is_empty(&self) -> bool {
        matches!(rustix::io::ioctl_fionread(&self.read), Ok(0))
    }
}

/// A pooled pipe, and how many bytes are in it.
pub struct Pipe {
    /// `None` once it has been given back.
    ends: Option<PipeEnds>,
    filled: usize,
}

impl Pipe {
    /// Borrows an empty pipe; `None` when the process has reached its limit.
    #[must_use]
    pub fn borrow() -> Option<Pipe> {
        let ends = POOL.with_borrow_mut(Vec::pop).or_else(PipeEnds::open)?;
        Some(Pipe { ends: Some(ends), filled: 0 })
    }

    /// Whether all filled bytes have been drained.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.filled == 0
    }

    /// Lets `fill` move bytes into the pipe; it returns how many.
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
    /// `WouldBlock` when the socket is full, `UnexpectedEof` when the pipe holds fewer bytes than
    /// `fill` returned, and errors of splice(2).
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
            // The pipe rather than the socket would block: it holds fewer bytes than was claimed,
            // so waiting would never end.
            Err(Errno::AGAIN) if ends.is_empty() => Err(io::ErrorKind::UnexpectedEof.into()),
            Err(errno) => Err(errno.into()),
        }
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        let Some(ends) = self.ends.take().filter(|ends| self.filled == 0 && ends.is_empty()) else { return };
        // The pool no longer exists while a thread ends; the pipe is then closed.
        let _ = POOL.try_with(|pool| {
            let mut pool = pool.borrow_mut();
            if pool.len() < MAX_SPARE_PIPES {
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
        // Nor is it kept when `fill` reports nothing, or fails, after it has written.
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
        let many: Vec<Pipe> = (0..MAX_SPARE_PIPES + 5).map_while(|_| Pipe::borrow()).collect();
        assert_eq!(many.len(), MAX_SPARE_PIPES + 5);
        drop(many);
        assert_eq!(spares(), MAX_SPARE_PIPES);
    }
}
