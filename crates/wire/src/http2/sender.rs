//! One body, handed over to its stream.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::pin;
use std::task::Poll;

use bytes::{Buf as _, Bytes};
use h2::{Reason, SendStream};
use http_body::Body;
use outflow_content::{AbortReason, DeliveryWatch};

use super::deliveries::DeliveryPermit;
use super::pieces::BodyPieces;
use super::transport::Http2Transport;
use crate::connection::buffer::BUFFER_BYTES;
use crate::connection::timer::DeadlineTimer;
use crate::context::ThreadContext;

/// Maximum number of bytes handed over at a time.
///
/// Bound: HTTP/2.
pub(crate) const PIECE: usize = BUFFER_BYTES;

/// How a stream ended.
pub(crate) enum StreamOutcome {
    Done,
    /// The client has reset it.
    Reset,
}

/// Why a body did not leave whole.
pub(crate) enum StreamFailure {
    /// The client has reset the stream, or the connection is gone.
    Gone(Option<Reason>),
    /// The client took nothing for too long.
    Stalled,
    /// The content or the service's body failed.
    Content(Option<outflow_content::SpanError>),
}

/// Hands one body over, as fast as the client's windows and the transport take it.
pub(crate) struct StreamSender<'a> {
    transport: &'a Http2Transport,
    body: SendStream<Bytes>,
    stream: u32,
    left: Option<tokio::sync::oneshot::Receiver<()>>,
    timer: DeadlineTimer,
    has_ended: bool,
}

/// Why a delivery ended: the client has reset the stream, or is gone.
pub(crate) fn gone(reason: Option<Reason>) -> AbortReason {
    AbortReason::Disconnected(match reason {
        Some(reason) => format!("stream reset: {reason}"),
        None => "the connection ended".to_owned(),
    })
}

impl<'a> StreamSender<'a> {
    pub(crate) fn new<S>(
        context: &ThreadContext<S>,
        transport: &'a Http2Transport,
        body: SendStream<Bytes>,
        watch: Option<(DeliveryWatch, DeliveryPermit)>,
    ) -> StreamSender<'a> {
        let stream = body.stream_id().as_u32();
        let left = Some(transport.begin(stream, watch));
        let mut timer = DeadlineTimer::paced(&context.options);
        timer.set(context.options.stall_timeout);
        StreamSender { transport, body, stream, left, timer, has_ended: false }
    }

    pub(crate) async fn pieces(
        &mut self,
        pieces: &mut BodyPieces,
        first: Bytes,
        length: u64,
        mut count: impl FnMut(u64),
    ) -> Result<(), StreamFailure> {
        let (mut piece, mut left) = (first, length);
        loop {
            left = left.saturating_sub(piece.len() as u64);
            count(piece.len() as u64);
            let sending = self.data(piece, left == 0);
            pieces.with_backpressure(sending).await?;
            if left == 0 {
                return self.last_left().await;
            }
            piece = match self.unless_gone(pieces.next(PIECE)).await? {
                Ok(Some(piece)) => piece,
                Ok(None) => return Err(StreamFailure::Content(None)),
                Err(error) => return Err(StreamFailure::Content(Some(error))),
            };
        }
    }

    pub(crate) async fn frames<B>(
        &mut self,
        mut body: std::pin::Pin<&mut B>,
        length: Option<u64>,
        peer: SocketAddr,
        mut count: impl FnMut(u64),
    ) -> Result<(), StreamFailure>
    where
        B: Body<Error: std::fmt::Display>,
    {
        let mut left = length;
        let failed = |why: &dyn std::fmt::Display| {
            tracing::warn!(client = %peer, error = %why, "response cut: its body failed");
            StreamFailure::Content(None)
        };
        // One piece is held back, so that the last one ends the stream. A body that fails behind it
        // must not look whole.
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
                        // The bytes held leave while the body makes more.
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

    /// Hands `bytes` over when the client's windows and the transport have capacity.
    async fn data(&mut self, mut bytes: Bytes, last: bool) -> Result<(), StreamFailure> {
        let capacity = self.transport.capacity();
        loop {
            let len = if bytes.is_empty() { 0 } else { self.window(bytes.len().min(PIECE)).await? };
            let piece = bytes.split_to(len);
            let count = u32::try_from(len).unwrap_or(u32::MAX);
            let permits = self.in_time(capacity.acquire_many(count)).await?;
            // The semaphore is never closed.
            if let Ok(permits) = permits {
                permits.forget();
                self.transport.queue(self.stream, len);
            }
            let ends = last && bytes.is_empty();
            self.body.send_data(piece, ends).map_err(|_| StreamFailure::Gone(None))?;
            self.timer.progress(len as u64);
            if bytes.is_empty() {
                return Ok(());
            }
        }
    }

    /// Waits until the client's windows have capacity for some of `bytes` bytes.
    async fn window(&mut self, bytes: usize) -> Result<usize, StreamFailure> {
        self.body.reserve_capacity(bytes);
        poll_fn(|cx| {
            let capacity = self.body.capacity();
            if capacity > 0 {
                return Poll::Ready(Ok(capacity.min(bytes)));
            }
            match self.body.poll_capacity(cx) {
                Poll::Ready(Some(Ok(capacity))) if capacity > 0 => {
                    return Poll::Ready(Ok(capacity.min(bytes)));
                }
                Poll::Ready(Some(Ok(_))) => {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Poll::Ready(Some(Err(error))) => {
                    return Poll::Ready(Err(StreamFailure::Gone(error.reason())));
                }
                Poll::Ready(None) => return Poll::Ready(Err(StreamFailure::Gone(None))),
                Poll::Pending => {}
            }
            self.timer.poll_expired(cx).map(|()| Err(StreamFailure::Stalled))
        })
        .await
    }

    /// Waits for `work` that depends on the client, until the deadline.
    async fn in_time<T>(&mut self, work: impl Future<Output = T>) -> Result<T, StreamFailure> {
        let mut work = pin!(work);
        poll_fn(|cx| {
            if let Poll::Ready(done) = work.as_mut().poll(cx) {
                return Poll::Ready(Ok(done));
            }
            if let Poll::Ready(reset) = self.body.poll_reset(cx) {
                return Poll::Ready(Err(StreamFailure::Gone(reset.ok())));
            }
            self.timer.poll_expired(cx).map(|()| Err(StreamFailure::Stalled))
        })
        .await
    }

    /// Waits for `work` that the client waits for, too.
    async fn unless_gone<T>(&mut self, work: impl Future<Output = T>) -> Result<T, StreamFailure> {
        let mut work = pin!(work);
        let done = poll_fn(|cx| {
            if let Poll::Ready(done) = work.as_mut().poll(cx) {
                return Poll::Ready(Ok(done));
            }
            self.body.poll_reset(cx).map(|reset| Err(StreamFailure::Gone(reset.ok())))
        })
        .await;
        // The client was not to blame for this wait.
        self.timer.renew();
        done
    }

    /// Waits until the last byte has left; from there on the transport follows it.
    async fn last_left(&mut self) -> Result<(), StreamFailure> {
        let Some(left) = self.left.take() else { return Ok(()) };
        self.in_time(left).await.map(|_| ())
    }

    pub(crate) fn end(mut self, sent: Result<(), StreamFailure>) -> StreamOutcome {
        self.has_ended = true;
        let Err(failure) = sent else { return StreamOutcome::Done };
        let watch = self.transport.give_up(self.stream);
        let abort = |watch: Option<DeliveryWatch>, reason: &AbortReason| {
            if let Some(watch) = watch {
                watch.aborted(reason);
            }
        };
        match failure {
            StreamFailure::Gone(reason) => {
                abort(watch, &gone(reason));
                StreamOutcome::Reset
            }
            StreamFailure::Stalled => {
                self.body.send_reset(Reason::CANCEL);
                abort(watch, &AbortReason::Stalled);
                StreamOutcome::Done
            }
            StreamFailure::Content(error) => {
                // A body that was cut can never pass for a complete one.
                self.body.send_reset(Reason::INTERNAL_ERROR);
                match (watch, error) {
                    (Some(watch), Some(error)) => watch.failed(&error),
                    (watch, _) => abort(watch, &AbortReason::Dropped),
                }
                StreamOutcome::Done
            }
        }
    }
}

/// Dropped before the end: the service's body panics, or the stream is gone. A delivery that waited
/// on the transport for the rest of its body would keep the connection forever.
impl Drop for StreamSender<'_> {
    fn drop(&mut self) {
        if self.has_ended {
            return;
        }
        // Unlike the code of a dropped stream, this one is an error to every client.
        self.body.send_reset(Reason::INTERNAL_ERROR);
        self.transport.abandon(self.stream);
    }
}
