//! Connections that stop being HTTP: after `101 Switching Protocols`, after a 2xx answer to `CONNECT`, or because the
//! service takes them over for a body that has no end ([`Handoff`]). On HTTP/2 it is one stream that stops.

pub(crate) mod duplex;
pub mod websocket;

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::Request;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::sync::{oneshot, watch};

use crate::connection::buffer::Buffer;
use crate::listen::Counted;
use crate::tls::Reader;
use duplex::Duplex;

/// Takes the promise of the raw connection out of a request that asked for an upgrade (RFC 9110 section
/// 7.8) or for a tunnel (`CONNECT`). `None` for any other request.
///
/// The promise is kept once the service's response with status 101 (or 2xx to a `CONNECT`) has left.
pub fn on<B>(request: &mut Request<B>) -> Option<OnUpgrade> {
    let slot = request.extensions_mut().remove::<Slot>()?;
    slot.0.lock().unwrap_or_else(PoisonError::into_inner).take().map(OnUpgrade)
}

/// In the extensions of a `CONNECT` on HTTP/2 that asks for a protocol (RFC 8441): what an `Upgrade` field names on
/// HTTP/1.1. The request's target has a path then; the answer that agrees is a 200.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Protocol(pub Box<str>);

/// Waits for the connection to be handed over.
pub struct OnUpgrade(oneshot::Receiver<Upgraded>);

impl Future for OnUpgrade {
    /// An error when the response was not one that ends HTTP, or could not be sent.
    type Output = io::Result<Upgraded>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0)
            .poll(cx)
            .map_err(|_| io::Error::other("the response did not switch protocols, or could not be sent"))
    }
}

/// In a response's extensions: once the head has left, the service has the connection, and writes the body itself.
///
/// For bodies that go on until somebody leaves, such as server-sent events: thousands of listeners need no future
/// and no buffer each, only their sockets in a list. The head says `Connection: close` and no length, the
/// response's own body is ignored, and no time limit of the engine's holds any more. The client may still be
/// sending; what it says can be read and ignored.
///
/// Has an effect on 2xx answers to anything but `HEAD`. What is given to [`Handoff::new`] is called on the thread
/// that served the connection, within its runtime; it is dropped without a call if the head could not be sent, or
/// the request has a body that nobody read to its end.
///
/// ```
/// # fn listeners_add(_: outflow_wire::upgrade::Upgraded) {}
/// let handoff = outflow_wire::upgrade::Handoff::new(|connection| listeners_add(connection));
/// let mut response = http::Response::new(());
/// response.headers_mut().insert("content-type", http::HeaderValue::from_static("text/event-stream"));
/// response.extensions_mut().insert(handoff);
/// ```
#[derive(Clone)]
pub struct Handoff(Arc<Mutex<Option<Taker>>>);

type Taker = Box<dyn FnOnce(Upgraded) + Send>;

impl Handoff {
    /// `taker` gets the connection.
    #[must_use]
    pub fn new(taker: impl FnOnce(Upgraded) + Send + 'static) -> Handoff {
        Handoff(Arc::new(Mutex::new(Some(Box::new(taker)))))
    }

    pub(crate) fn take(self, connection: Upgraded) {
        let taker = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(taker) = taker {
            taker(connection);
        }
    }
}

/// The raw connection, beginning with whatever the client had sent behind its request.
///
/// It still counts as one of the server's connections (`Options::max_connections`), and a server that drains waits
/// for it.
pub struct Upgraded {
    way: Way,
    draining: watch::Receiver<bool>,
}

/// What carries the bytes.
enum Way {
    Socket(Box<Socket>),
    /// A stream of an HTTP/2 connection, which goes on beside it.
    Stream(Box<Duplex>),
}

struct Socket {
    read: Reader,
    write: OwnedWriteHalf,
    buffered: Buffer,
    counted: Counted,
}

/// Ready when the server begins to drain: whoever has taken over a connection should end it then.
pub struct Draining(watch::Receiver<bool>);

impl Draining {
    /// Waits for it.
    pub async fn begun(&mut self) {
        // A server that is gone does not serve either.
        let _ = self.0.wait_for(|draining| *draining).await;
    }
}

impl Upgraded {
    pub(crate) fn new(
        (read, write, counted): (Reader, OwnedWriteHalf, Counted),
        mut buffered: Buffer,
        draining: watch::Receiver<bool>,
    ) -> Upgraded {
        if buffered.is_empty() {
            buffered = Buffer::none();
        }
        Upgraded { way: Way::Socket(Box::new(Socket { read, write, buffered, counted })), draining }
    }

    pub(crate) fn of_stream(stream: Duplex, draining: watch::Receiver<bool>) -> Upgraded {
        Upgraded { way: Way::Stream(Box::new(stream)), draining }
    }

    /// The socket, for its options. `None` when it is not this connection's alone.
    #[must_use]
    pub fn socket(&self) -> Option<BorrowedFd<'_>> {
        match &self.way {
            Way::Socket(socket) => {
                let stream: &TcpStream = socket.write.as_ref();
                Some(stream.as_fd())
            }
            Way::Stream(_) => None,
        }
    }

    /// Cuts it, instead of ending it: the client's program learns that what it got is not all. A stream is reset, a socket
    /// sends an RST. To be dropped then.
    pub fn reset(&mut self) {
        match &mut self.way {
            Way::Socket(socket) => {
                let stream: &TcpStream = socket.write.as_ref();
                if let Err(error) = rustix::net::connect_unspec(stream) {
                    tracing::debug!(%error, "connection could not be cut");
                }
            }
            Way::Stream(stream) => stream.reset(),
        }
    }

    /// Tells when the server begins to drain.
    #[must_use]
    pub fn draining(&self) -> Draining {
        Draining(self.draining.clone())
    }

    /// Taken apart: the socket, what the client had sent behind its request, and the connection's place among those
    /// that the server may have, to be kept as long as the socket.
    ///
    /// # Errors
    /// The connection as it was, if it is within TLS, or a stream of HTTP/2: its socket alone is of no use.
    pub fn into_parts(self) -> Result<(TcpStream, Bytes, Counted), Upgraded> {
        let Upgraded { way, draining } = self;
        let socket = match way {
            Way::Socket(socket) if socket.read.session().is_none() => socket,
            way => return Err(Upgraded { way, draining }),
        };
        let Socket { read, write, buffered, counted } = *socket;
        let stream = read.into_half().reunite(write).expect("both halves came from one connection");
        Ok((stream, Bytes::copy_from_slice(buffered.filled()), counted))
    }
}

impl Socket {
    fn poll_read(&mut self, cx: &mut Context<'_>, room: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        // What was sealed and did not fit leaves also when its writer only listens, as bytes in the clear would.
        // Without waiting for room: another task may be waiting, and there is but one place to wait in.
        if let Some(session) = self.read.session() {
            let stream: &TcpStream = self.write.as_ref();
            let out = || stream.try_io(Interest::WRITABLE, || session.write_out(stream.as_fd()));
            while session.wants_write() && out().is_ok() {}
        }
        if self.buffered.is_empty() {
            return self.read.poll_read(cx, room);
        }
        let n = self.buffered.filled().len().min(room.remaining());
        room.put_slice(&self.buffered.filled()[..n]);
        self.buffered.consume(n);
        if self.buffered.is_empty() {
            self.buffered = Buffer::none();
        }
        Poll::Ready(Ok(()))
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let Some(session) = self.read.session() else {
            return Pin::new(&mut self.write).poll_write(cx, bytes);
        };
        // What was sealed before leaves first; what is sealed now may wait for the next call, or a flush.
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
        room: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.way {
            Way::Socket(socket) => socket.poll_read(cx, room),
            Way::Stream(stream) => stream.poll_read(cx, room),
        }
    }
}

impl AsyncWrite for Upgraded {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.way {
            Way::Socket(socket) => socket.poll_write(cx, bytes),
            Way::Stream(stream) => stream.poll_write(cx, bytes),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.way {
            Way::Socket(socket) => socket.poll_flush(cx),
            // It leaves with the connection's other streams.
            Way::Stream(_) => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.way {
            Way::Socket(socket) => socket.poll_shutdown(cx),
            Way::Stream(stream) => Poll::Ready(stream.shutdown()),
        }
    }
}

/// In a request's extensions; cloned with them, taken once.
#[derive(Clone)]
struct Slot(Arc<Mutex<Option<oneshot::Receiver<Upgraded>>>>);

/// The engine's end of the promise.
pub(crate) struct Promise(oneshot::Sender<Upgraded>);

impl Promise {
    pub(crate) fn put<B>(request: &mut Request<B>) -> Promise {
        let (sender, receiver) = oneshot::channel();
        request.extensions_mut().insert(Slot(Arc::new(Mutex::new(Some(receiver)))));
        Promise(sender)
    }

    /// Hands the connection over; it is closed if nobody waits for it.
    pub(crate) fn keep(self, connection: Upgraded) {
        let _ = self.0.send(connection);
    }
}
