//! A request's body, read as the service polls it.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use h2::RecvStream;
use http_body::{Body, Frame, SizeHint};
use parking_lot::Mutex;
use rustix::net::SendFlags;
use tokio::io::{Interest, ReadBuf};
use tokio::time::Sleep;

use crate::connection::buffer::PooledBuffer;
use crate::message::chunked::{ChunkStep, Chunked};
use crate::message::framing::RequestFraming;
use crate::tls::TransportReader;

/// The body of a request. The engine reads nothing of it before the service polls; a client that
/// sent `Expect: 100-continue` gets its `100 Continue` at that moment.
///
/// If the body has not been read to its end when the response has left, the connection is closed.
#[derive(Default)]
pub struct RequestBody {
    source: BodySource,
    length: Option<u64>,
}

/// What a body is read from.
#[derive(Default)]
enum BodySource {
    /// The body is empty.
    #[default]
    Empty,
    Connection(Arc<Mutex<BodyReader>>),
    Stream(Box<RequestStream>),
}

/// A stream's reading side (RFC 9113).
struct RequestStream {
    read: RecvStream,
    stall_timeout: Duration,
    stall: Option<Pin<Box<Sleep>>>,
}

/// Why a request's body could not be read to its end.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The connection failed or ended.
    #[error("the client's connection failed within the request's body: {0}")]
    Io(#[from] io::Error),
    /// The chunked framing is malformed.
    #[error("malformed chunked body: {0}")]
    Malformed(&'static str),
    /// The client has reset the stream, or violated the protocol.
    #[error("the client's stream failed within the request's body: {0}")]
    Stream(String),
    /// The client sent nothing for longer than the stall timeout.
    #[error("the client sent nothing for {} seconds within the request's body", .0.as_secs())]
    Stalled(Duration),
}

/// The socket's reading side while a request's body is on its way.
pub(crate) struct BodyReader {
    read: TransportReader,
    buffer: PooledBuffer,
    progress: BodyProgress,
    expect_continue: bool,
    /// Bytes written to the connection from here: `100 Continue`.
    written: u64,
    stall_timeout: Duration,
    stall: Option<Pin<Box<Sleep>>>,
}

/// How far the body has been read.
enum BodyProgress {
    Length(u64),
    Chunked(Chunked),
    Done,
    Failed,
}

/// The connection's handle on the body. Returns the reading side when the response has left.
pub(crate) struct BodyHandle(Arc<Mutex<BodyReader>>);

impl RequestBody {
    /// An empty body.
    #[must_use]
    pub fn empty() -> RequestBody {
        RequestBody::default()
    }

    /// The body of a stream. Its head announces `length`, which h2 enforces.
    pub(crate) fn of_stream(read: RecvStream, length: Option<u64>, stall_timeout: Duration) -> RequestBody {
        if read.is_end_stream() {
            return RequestBody::empty();
        }
        RequestBody {
            source: BodySource::Stream(Box::new(RequestStream { read, stall_timeout, stall: None })),
            length,
        }
    }

    pub(crate) fn new(
        read: TransportReader,
        buffer: PooledBuffer,
        framing: RequestFraming,
        expect_continue: bool,
        stall_timeout: Duration,
    ) -> (RequestBody, BodyHandle) {
        let (progress, length) = match framing {
            RequestFraming::Length(0) => (BodyProgress::Done, Some(0)),
            RequestFraming::Length(n) => (BodyProgress::Length(n), Some(n)),
            RequestFraming::Chunked => (BodyProgress::Chunked(Chunked::new()), None),
        };
        let incoming =
            BodyReader { read, buffer, progress, expect_continue, written: 0, stall_timeout, stall: None };
        let incoming = Arc::new(Mutex::new(incoming));
        (RequestBody { source: BodySource::Connection(Arc::clone(&incoming)), length }, BodyHandle(incoming))
    }
}

impl BodyHandle {
    /// True when the body has been read to its end.
    pub(crate) fn is_done(&self) -> bool {
        matches!(self.0.lock().progress, BodyProgress::Done)
    }

    /// The final response begins: from now on no `100 Continue` is sent, which would end up in the
    /// middle of it. Gives the number of bytes written to the connection until now.
    pub(crate) fn response_begins(&self) -> u64 {
        let mut incoming = self.0.lock();
        incoming.expect_continue = false;
        incoming.written
    }

    /// The reading side and what was read beyond the body, `None` for the second if the body was
    /// not read to its end. `None` altogether if the service still holds the body.
    pub(crate) fn finish(self) -> Option<(TransportReader, Option<PooledBuffer>)> {
        let incoming = Arc::into_inner(self.0)?.into_inner();
        let rest = matches!(incoming.progress, BodyProgress::Done).then_some(incoming.buffer);
        Some((incoming.read, rest))
    }
}

impl BodyReader {
    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        loop {
            if !self.buffer.is_empty() {
                match self.take_data() {
                    Ok(Some(data)) => return Poll::Ready(Some(Ok(data))),
                    Ok(None) => {}
                    Err(reason) => {
                        self.progress = BodyProgress::Failed;
                        return Poll::Ready(Some(Err(BodyError::Malformed(reason))));
                    }
                }
            }
            if matches!(self.progress, BodyProgress::Done | BodyProgress::Failed) {
                return Poll::Ready(None);
            }
            if !self.buffer.is_empty() {
                continue;
            }
            if let Err(error) = ready!(self.poll_fill(cx)) {
                self.progress = BodyProgress::Failed;
                return Poll::Ready(Some(Err(error)));
            }
        }
    }

    /// Data from the buffer, or progress in the framing.
    fn take_data(&mut self) -> Result<Option<Bytes>, &'static str> {
        let filled = self.buffer.filled();
        let n = match &mut self.progress {
            BodyProgress::Done | BodyProgress::Failed => return Ok(None),
            BodyProgress::Length(left) => {
                let n = usize::try_from(*left).unwrap_or(usize::MAX).min(filled.len());
                *left -= n as u64;
                n
            }
            BodyProgress::Chunked(decoder) => match decoder.step(filled)? {
                ChunkStep::Data(n) => n,
                ChunkStep::Skip(n) => {
                    self.buffer.consume(n);
                    return Ok(None);
                }
                ChunkStep::End(n) => {
                    self.buffer.consume(n);
                    self.progress = BodyProgress::Done;
                    return Ok(None);
                }
            },
        };
        if matches!(self.progress, BodyProgress::Length(0)) {
            self.progress = BodyProgress::Done;
        }
        let data = Bytes::copy_from_slice(&self.buffer.filled()[..n]);
        self.buffer.consume(n);
        Ok(Some(data))
    }

    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BodyError>> {
        if self.expect_continue {
            ready!(self.poll_continue(cx))?;
            self.expect_continue = false;
        }
        if self.buffer.capacity_left() == 0 {
            self.buffer = PooledBuffer::borrow();
        }
        let mut room = ReadBuf::new(self.buffer.spare());
        match self.read.poll_read(cx, &mut room)? {
            Poll::Ready(()) => {
                let n = room.filled().len();
                self.stall = None;
                if n == 0 {
                    return Poll::Ready(Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()));
                }
                self.buffer.fill(n);
                Poll::Ready(Ok(()))
            }
            Poll::Pending => {
                let timeout = self.stall_timeout;
                let stall = self.stall.get_or_insert_with(|| Box::pin(tokio::time::sleep(timeout)));
                ready!(stall.as_mut().poll(cx));
                Poll::Ready(Err(BodyError::Stalled(timeout)))
            }
        }
    }

    /// Sends 25 bytes to a socket to which nothing has been written for this request: the kernel
    /// takes them whole or, while an earlier response fills the queue, not at all.
    fn poll_continue(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";
        let stream = self.read.stream();
        if let Some(session) = self.read.session() {
            if !session.wants_write() {
                session.seal(&[io::IoSlice::new(CONTINUE)])?;
            }
            ready!(session.poll_write_out(cx, stream, &mut self.written))?;
            return Poll::Ready(Ok(()));
        }
        loop {
            ready!(stream.poll_write_ready(cx))?;
            let sent = stream
                .try_io(Interest::WRITABLE, || Ok(rustix::net::send(stream, CONTINUE, SendFlags::NOSIGNAL)?));
            match sent {
                Ok(n) if n == CONTINUE.len() => {
                    self.written += n as u64;
                    return Poll::Ready(Ok(()));
                }
                Ok(_) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl RequestStream {
    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        let failed = |error: h2::Error| BodyError::Stream(error.to_string());
        match self.read.poll_data(cx) {
            Poll::Ready(data) => {
                self.stall = None;
                let data = data.map(|data| data.map_err(failed));
                if let Some(Ok(data)) = &data {
                    // The client may send as much again as the service has read.
                    let _ = self.read.flow_control().release_capacity(data.len());
                }
                Poll::Ready(data)
            }
            Poll::Pending => {
                let timeout = self.stall_timeout;
                let stall = self.stall.get_or_insert_with(|| Box::pin(tokio::time::sleep(timeout)));
                ready!(stall.as_mut().poll(cx));
                Poll::Ready(Some(Err(BodyError::Stalled(timeout))))
            }
        }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        let data = match &mut this.source {
            BodySource::Empty => return Poll::Ready(None),
            BodySource::Connection(incoming) => {
                let mut incoming = incoming.lock();
                ready!(incoming.poll_data(cx))
            }
            BodySource::Stream(stream) => ready!(stream.poll_data(cx)),
        };
        if let (Some(Ok(data)), Some(left)) = (&data, &mut this.length) {
            *left = left.saturating_sub(data.len() as u64);
        }
        Poll::Ready(data.map(|data| data.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            BodySource::Empty => true,
            BodySource::Connection(_) => self.length == Some(0),
            BodySource::Stream(stream) => stream.read.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self.length {
            Some(left) => SizeHint::with_exact(left),
            None if matches!(self.source, BodySource::Empty) => SizeHint::with_exact(0),
            None => SizeHint::default(),
        }
    }
}
