//! Faults that an HTTP library cannot play: within the body's stream, and in the connection.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body::Frame;
use s3s::StdError;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};

use crate::s3::plan::Fault;
use crate::s3::state::{ActiveRequest, OpenConnection};

/// How a body wants its connection to end.
#[derive(Default)]
pub(crate) struct ConnectionEnd {
    /// Reset the connection instead of closing it.
    reset: AtomicBool,
    /// Bytes to send behind those of the HTTP library.
    junk: AtomicU64,
    /// The HTTP library has flushed all it had.
    flushed: AtomicBool,
}

impl ConnectionEnd {
    pub(crate) fn reset(&self) {
        self.reset.store(true, Ordering::Relaxed);
    }
}

/// A connection that can be reset, or carry bytes behind a response.
pub(crate) struct FaultyConnection {
    stream: TcpStream,
    ends: Arc<ConnectionEnd>,
    _opened: OpenConnection,
}

impl FaultyConnection {
    pub(crate) fn new(
        stream: TcpStream,
        ends: Arc<ConnectionEnd>,
        opened: OpenConnection,
    ) -> FaultyConnection {
        FaultyConnection { stream, ends, _opened: opened }
    }
}

impl AsyncRead for FaultyConnection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for FaultyConnection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.ends.flushed.store(false, Ordering::Relaxed);
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.ends.flushed.store(false, Ordering::Relaxed);
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// Called when everything was written.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let junk = self.ends.junk.load(Ordering::Relaxed);
            if junk == 0 {
                break;
            }
            let piece = [b'?'; 4096];
            let len = junk.min(piece.len() as u64) as usize;
            let written = ready!(Pin::new(&mut self.stream).poll_write(cx, &piece[..len]))?;
            self.ends.junk.store(junk - written as u64, Ordering::Relaxed);
        }
        self.ends.flushed.store(true, Ordering::Relaxed);
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl Drop for FaultyConnection {
    fn drop(&mut self) {
        if self.ends.reset.load(Ordering::Relaxed) {
            let _ = self.stream.set_zero_linger();
        }
    }
}

/// A fault at one byte of a body.
enum FaultEvent {
    Reset,
    Close,
    Stall(Option<Duration>),
    Flip,
}

/// A response's body with its fault.
pub(crate) struct FaultyBody {
    inner: Pin<Box<s3s::Body>>,
    /// Taken from `inner`, and not yet sent.
    rest: Bytes,
    sent: u64,
    /// Bytes of the object to send: fewer than `inner` has if the end is to be missing.
    len: u64,
    event: Option<(u64, FaultEvent)>,
    /// Bytes to send behind `inner`.
    extra: u64,
    /// Bytes to send behind the response.
    junk: u64,
    pace: Option<RateLimit>,
    timer: Option<Pin<Box<Sleep>>>,
    ends: Arc<ConnectionEnd>,
    active: ActiveRequest,
}

/// A limit of the rate.
struct RateLimit {
    start: Instant,
    rate: u64,
}

impl FaultyBody {
    /// `len` bytes of `inner`, at most `rate` per second (0: no limit).
    pub(crate) fn new(
        inner: s3s::Body,
        len: u64,
        fault: Option<Fault>,
        rate: u64,
        ends: Arc<ConnectionEnd>,
        active: ActiveRequest,
    ) -> FaultyBody {
        let event = match fault {
            Some(Fault::Reset { at }) => Some((at.within(len), FaultEvent::Reset)),
            Some(Fault::Close { at }) => Some((at.within(len), FaultEvent::Close)),
            Some(Fault::Stall { at, ms }) => {
                Some((at.within(len), FaultEvent::Stall(ms.map(Duration::from_millis))))
            }
            Some(Fault::FlipBit { at }) => Some((at.within(len), FaultEvent::Flip)),
            _ => None,
        };
        let (mut extra, mut missing, mut junk) = (0, 0, 0);
        match fault {
            Some(Fault::Long { extra: bytes }) => extra = bytes,
            Some(Fault::Short { missing: bytes }) => missing = bytes,
            Some(Fault::Junk { extra: bytes }) => junk = bytes,
            _ => {}
        }
        // The head has not left yet.
        ends.flushed.store(false, Ordering::Relaxed);
        FaultyBody {
            inner: Box::pin(inner),
            rest: Bytes::new(),
            sent: 0,
            len: len.saturating_sub(missing),
            event: event.filter(|(at, _)| *at < len),
            extra,
            junk,
            pace: (rate > 0).then(|| RateLimit { start: Instant::now(), rate }),
            timer: None,
            ends,
            active,
        }
    }

    fn sleep(&mut self, time: Duration, cx: &mut Context<'_>) {
        let mut timer = Box::pin(tokio::time::sleep(time));
        if timer.as_mut().poll(cx).is_pending() {
            self.timer = Some(timer);
        }
    }

    /// How many bytes may be sent now: up to the fault, and no more than the rate allows.
    fn room(&self) -> usize {
        let mut room = self.len - self.sent;
        match self.event {
            Some((at, FaultEvent::Flip)) if at == self.sent => room = 1,
            Some((at, _)) => room = room.min(at - self.sent),
            None => {}
        }
        if let Some(pace) = &self.pace {
            room = room.min((pace.rate / 50).max(1));
        }
        usize::try_from(room).unwrap_or(usize::MAX)
    }
}

impl http_body::Body for FaultyBody {
    type Data = Bytes;
    type Error = StdError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, StdError>>> {
        let this = &mut *self;
        loop {
            if let Some(timer) = &mut this.timer {
                ready!(timer.as_mut().poll(cx));
                this.timer = None;
            }
            if let Some((at, event)) = &this.event
                && *at == this.sent
            {
                match event {
                    FaultEvent::Reset | FaultEvent::Close if !this.ends.flushed.load(Ordering::Relaxed) => {
                        // The bytes before it have to leave first: a reset would discard them.
                        this.sleep(Duration::from_millis(2), cx);
                        continue;
                    }
                    FaultEvent::Reset => {
                        this.ends.reset();
                        return Poll::Ready(Some(Err("the plan resets the connection".into())));
                    }
                    FaultEvent::Close => return Poll::Ready(None),
                    // Never woken: ends when the client closes.
                    FaultEvent::Stall(None) => return Poll::Pending,
                    FaultEvent::Stall(Some(time)) => {
                        let time = *time;
                        this.event = None;
                        this.sleep(time, cx);
                        continue;
                    }
                    FaultEvent::Flip => {}
                }
            }
            if let Some(pace) = &this.pace {
                let due = pace.start + Duration::from_secs_f64(this.sent as f64 / pace.rate as f64);
                let wait = due.saturating_duration_since(Instant::now());
                if wait > Duration::from_millis(1) {
                    this.sleep(wait, cx);
                    continue;
                }
            }
            if this.sent == this.len {
                if this.extra == 0 {
                    return Poll::Ready(None);
                }
                let len = this.extra.min(64 * 1024);
                this.extra -= len;
                return Poll::Ready(Some(Ok(Frame::data(vec![b'?'; len as usize].into()))));
            }
            if this.rest.is_empty() {
                match ready!(this.inner.as_mut().poll_frame(cx)) {
                    Some(Ok(frame)) => this.rest = frame.into_data().unwrap_or_default(),
                    other => return Poll::Ready(other),
                }
                continue;
            }
            let mut piece = this.rest.split_to(this.room().min(this.rest.len()));
            if let Some((at, FaultEvent::Flip)) = this.event
                && at == this.sent
            {
                let mut wrong = BytesMut::from(&piece[..]);
                wrong[0] ^= 1;
                piece = wrong.freeze();
                this.event = None;
            }
            this.sent += piece.len() as u64;
            this.active.sent(piece.len() as u64);
            this.ends.flushed.store(false, Ordering::Relaxed);
            if this.sent == this.len {
                // hyper polls no further than the length it knows, and flushes after this piece.
                this.ends.junk.store(this.junk, Ordering::Relaxed);
            }
            return Poll::Ready(Some(Ok(Frame::data(piece))));
        }
    }
}
