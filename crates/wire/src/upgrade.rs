//! Connections that stop being HTTP: after `101 Switching Protocols`, or a 2xx answer to `CONNECT`.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use http::Request;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::oneshot;

use crate::buffer::Buffer;

/// Takes the promise of the raw connection out of a request that asked for an upgrade (RFC 9110 section
/// 7.8) or for a tunnel (`CONNECT`). `None` for any other request.
///
/// The promise is kept once the service's response with status 101 (or 2xx to a `CONNECT`) has left.
pub fn on<B>(request: &mut Request<B>) -> Option<OnUpgrade> {
    let slot = request.extensions_mut().remove::<Slot>()?;
    slot.0.lock().unwrap_or_else(PoisonError::into_inner).take().map(OnUpgrade)
}

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

/// The raw connection, beginning with whatever the client had sent behind its request.
pub struct Upgraded {
    read: OwnedReadHalf,
    write: OwnedWriteHalf,
    buffered: Buffer,
}

impl AsyncRead for Upgraded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.buffered.is_empty() {
            return Pin::new(&mut self.read).poll_read(cx, buf);
        }
        let n = self.buffered.filled().len().min(buf.remaining());
        buf.put_slice(&self.buffered.filled()[..n]);
        self.buffered.consume(n);
        if self.buffered.is_empty() {
            self.buffered = Buffer::none();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Upgraded {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.write).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.write).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.write).poll_shutdown(cx)
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
    pub(crate) fn keep(self, (read, write): (OwnedReadHalf, OwnedWriteHalf), mut buffered: Buffer) {
        if buffered.is_empty() {
            buffered = Buffer::none();
        }
        let _ = self.0.send(Upgraded { read, write, buffered });
    }
}
