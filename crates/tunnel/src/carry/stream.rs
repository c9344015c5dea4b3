//! The two streams of a tunnel: sockets, HTTP/2 streams, standard input and output; and how they
//! end.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use outflow_wire::upgrade::Upgraded;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, DuplexStream, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

/// How long a leg may take to accept its end, or a last frame.
pub(crate) const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(1);

/// A leg, or a far end.
pub trait TunnelStream: AsyncRead + AsyncWrite + Unpin {
    /// Makes dropping the stream an error for the other end rather than an end: what it has
    /// received is incomplete. Does nothing for a stream that knows no reset.
    fn reset(&mut self) {}
}

impl TunnelStream for TcpStream {
    fn reset(&mut self) {
        reset_when_closed(&self);
    }
}

impl TunnelStream for Upgraded {
    fn reset(&mut self) {
        Upgraded::reset(self);
    }
}

/// A Unix socket knows no reset: the other end sees the end of the stream.
impl TunnelStream for UnixStream {}

/// For tests. Dropping it ends it.
impl TunnelStream for DuplexStream {}

impl<S: TunnelStream + ?Sized> TunnelStream for Box<S> {
    fn reset(&mut self) {
        (**self).reset();
    }
}

/// Makes closing the socket send an RST (socket(7), `SO_LINGER`).
pub(crate) fn reset_when_closed(socket: &impl std::os::fd::AsFd) {
    // Fails if the connection has ended already, which is as good.
    let _ = rustix::net::sockopt::set_socket_linger(socket, Some(Duration::ZERO));
}

/// A reader and a writer as one stream, such as standard input and output.
#[derive(Debug)]
pub struct JoinedStream<R, W> {
    read: R,
    /// Dropped at the end, which closes a program's output.
    write: Option<W>,
}

impl<R, W> JoinedStream<R, W> {
    /// Reads from `read`, writes to `write`.
    #[must_use]
    pub fn new(read: R, write: W) -> JoinedStream<R, W> {
        JoinedStream { read, write: Some(write) }
    }
}

/// Pipes know no reset.
impl<R: AsyncRead + Unpin, W: AsyncWrite + Unpin> TunnelStream for JoinedStream<R, W> {}

impl<R: AsyncRead + Unpin, W: Unpin> AsyncRead for JoinedStream<R, W> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.read).poll_read(cx, buffer)
    }
}

impl<R: Unpin, W: AsyncWrite + Unpin> AsyncWrite for JoinedStream<R, W> {
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

/// Ends a leg with these bytes, if it accepts them in time.
pub(crate) async fn send_last(leg: &mut impl TunnelStream, last: &[u8]) {
    let sent = async {
        leg.write_all(last).await?;
        shut_down(leg).await
    };
    // A peer that misses it notices the end of the leg.
    let _ = tokio::time::timeout(SHUTDOWN_TIMEOUT, sent).await;
}

/// Ends a leg, and waits until the other end does.
pub(crate) async fn shut_down(leg: &mut impl TunnelStream) -> io::Result<()> {
    leg.shutdown().await?;
    let mut rest = [0; 512];
    while leg.read(&mut rest).await? > 0 {}
    Ok(())
}

/// The error of a leg over which nothing arrives.
pub(crate) fn silence_error() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "nothing arrived from the other end for too long")
}
