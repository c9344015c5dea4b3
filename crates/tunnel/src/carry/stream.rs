//! What a tunnel is between: sockets, streams of HTTP/2, standard input and output.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use outflow_wire::upgrade::Upgraded;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, DuplexStream, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

/// How long a leg that is done with may take to take its end, or a last word.
pub(crate) const LINGER: Duration = Duration::from_secs(1);

/// A leg, or a far end.
pub trait Side: AsyncRead + AsyncWrite + Unpin {
    /// Sees to it that the other end gets an error when this is dropped, rather than an end: what it has got is not
    /// all. Where there is no way to say so, nothing happens.
    fn reset(&mut self) {}
}

impl Side for TcpStream {
    fn reset(&mut self) {
        reset_when_closed(&self);
    }
}

impl Side for Upgraded {
    fn reset(&mut self) {
        Upgraded::reset(self);
    }
}

/// A UNIX socket knows no reset: the other end sees an end.
impl Side for UnixStream {}

/// For tests: whoever drops it ends it.
impl Side for DuplexStream {}

impl<S: Side + ?Sized> Side for Box<S> {
    fn reset(&mut self) {
        (**self).reset();
    }
}

/// A socket that is closed without waiting is reset (socket(7), `SO_LINGER`).
pub(crate) fn reset_when_closed(socket: &impl std::os::fd::AsFd) {
    // It fails if the connection is gone already, and then all is well.
    let _ = rustix::net::sockopt::set_socket_linger(socket, Some(Duration::ZERO));
}

/// Something to read from and something to write to, such as standard input and output.
#[derive(Debug)]
pub struct Joined<R, W> {
    read: R,
    /// Dropped at the end: for a program's output, that is how it ends.
    write: Option<W>,
}

impl<R, W> Joined<R, W> {
    /// Reads from the one, writes to the other.
    #[must_use]
    pub fn of(read: R, write: W) -> Joined<R, W> {
        Joined { read, write: Some(write) }
    }
}

/// Programs know no reset.
impl<R: AsyncRead + Unpin, W: AsyncWrite + Unpin> Side for Joined<R, W> {}

impl<R: AsyncRead + Unpin, W: Unpin> AsyncRead for Joined<R, W> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        room: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.read).poll_read(cx, room)
    }
}

impl<R: Unpin, W: AsyncWrite + Unpin> AsyncWrite for Joined<R, W> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.write {
            Some(write) => Pin::new(write).poll_write(cx, bytes),
            None => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.write {
            Some(write) => Pin::new(write).poll_flush(cx),
            None => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(write) = &mut self.write {
            std::task::ready!(Pin::new(write).poll_shutdown(cx))?;
            self.write = None;
        }
        Poll::Ready(Ok(()))
    }
}

/// Ends a leg with these bytes, if it takes them in time.
pub(crate) async fn say_last(leg: &mut impl Side, last: &[u8]) {
    let said = async {
        leg.write_all(last).await?;
        linger(leg).await
    };
    // Who does not hear it will find out.
    let _ = tokio::time::timeout(LINGER, said).await;
}

/// Ends a leg, and waits until its other end does.
pub(crate) async fn linger(leg: &mut impl Side) -> io::Result<()> {
    leg.shutdown().await?;
    let mut rest = [0; 512];
    while leg.read(&mut rest).await? > 0 {}
    Ok(())
}

/// What a leg is lost by that says nothing.
pub(crate) fn silent() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "nothing was heard from the other end for too long")
}
