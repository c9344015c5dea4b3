//! A stream socket, TCP or Unix, as a flow sees it.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rustix::net::{Shutdown, sockopt};
use tokio::io::{AsyncRead as _, AsyncWrite as _, Interest, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

/// How often a socket that is called ready may turn out not to be, one time right after the other. Tokio never
/// forgets that a side is closed; should the kernel ever say that of one that is open, waiting for it would spin.
const FALSE_ALARMS: u32 = 16;

/// One end of a flow.
#[derive(Debug)]
pub struct Socket(Kind);

#[derive(Debug)]
enum Kind {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl From<TcpStream> for Socket {
    fn from(stream: TcpStream) -> Socket {
        Socket(Kind::Tcp(stream))
    }
}

impl From<UnixStream> for Socket {
    fn from(stream: UnixStream) -> Socket {
        Socket(Kind::Unix(stream))
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.0 {
            Kind::Tcp(stream) => stream.as_fd(),
            Kind::Unix(stream) => stream.as_fd(),
        }
    }
}

impl Socket {
    /// What is handed on must not wait for more (Nagle): whether there will be more only its sender knows.
    pub(super) fn no_delay(&self) {
        if let Kind::Tcp(stream) = &self.0 {
            // Without it the same bytes leave, only later.
            let _ = stream.set_nodelay(true);
        }
    }

    /// Reads what there is; 0 is the end. After fewer bytes than there was room for, the socket is taken for empty
    /// without another call.
    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>, room: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut room = ReadBuf::new(room);
        match &mut self.0 {
            Kind::Tcp(stream) => ready!(Pin::new(stream).poll_read(cx, &mut room))?,
            Kind::Unix(stream) => ready!(Pin::new(stream).poll_read(cx, &mut room))?,
        }
        Poll::Ready(Ok(room.filled().len()))
    }

    /// Writes some of `bytes`, of which there is at least one.
    pub(super) fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = match &mut self.0 {
            Kind::Tcp(stream) => ready!(Pin::new(stream).poll_write(cx, bytes))?,
            Kind::Unix(stream) => ready!(Pin::new(stream).poll_write(cx, bytes))?,
        };
        Poll::Ready(if written == 0 { Err(io::ErrorKind::WriteZero.into()) } else { Ok(written) })
    }

    /// Ready when there seems to be something to read, or the end.
    pub(super) fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &self.0 {
            Kind::Tcp(stream) => stream.poll_read_ready(cx),
            Kind::Unix(stream) => stream.poll_read_ready(cx),
        }
    }

    /// Runs a call that reads; it says `WouldBlock` only if the socket is empty.
    pub(super) fn poll_read_with<R>(
        &self,
        cx: &mut Context<'_>,
        mut call: impl FnMut() -> io::Result<R>,
    ) -> Poll<io::Result<R>> {
        for _ in 0..FALSE_ALARMS {
            ready!(self.poll_readable(cx))?;
            match self.try_io(Interest::READABLE, &mut call) {
                Err(error) if again(&error) => {}
                result => return Poll::Ready(result),
            }
        }
        Poll::Ready(Err(false_alarm()))
    }

    /// Runs a call that writes; it says `WouldBlock` only if the socket is full.
    pub(super) fn poll_write_with<R>(
        &self,
        cx: &mut Context<'_>,
        mut call: impl FnMut() -> io::Result<R>,
    ) -> Poll<io::Result<R>> {
        for _ in 0..FALSE_ALARMS {
            ready!(match &self.0 {
                Kind::Tcp(stream) => stream.poll_write_ready(cx),
                Kind::Unix(stream) => stream.poll_write_ready(cx),
            })?;
            match self.try_io(Interest::WRITABLE, &mut call) {
                Err(error) if again(&error) => {}
                result => return Poll::Ready(result),
            }
        }
        Poll::Ready(Err(false_alarm()))
    }

    fn try_io<R>(&self, interest: Interest, call: impl FnOnce() -> io::Result<R>) -> io::Result<R> {
        match &self.0 {
            Kind::Tcp(stream) => stream.try_io(interest, call),
            Kind::Unix(stream) => stream.try_io(interest, call),
        }
    }

    /// Says that nothing more will come.
    pub(super) fn end(&self) -> io::Result<()> {
        Ok(rustix::net::shutdown(self, Shutdown::Write)?)
    }

    /// When it is dropped, what is queued is thrown away and an RST leaves.
    pub(crate) fn reset_when_dropped(&self) {
        if let Kind::Tcp(stream) = &self.0 {
            // Fails for a socket that is not connected any more, whose peer knows that already.
            let _ = sockopt::set_socket_linger(stream, Some(Duration::ZERO));
        }
    }
}

fn again(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

fn false_alarm() -> io::Error {
    io::Error::other("the socket is called ready again and again, and is not")
}
