//! A stream socket, TCP or Unix.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rustix::net::{Shutdown, sockopt};
use tokio::io::{AsyncRead as _, AsyncWrite as _, Interest, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

/// How many times in a row a socket that tokio reports as ready may not be. Tokio keeps reporting a
/// side that has closed as ready; should the kernel ever say so of an open one, the loop would
/// spin.
const MAX_FALSE_READY: u32 = 16;

/// One end of a flow.
#[derive(Debug)]
pub struct FlowSocket(SocketKind);

#[derive(Debug)]
enum SocketKind {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl From<TcpStream> for FlowSocket {
    fn from(stream: TcpStream) -> FlowSocket {
        FlowSocket(SocketKind::Tcp(stream))
    }
}

impl From<UnixStream> for FlowSocket {
    fn from(stream: UnixStream) -> FlowSocket {
        FlowSocket(SocketKind::Unix(stream))
    }
}

impl AsFd for FlowSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.0 {
            SocketKind::Tcp(stream) => stream.as_fd(),
            SocketKind::Unix(stream) => stream.as_fd(),
        }
    }
}

impl FlowSocket {
    /// Turns off the delay of small packets (Nagle's algorithm): only the sender knows whether more
    /// will follow.
    pub(super) fn no_delay(&self) {
        if let SocketKind::Tcp(stream) = &self.0 {
            // On failure the same bytes leave, only later.
            let _ = stream.set_nodelay(true);
        }
    }

    /// Reads what has arrived; 0 is the end of the stream. After a read that does not fill the
    /// buffer, tokio takes the socket for empty without another call.
    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut buffer = ReadBuf::new(buffer);
        match &mut self.0 {
            SocketKind::Tcp(stream) => ready!(Pin::new(stream).poll_read(cx, &mut buffer))?,
            SocketKind::Unix(stream) => ready!(Pin::new(stream).poll_read(cx, &mut buffer))?,
        }
        Poll::Ready(Ok(buffer.filled().len()))
    }

    /// Writes some of `bytes`, of which there is at least one.
    pub(super) fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = match &mut self.0 {
            SocketKind::Tcp(stream) => ready!(Pin::new(stream).poll_write(cx, bytes))?,
            SocketKind::Unix(stream) => ready!(Pin::new(stream).poll_write(cx, bytes))?,
        };
        Poll::Ready(if written == 0 { Err(io::ErrorKind::WriteZero.into()) } else { Ok(written) })
    }

    /// Ready when there may be bytes to read, or the end of the stream.
    pub(super) fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &self.0 {
            SocketKind::Tcp(stream) => stream.poll_read_ready(cx),
            SocketKind::Unix(stream) => stream.poll_read_ready(cx),
        }
    }

    /// Runs a system call that reads. It may return `WouldBlock` only if the socket is empty.
    pub(super) fn poll_read_with<R>(
        &self,
        cx: &mut Context<'_>,
        mut call: impl FnMut() -> io::Result<R>,
    ) -> Poll<io::Result<R>> {
        for _ in 0..MAX_FALSE_READY {
            ready!(self.poll_readable(cx))?;
            match self.try_io(Interest::READABLE, &mut call) {
                Err(error) if is_transient(&error) => {}
                result => return Poll::Ready(result),
            }
        }
        Poll::Ready(Err(falsely_ready()))
    }

    /// Runs a system call that writes. It may return `WouldBlock` only if the socket is full.
    pub(super) fn poll_write_with<R>(
        &self,
        cx: &mut Context<'_>,
        mut call: impl FnMut() -> io::Result<R>,
    ) -> Poll<io::Result<R>> {
        for _ in 0..MAX_FALSE_READY {
            ready!(match &self.0 {
                SocketKind::Tcp(stream) => stream.poll_write_ready(cx),
                SocketKind::Unix(stream) => stream.poll_write_ready(cx),
            })?;
            match self.try_io(Interest::WRITABLE, &mut call) {
                Err(error) if is_transient(&error) => {}
                result => return Poll::Ready(result),
            }
        }
        Poll::Ready(Err(falsely_ready()))
    }

    fn try_io<R>(&self, interest: Interest, call: impl FnOnce() -> io::Result<R>) -> io::Result<R> {
        match &self.0 {
            SocketKind::Tcp(stream) => stream.try_io(interest, call),
            SocketKind::Unix(stream) => stream.try_io(interest, call),
        }
    }

    /// Ends the direction of writing (FIN).
    pub(super) fn shut_down_write(&self) -> io::Result<()> {
        Ok(rustix::net::shutdown(self, Shutdown::Write)?)
    }

    /// Makes dropping the socket discard what is queued and send an RST.
    pub(crate) fn reset_when_dropped(&self) {
        if let SocketKind::Tcp(stream) = &self.0 {
            // Fails for a socket that is no longer connected, whose peer knows already.
            let _ = sockopt::set_socket_linger(stream, Some(Duration::ZERO));
        }
    }
}

fn is_transient(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

fn falsely_ready() -> io::Error {
    io::Error::other("the socket is reported as ready again and again, and is not")
}
