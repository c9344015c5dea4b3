//! A request's body, read from the socket as the service asks for it.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use h2::RecvStream;
use http_body::{Body, Frame, SizeHint};
use rustix::net::SendFlags;
use tokio::io::{Interest, ReadBuf};
use tokio::time::Sleep;

use crate::connection::buffer::Buffer;
use crate::http1::head::Framing;
use crate::message::chunked::{Chunked, Step};
use crate::tls::Reader;

/// The body of a request. Nothing is read from the client before the service polls for it; a client that
/// sent `Expect: 100-continue` is told to go on at that moment.
///
/// A body that was not read to its end by the time the response has left costs the connection.
#[derive(Default)]
pub struct RequestBody {
    from: From,
    length: Option<u64>,
}

/// Where a body comes from.
#[derive(Default)]
enum From {
    /// There is none.
    #[default]
    Nowhere,
    Connection(Arc<Mutex<Incoming>>),
    Stream(Box<Stream>),
}

/// A stream's reading side (RFC 9113).
struct Stream {
    read: RecvStream,
    stall_timeout: Duration,
    stall: Option<Pin<Box<Sleep>>>,
}

/// Why a request's body ended before its end.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The connection failed or ended.
    #[error("the client's connection failed within the request's body: {0}")]
    Io(#[from] io::Error),
    /// The chunked framing is malformed.
    #[error("malformed chunked body: {0}")]
    Malformed(&'static str),
    /// The client has reset the stream, or broken its rules.
    #[error("the client's stream failed within the request's body: {0}")]
    Stream(String),
    /// The client sent nothing for longer than the stall timeout.
    #[error("the client sent nothing for {} seconds within the request's body", .0.as_secs())]
    Stalled(Duration),
}

/// The socket's reading side while a request's body is on its way.
pub(crate) struct Incoming {
    read: Reader,
    buffer: Buffer,
    state: Reading,
    expect_continue: bool,
    /// Bytes that were written to the connection from here.
    written: u64,
    stall_timeout: Duration,
    stall: Option<Pin<Box<Sleep>>>,
}

enum Reading {
    Length(u64),
    Chunked(Chunked),
    Done,
    Failed,
}

/// The connection's handle on the body: gives the reading side back when the response has left.
pub(crate) struct BodyHandle(Arc<Mutex<Incoming>>);

impl RequestBody {
    /// A body of nothing.
    #[must_use]
    pub fn empty() -> RequestBody {
        RequestBody::default()
    }

    /// `length`: what its head announces, which h2 watches over.
    pub(crate) fn of_stream(read: RecvStream, length: Option<u64>, stall_timeout: Duration) -> RequestBody {
        if read.is_end_stream() {
            return RequestBody::empty();
        }
        RequestBody { from: From::Stream(Box::new(Stream { read, stall_timeout, stall: None })), length }
    }

    pub(crate) fn new(
        read: Reader,
        buffer: Buffer,
        framing: Framing,
        expect_continue: bool,
        stall_timeout: Duration,
    ) -> (RequestBody, BodyHandle) {
        let (state, length) = match framing {
            Framing::Length(0) => (Reading::Done, Some(0)),
            Framing::Length(n) => (Reading::Length(n), Some(n)),
            Framing::Chunked => (Reading::Chunked(Chunked::new()), None),
        };
        let incoming =
            Incoming { read, buffer, state, expect_continue, written: 0, stall_timeout, stall: None };
        let incoming = Arc::new(Mutex::new(incoming));
        (RequestBody { from: From::Connection(Arc::clone(&incoming)), length }, BodyHandle(incoming))
    }
}

impl BodyHandle {
    /// True when the body has been read to its end.
    pub(crate) fn is_done(&self) -> bool {
        matches!(self.0.lock().unwrap_or_else(PoisonError::into_inner).state, Reading::Done)
    }

    /// The final response begins: a client that was not told to go on is not told any more, for the words
    /// would stand in the middle of that response.
    /// Gives back how many bytes were written to the connection until now.
    pub(crate) fn response_begins(&self) -> u64 {
        let mut incoming = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        incoming.expect_continue = false;
        incoming.written
    }

    /// The reading side and what was read beyond the body; `None` for the second when the body was not
    /// read to its end. `None` altogether when the service still holds the body.
    pub(crate) fn finish(self) -> Option<(Reader, Option<Buffer>)> {
        let incoming = Arc::into_inner(self.0)?.into_inner().unwrap_or_else(PoisonError::into_inner);
        let rest = matches!(incoming.state, Reading::Done).then_some(incoming.buffer);
        Some((incoming.read, rest))
    }
}

impl Incoming {
    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        loop {
            if !self.buffer.is_empty() {
                match self.take_data() {
                    Ok(Some(data)) => return Poll::Ready(Some(Ok(data))),
                    Ok(None) => {}
                    Err(reason) => {
                        self.state = Reading::Failed;
                        return Poll::Ready(Some(Err(BodyError::Malformed(reason))));
                    }
                }
            }
            if matches!(self.state, Reading::Done | Reading::Failed) {
                return Poll::Ready(None);
            }
            if !self.buffer.is_empty() {
                continue;
            }
            if let Err(error) = ready!(self.poll_fill(cx)) {
                self.state = Reading::Failed;
                return Poll::Ready(Some(Err(error)));
            }
        }
    }

    /// Data from the buffer, or progress in the framing.
    fn take_data(&mut self) -> Result<Option<Bytes>, &'static str> {
        let filled = self.buffer.filled();
        let n = match &mut self.state {
            Reading::Done | Reading::Failed => return Ok(None),
            Reading::Length(left) => {
                let n = usize::try_from(*left).unwrap_or(usize::MAX).min(filled.len());
                *left -= n as u64;
                n
            }
            Reading::Chunked(decoder) => match decoder.step(filled)? {
                Step::Data(n) => n,
                Step::Skip(n) => {
                    self.buffer.consume(n);
                    return Ok(None);
                }
                Step::End(n) => {
                    self.buffer.consume(n);
                    self.state = Reading::Done;
                    return Ok(None);
                }
            },
        };
        if matches!(self.state, Reading::Length(0)) {
            self.state = Reading::Done;
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
        if self.buffer.room() == 0 {
            self.buffer = Buffer::borrow();
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

    /// 25 bytes into a socket to which nothing has been written for this request: taken whole or, when an
    /// earlier response still fills the queue, waited for.
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

impl Stream {
    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        let failed = |error: h2::Error| BodyError::Stream(error.to_string());
        match self.read.poll_data(cx) {
            Poll::Ready(data) => {
                self.stall = None;
                let data = data.map(|data| data.map_err(failed));
                if let Some(Ok(data)) = &data {
                    // What the service has, the client may send again.
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
        let data = match &mut this.from {
            From::Nowhere => return Poll::Ready(None),
            From::Connection(incoming) => {
                let mut incoming = incoming.lock().unwrap_or_else(PoisonError::into_inner);
                ready!(incoming.poll_data(cx))
            }
            From::Stream(stream) => ready!(stream.poll_data(cx)),
        };
        if let (Some(Ok(data)), Some(left)) = (&data, &mut this.length) {
            *left = left.saturating_sub(data.len() as u64);
        }
        Poll::Ready(data.map(|data| data.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        match &self.from {
            From::Nowhere => true,
            From::Connection(_) => self.length == Some(0),
            From::Stream(stream) => stream.read.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self.length {
            Some(left) => SizeHint::with_exact(left),
            None if matches!(self.from, From::Nowhere) => SizeHint::with_exact(0),
            None => SizeHint::default(),
        }
    }
}
