//! The slow path: a content's bytes as an ordinary `http_body::Body`, for servers that know no
//! spans.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderValue;
use http_body::{Body, Frame, SizeHint};
use parking_lot::Mutex;

use crate::outgoing::OutgoingSlot;
use crate::{DeliveryWatch, Evidence, FeedSpan, Outgoing, Span, SpanError};

/// The body of a response that [`crate::Content::respond`] made.
///
/// An engine that knows [`Outgoing`] never polls it. Elsewhere it copies: files are read in chunks,
/// on threads that may block, and an error in the middle ends the body with that error, on which
/// every HTTP server aborts the connection.
///
/// Calls to an [`crate::Observer`] under such a server:
/// - `sent` and `completed` mean handed to that server, which has buffers of its own: the evidence
///   is [`crate::Evidence::Sent`], and acknowledged bytes are unknown. Both come with the last
///   chunk, because servers do not poll a body after that.
/// - An empty content is `started`, `completed`, `cleanup` when the body is polled or dropped,
///   whichever comes first.
/// - A body dropped before its first poll has delivered nothing: there is no call. One dropped
///   later is `aborted` with [`crate::AbortReason::Dropped`].
pub struct ContentBody {
    slot: Option<Arc<Mutex<Option<Outgoing>>>>,
    /// Apart, because an engine that takes the [`Outgoing`] never needs it.
    sending: Option<Box<CopiedDelivery>>,
    left: u64,
}

struct CopiedDelivery {
    outgoing: Outgoing,
    current: Option<FeedSpan>,
    watch: DeliveryWatch,
}

impl ContentBody {
    /// A body without bytes.
    #[must_use]
    pub fn empty() -> ContentBody {
        ContentBody { slot: None, sending: None, left: 0 }
    }

    /// A body for `outgoing`, and the slot from which an engine may take it first.
    /// `encoding` is the content's own `Content-Encoding`.
    pub(crate) fn new(outgoing: Outgoing, encoding: Option<HeaderValue>) -> (ContentBody, OutgoingSlot) {
        let left = outgoing.len();
        let outgoing = Arc::new(Mutex::new(Some(outgoing)));
        let slot = OutgoingSlot { outgoing: Arc::clone(&outgoing), encoding };
        (ContentBody { slot: Some(outgoing), sending: None, left }, slot)
    }

    /// Takes the bytes to send out of the slot, unless an engine has taken them, and begins the
    /// delivery.
    fn begin(&mut self) {
        let Some(slot) = self.slot.take() else { return };
        let taken = slot.lock().take();
        self.sending = taken.map(|mut outgoing| {
            let mut watch = outgoing.watch();
            watch.started();
            Box::new(CopiedDelivery { outgoing, current: None, watch })
        });
    }

    /// Ends the delivery.
    fn complete(&mut self) {
        if let Some(sending) = self.sending.take() {
            sending.watch.completed(Evidence::Sent);
        }
    }
}

impl Drop for ContentBody {
    /// Some servers, hyper among them, do not poll a body that reports its end. So the delivery of
    /// an empty content takes place here, unless it has before.
    fn drop(&mut self) {
        if self.left == 0 {
            self.begin();
            self.complete();
        }
    }
}

impl CopiedDelivery {
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, SpanError>>> {
        loop {
            if let Some(current) = &mut self.current {
                match ready!(current.feed.poll_next(cx)) {
                    Some(Ok(mut chunk)) => {
                        chunk.truncate(usize::try_from(current.len).unwrap_or(usize::MAX));
                        current.len -= chunk.len() as u64;
                        if current.len == 0 {
                            self.current = None;
                        }
                        return Poll::Ready(Some(Ok(chunk)));
                    }
                    Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                    None => {
                        let missing = current.len;
                        return Poll::Ready(Some(Err(SpanError::Truncated {
                            name: "a feed".to_owned(),
                            offset: 0,
                            missing,
                        })));
                    }
                }
            }
            match self.outgoing.next_span() {
                None => return Poll::Ready(None),
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                Some(Ok(Span::Memory(bytes))) => return Poll::Ready(Some(Ok(bytes))),
                Some(Ok(Span::File(file))) => {
                    let feed = file.file.feed(file.offset, file.len);
                    self.current = Some(FeedSpan { feed, len: file.len });
                }
                Some(Ok(Span::Feed(feed))) => self.current = Some(feed),
            }
        }
    }
}

impl Body for ContentBody {
    type Data = Bytes;
    type Error = SpanError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, SpanError>>> {
        self.begin();
        let Some(sending) = &mut self.sending else { return Poll::Ready(None) };
        match ready!(sending.poll_chunk(cx)) {
            Some(Ok(chunk)) => {
                sending.watch.sent(chunk.len() as u64);
                self.left -= chunk.len() as u64;
                if self.left == 0 {
                    self.complete();
                }
                Poll::Ready(Some(Ok(Frame::data(chunk))))
            }
            Some(Err(error)) => {
                if let Some(sending) = self.sending.take() {
                    sending.watch.failed(&error);
                }
                Poll::Ready(Some(Err(error)))
            }
            None => {
                self.complete();
                Poll::Ready(None)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
