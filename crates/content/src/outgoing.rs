//! The exact bytes one response has to send, as pieces of memory and of a content's spans.

use std::collections::VecDeque;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, Response};
use parking_lot::Mutex;

use crate::{BodyMap, DeliveryWatch, Observer, Span, SpanError, Spans};

/// The bytes that one response has to send, and their observer.
///
/// [`crate::Content::respond`] makes it; an engine that sends span by span takes it out of the
/// response. Dropped before [`Outgoing::watch`], it was no delivery: the observer is not called.
pub struct Outgoing {
    /// The piece that is leaving. Apart from the rest, because most answers have only this one and
    /// need no list then.
    current: Option<OutgoingPiece>,
    rest: VecDeque<OutgoingPiece>,
    len: u64,
    content_len: u64,
    observer: Option<Box<dyn Observer>>,
}

pub(crate) enum OutgoingPiece {
    Memory(Bytes),
    Content(Arc<dyn Spans>, Range<u64>),
}

impl OutgoingPiece {
    fn len(&self) -> u64 {
        match self {
            OutgoingPiece::Memory(bytes) => bytes.len() as u64,
            OutgoingPiece::Content(_, range) => range.end - range.start,
        }
    }
}

impl Outgoing {
    /// Of a content of `content_len` bytes.
    pub(crate) fn new(
        content_len: u64,
        pieces: impl IntoIterator<Item = OutgoingPiece>,
        observer: Option<Box<dyn Observer>>,
    ) -> Outgoing {
        let mut pieces = pieces.into_iter().filter(|piece| piece.len() > 0);
        let current = pieces.next();
        let rest: VecDeque<OutgoingPiece> = pieces.collect();
        let len = current.iter().chain(&rest).map(OutgoingPiece::len).sum();
        Outgoing { current, rest, len, content_len, observer }
    }

    /// Nothing.
    #[must_use]
    pub fn empty() -> Outgoing {
        Outgoing { current: None, rest: VecDeque::new(), len: 0, content_len: 0, observer: None }
    }

    /// Takes the bytes to send out of a response that [`crate::Content::respond`] made. `None` for
    /// any other response, for one whose body has been polled, and for one whose framing a
    /// middleware changed (another `Content-Length` or `Content-Encoding`): that one has to be sent
    /// by its body.
    pub fn take<B>(response: &mut Response<B>) -> Option<Outgoing> {
        let slot = response.extensions_mut().remove::<OutgoingSlot>()?;
        let headers = response.headers();
        if headers.get(http::header::CONTENT_ENCODING) != slot.encoding.as_ref() {
            return None;
        }
        let announced = headers.get(http::header::CONTENT_LENGTH)?.to_str().ok()?.parse::<u64>().ok()?;
        let mut outgoing = slot.outgoing.lock();
        outgoing.take_if(|outgoing| outgoing.len == announced)
    }

    /// How many bytes are still to be handed out.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// True when nothing is left.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The next run of bytes, never empty; `None` at the end. Does not wait.
    ///
    /// # Errors
    /// [`SpanError`] when its bytes cannot be read. The delivery has to be aborted then.
    pub fn next_span(&mut self) -> Option<Result<Span, SpanError>> {
        let piece = self.current.as_mut()?;
        let span = match piece {
            OutgoingPiece::Memory(bytes) => Span::Memory(std::mem::take(bytes)),
            OutgoingPiece::Content(spans, range) => match spans.span_at(range.start) {
                Ok(span) if span.is_empty() => {
                    let (offset, missing) = (range.start, range.end - range.start);
                    return Some(Err(SpanError::Truncated {
                        name: "the content".to_owned(),
                        offset,
                        missing,
                    }));
                }
                Ok(mut span) => {
                    span.truncate(range.end - range.start);
                    range.start += span.len();
                    span
                }
                Err(error) => return Some(Err(error)),
            },
        };
        if piece.len() == 0 {
            self.current = self.rest.pop_front();
        }
        self.len -= span.len();
        Some(Ok(span))
    }

    /// All that is left, if it is one run of memory or of a file ([`Spans::is_single_run`]). It
    /// stays there until [`Outgoing::advance`].
    #[must_use]
    pub fn single_run(&self) -> Option<Span> {
        if !self.rest.is_empty() {
            return None;
        }
        match self.current.as_ref()? {
            OutgoingPiece::Memory(bytes) => Some(Span::Memory(bytes.clone())),
            OutgoingPiece::Content(spans, range) if spans.is_single_run() => {
                let mut span = spans.span_at(range.start).ok()?;
                span.truncate(self.len);
                (span.len() == self.len).then_some(span)
            }
            OutgoingPiece::Content(..) => None,
        }
    }

    /// The first `n` bytes of [`Outgoing::single_run`] have been handed out.
    pub fn advance(&mut self, n: u64) {
        let n = n.min(self.len);
        match &mut self.current {
            // No more than there are, and these fit a usize.
            Some(OutgoingPiece::Memory(bytes)) => drop(bytes.split_to(n as usize)),
            Some(OutgoingPiece::Content(_, range)) => range.start += n,
            None => {}
        }
        self.len -= n;
        if self.len == 0 {
            self.current = None;
        }
    }

    /// True when it has an observer.
    #[must_use]
    pub fn is_observed(&self) -> bool {
        self.observer.is_some()
    }

    /// The watch to keep while sending. Call it once, before the first byte leaves.
    pub fn watch(&mut self) -> DeliveryWatch {
        DeliveryWatch::new(self.body_map(), self.observer.take())
    }

    /// Where the content's bytes are in what is left.
    fn body_map(&self) -> BodyMap {
        let mut at = 0;
        let parts = self.current.iter().chain(&self.rest).filter_map(|piece| {
            let begins = at;
            at += piece.len();
            match piece {
                OutgoingPiece::Memory(_) => None,
                OutgoingPiece::Content(_, range) => Some((begins, range.clone())),
            }
        });
        BodyMap::parts(self.len, self.content_len, parts)
    }
}

impl fmt::Debug for Outgoing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outgoing")
            .field("len", &self.len)
            .field("pieces", &(usize::from(self.current.is_some()) + self.rest.len()))
            .finish()
    }
}

/// Where a response and its body keep their common [`Outgoing`] until one of them takes it.
#[derive(Clone)]
pub(crate) struct OutgoingSlot {
    pub(crate) outgoing: Arc<Mutex<Option<Outgoing>>>,
    /// The content's own `Content-Encoding`: any other was added later, to other bytes.
    pub(crate) encoding: Option<HeaderValue>,
}
