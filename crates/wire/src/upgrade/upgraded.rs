//! A connection that has left HTTP, as bytes both ways.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::sync::watch;

use super::duplex::StreamDuplex;
use crate::connection::buffer::PooledBuffer;
use crate::connection::permit::ConnectionPermit;
use crate::tls::TransportReader;

/// The raw connection, beginning with what the client had sent behind its request.
///
/// It still counts as one of the server's connections (`ServerOptions::max_connections`), and a
/// server that drains waits for it.
pub struct Upgraded {
    transport: UpgradedTransport,
    draining: watch::Receiver<bool>,
}

/// What carries the bytes.
enum UpgradedTransport {
    Socket(Box<UpgradedSocket>),
    /// A stream of an HTTP/2 connection, which goes on beside it.
    Stream(Box<StreamDuplex>),
}

/// A whole connection.
struct UpgradedSocket {
    read: TransportReader,
    write: OwnedWriteHalf,
    buffered: PooledBuffer,
    permit: ConnectionPermit,
}

/// Ready when the server begins to drain: a service that has taken over a connection should end it
/// then.
pub struct Draining(watch::Receiver<bool>);

impl Draining {
    /// Waits until the server drains.
    pub async fn begun(&mut self) {
        // An error means that the server is gone, which counts, too.
        let _ = self.0.wait_for(|draining| *draining).await;
    }
}

impl Upgraded {
    pub(crate) fn new(
        (read, write, permit): (TransportReader, OwnedWriteHalf, ConnectionPermit),
        mut buffered: PooledBuffer,
        draining: watch::Receiver<bool>,
    ) -> Upgraded {
        if buffered.is_empty() {
            buffered = PooledBuffer::none();
        }
        let socket = UpgradedSocket { read, write, buffered, permit };
        Upgraded { transport: UpgradedTransport::Socket(Box::new(socket)), draining }
    }

    pub(crate) fn of_stream(stream: StreamDuplex, draining: watch::Receiver<bool>) -> Upgraded {
        Upgraded { transport: UpgradedTransport::Stream(Box::new(stream)), draining }
    }

    /// The socket, for its options. `None` when it is not this connection's alone.
    #[must_use]
    pub fn socket(&self) -> Option<BorrowedFd<'_>> {
        match &self.transport {
            UpgradedTransport::Socket(socket) => {
                let stream: &TcpStream = socket.write.as_ref();
                Some(stream.as_fd())
            }
            UpgradedTransport::Stream(_) => None,
        }
    }

    /// Resets the connection instead of ending it, so that the client's program learns that bytes
    /// are missing. A stream is reset, a socket sends an RST. Drop it then.
    pub fn reset(&mut self) {
        match &mut self.transport {
            UpgradedTransport::Socket(socket) => {
                let stream: &TcpStream = socket.write.as_ref();
                if let Err(error) = rustix::net::connect_unspec(stream) {
                    tracing::debug!(%error, "cannot reset the connection");
                }
            }
            UpgradedTransport::Stream(stream) => stream.reset(),
        }
    }

    /// Waits for the server to drain.
    #[must_use]
    pub fn draining(&self) -> Draining {
        Draining(self.draining.clone())
    }

    /// Takes it apart: the socket, what the client had sent behind its request, and the
    /// connection's permit, to be kept as long as the socket.
    ///
    /// # Errors
    /// The connection as it was, if it is within TLS or a stream of HTTP/2: its socket alone is of
    /// no use then.
    pub fn into_parts(self) -> Result<(TcpStream, Bytes, ConnectionPermit), Upgraded> {
        let Upgraded { transport, draining } = self;
        let socket = match transport {
            UpgradedTransport::Socket(socket) if socket.read.session().is_none() => socket,
            transport => return Err(Upgraded { transport, draining }),
        };
        let UpgradedSocket { read, write, buffered, permit } = *socket;
        let stream = read.into_half().reunite(write).expect("both halves came from one connection");
        Ok((stream, Bytes::copy_from_slice(buffered.filled()), permit))
    }
}

impl UpgradedSocket {
    fn poll_read(&mut self, cx: &mut Context<'_>, space: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        // Sealed bytes that did not fit leave also while the service only reads, as bytes in the
        // clear would. Without waiting for the socket: another task may be waiting, and a socket
        // has one waker for writing.
        if let Some(session) = self.read.session() {
            let stream: &TcpStream = self.write.as_ref();
            let out = || stream.try_io(Interest::WRITABLE, || session.write_out(stream.as_fd()));
            while session.wants_write() && out().is_ok() {}
        }
        if self.buffered.is_empty() {
            return self.read.poll_read(cx, space);
        }
        let n = self.buffered.filled().len().min(space.remaining());
        space.put_slice(&self.buffered.filled()[..n]);
        self.buffered.consume(n);
        if self.buffered.is_empty() {
            self.buffered = PooledBuffer::none();
        }
        Poll::Ready(Ok(()))
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let Some(session) = self.read.session() else {
            return Pin::new(&mut self.write).poll_write(cx, bytes);
        };
        // Bytes sealed before leave first; those sealed now may wait for the next call, or a flush.
        ready!(session.poll_write_out(cx, self.write.as_ref(), &mut 0))?;
        let sealed = session.seal(&[io::IoSlice::new(bytes)])?;
        match session.poll_write_out(cx, self.write.as_ref(), &mut 0) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Ready(Ok(())) | Poll::Pending => Poll::Ready(Ok(sealed)),
        }
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.read.session() {
            Some(session) => session.poll_write_out(cx, self.write.as_ref(), &mut 0),
            None => Pin::new(&mut self.write).poll_flush(cx),
        }
    }

    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(session) = self.read.session() {
            session.close();
            ready!(session.poll_write_out(cx, self.write.as_ref(), &mut 0))?;
        }
        Pin::new(&mut self.write).poll_shutdown(cx)
    }
}

impl AsyncRead for Upgraded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        space: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.transport {
            UpgradedTransport::Socket(socket) => socket.poll_read(cx, space),
            UpgradedTransport::Stream(stream) => stream.poll_read(cx, space),
        }
    }
}

impl AsyncWrite for Upgraded {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.transport {
            UpgradedTransport::Socket(socket) => socket.poll_write(cx, bytes),
            UpgradedTransport::Stream(stream) => stream.poll_write(cx, bytes),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.transport {
            UpgradedTransport::Socket(socket) => socket.poll_flush(cx),
            // It leaves with the connection's other streams.
            UpgradedTransport::Stream(_) => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.transport {
            UpgradedTransport::Socket(socket) => socket.poll_shutdown(cx),
            UpgradedTransport::Stream(stream) => Poll::Ready(stream.shutdown()),
        }
    }
}
