//! Handing one body over to its stream.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

use bytes::{Buf as _, Bytes};
use h2::{Reason, SendStream};
use http_body::Body;
use outflow_content::{AbortReason, Watch};

use super::deliveries::Place;
use super::line::Line;
use super::pieces::Pieces;
use super::stream::Client;
use crate::connection::buffer::BUFFER_BYTES;
use crate::connection::timer::Timer;
use crate::listen::Shared;

/// What is handed over at a time.
pub(crate) const PIECE: usize = BUFFER_BYTES;

/// How a stream ended.
pub(crate) enum Outcome {
    Done,
    /// The client did not want it any more.
    Reset,
}

/// Why a body did not leave whole.
pub(crate) enum Failure {
    /// The client has reset the stream, or the connection is gone.
    Gone(Option<Reason>),
    /// The client took nothing for too long.
    Stalled,
    /// The content or the service's body failed.
    Content(Option<outflow_content::SpanError>),
}

/// Hands one body over, as fast as the client's windows and the line take it.
pub(crate) struct Sender<'a> {
    line: &'a Line,
    body: SendStream<Bytes>,
    stream: u32,
    left: Option<tokio::sync::oneshot::Receiver<()>>,
    timer: Timer,
    /// It is known how it ended.
    over: bool,
}

/// Why a delivery ended whose client has reset its stream, or is gone.
pub(crate) fn gone(reason: Option<Reason>) -> AbortReason {
    AbortReason::Disconnected(match reason {
        Some(reason) => format!("stream reset: {reason}"),
        None => "the connection ended".to_owned(),
    })
}

impl<'a> Sender<'a> {
    pub(crate) fn new<S>(
        shared: &Shared<S>,
        line: &'a Line,
        body: SendStream<Bytes>,
        watch: Option<(Watch, Place)>,
    ) -> Sender<'a> {
        let stream = body.stream_id().as_u32();
        let left = Some(line.begin(stream, watch));
        let mut timer = Timer::paced(&shared.options);
        timer.set(shared.options.stall_timeout);
        Sender { line, body, stream, left, timer, over: false }
    }

    pub(crate) async fn pieces(
        &mut self,
        pieces: &mut Pieces,
        first: Bytes,
        length: u64,
        mut count: impl FnMut(u64),
    ) -> Result<(), Failure> {
        let (mut piece, mut left) = (first, length);
        loop {
            left = left.saturating_sub(piece.len() as u64);
            count(piece.len() as u64);
            let sending = self.data(piece, left == 0);
            pieces.during(sending).await?;
            if left == 0 {
                return self.last_left().await;
            }
            piece = match self.unless_gone(pieces.next(PIECE)).await? {
                Ok(Some(piece)) => piece,
                Ok(None) => return Err(Failure::Content(None)),
                Err(error) => return Err(Failure::Content(Some(error))),
            };
        }
    }

    pub(crate) async fn frames<B>(
        &mut self,
        mut body: std::pin::Pin<&mut B>,
        length: Option<u64>,
        client: &Client,
        mut count: impl FnMut(u64),
    ) -> Result<(), Failure>
    where
        B: Body<Error: std::fmt::Display>,
    {
        let mut left = length;
        let failed = |why: &dyn std::fmt::Display| {
            tracing::warn!(client = %client.peer(), error = %why, "response cut: its body failed");
            Failure::Content(None)
        };
        // One piece is held back, so that the last one says that it is. What fails behind it must not look whole.
        let mut held = Bytes::new();
        loop {
            let next = {
                let frame = poll_fn(|cx| body.as_mut().poll_frame(cx));
                let mut frame = pin!(frame);
                let at_once = poll_fn(|cx| match frame.as_mut().poll(cx) {
                    Poll::Ready(frame) => Poll::Ready(Some(frame)),
                    Poll::Pending => Poll::Ready(None),
                });
                match at_once.await {
                    Some(frame) => frame,
                    None => {
                        // What there is goes out while the body makes more.
                        if !held.is_empty() && left != Some(0) {
                            self.data(std::mem::take(&mut held), false).await?;
                        }
                        let frame = self.unless_gone(frame).await?;
                        self.timer.renew();
                        frame
                    }
                }
            };
            match next {
                None if left.is_some_and(|left| left > 0) => {
                    return Err(failed(&format_args!("{} bytes shorter than announced", left.unwrap_or(0))));
                }
                None => {
                    self.data(held, true).await?;
                    return self.last_left().await;
                }
                Some(Err(error)) => return Err(failed(&error)),
                Some(Ok(frame)) => {
                    let Ok(mut data) = frame.into_data() else { continue };
                    let bytes = data.copy_to_bytes(data.remaining());
                    if let Some(left) = &mut left {
                        let Some(rest) = left.checked_sub(bytes.len() as u64) else {
                            return Err(failed(&"longer than announced"));
                        };
                        *left = rest;
                    }
                    count(bytes.len() as u64);
                    if !held.is_empty() {
                        self.data(std::mem::replace(&mut held, bytes), false).await?;
                    } else {
                        held = bytes;
                    }
                }
            }
        }
    }

    /// Hands `bytes` over when the client's windows and the line have room.
    async fn data(&mut self, mut bytes: Bytes, last: bool) -> Result<(), Failure> {
        let room = self.line.room();
        loop {
            let most = if bytes.is_empty() { 0 } else { self.window(bytes.len().min(PIECE)).await? };
            let piece = bytes.split_to(most);
            let count = u32::try_from(most).unwrap_or(u32::MAX);
            let permits = self.in_time(room.acquire_many(count)).await?;
            // The semaphore is never closed.
            if let Ok(permits) = permits {
                permits.forget();
                self.line.queue(self.stream, most);
            }
            let ends = last && bytes.is_empty();
            self.body.send_data(piece, ends).map_err(|_| Failure::Gone(None))?;
            self.timer.progress(most as u64);
            if bytes.is_empty() {
                return Ok(());
            }
        }
    }

    /// Waits for the client's windows to have room for some of so many bytes.
    async fn window(&mut self, bytes: usize) -> Result<usize, Failure> {
        self.body.reserve_capacity(bytes);
        poll_fn(|cx| {
            let room = self.body.capacity();
            if room > 0 {
                return Poll::Ready(Ok(room.min(bytes)));
            }
            match self.body.poll_capacity(cx) {
                Poll::Ready(Some(Ok(room))) if room > 0 => return Poll::Ready(Ok(room.min(bytes))),
                Poll::Ready(Some(Ok(_))) => {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(Failure::Gone(error.reason()))),
                Poll::Ready(None) => return Poll::Ready(Err(Failure::Gone(None))),
                Poll::Pending => {}
            }
            self.timer.poll_expired(cx).map(|()| Err(Failure::Stalled))
        })
        .await
    }

    /// Waits for what the client has to make room for.
    async fn in_time<T>(&mut self, work: impl Future<Output = T>) -> Result<T, Failure> {
        let mut work = pin!(work);
        poll_fn(|cx| {
            if let Poll::Ready(done) = work.as_mut().poll(cx) {
                return Poll::Ready(Ok(done));
            }
            if let Poll::Ready(reset) = self.body.poll_reset(cx) {
                return Poll::Ready(Err(Failure::Gone(reset.ok())));
            }
            self.timer.poll_expired(cx).map(|()| Err(Failure::Stalled))
        })
        .await
    }

    /// Waits for what the client waits for, too.
    async fn unless_gone<T>(&mut self, work: impl Future<Output = T>) -> Result<T, Failure> {
        let mut work = pin!(work);
        let done = poll_fn(|cx| {
            if let Poll::Ready(done) = work.as_mut().poll(cx) {
                return Poll::Ready(Ok(done));
            }
            self.body.poll_reset(cx).map(|reset| Err(Failure::Gone(reset.ok())))
        })
        .await;
        // The client was not to blame for this wait.
        self.timer.renew();
        done
    }

    /// Waits until the last byte has left; from there on the line follows it.
    async fn last_left(&mut self) -> Result<(), Failure> {
        let Some(left) = self.left.take() else { return Ok(()) };
        self.in_time(left).await.map(|_| ())
    }

    pub(crate) fn end(mut self, sent: Result<(), Failure>) -> Outcome {
        self.over = true;
        let Err(failure) = sent else { return Outcome::Done };
        let watch = self.line.give_up(self.stream);
        let tell = |watch: Option<Watch>, reason: &AbortReason| {
            if let Some(watch) = watch {
                watch.aborted(reason);
            }
        };
        match failure {
            Failure::Gone(reason) => {
                tell(watch, &gone(reason));
                Outcome::Reset
            }
            Failure::Stalled => {
                self.body.send_reset(Reason::CANCEL);
                tell(watch, &AbortReason::Stalled);
                Outcome::Done
            }
            Failure::Content(error) => {
                // A body that was cut can never pass for a complete one.
                self.body.send_reset(Reason::INTERNAL_ERROR);
                match (watch, error) {
                    (Some(watch), Some(error)) => watch.failed(&error),
                    (watch, _) => tell(watch, &AbortReason::Dropped),
                }
                Outcome::Done
            }
        }
    }
}

/// Dropped before the end: the service's body panics, or nobody wants the stream any more. What waits on the line for a
/// body that does not come would keep the connection for ever.
impl Drop for Sender<'_> {
    fn drop(&mut self) {
        if self.over {
            return;
        }
        // Unlike what a dropped stream says by itself, this is an error to every client.
        self.body.send_reset(Reason::INTERNAL_ERROR);
        self.line.forsake(self.stream);
    }
}
