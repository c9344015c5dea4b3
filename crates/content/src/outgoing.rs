//! The exact bytes one response has to send, as pieces of memory and of a content's spans.

use std::collections::VecDeque;
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http::Response;

use crate::{Observer, Span, SpanError, Spans, Watch};

/// The bytes that one response has to send, and who watches them leave.
///
/// Made by [`crate::Content::respond`]; taken out of the response by an engine that sends span by span.
pub struct Outgoing {
    pieces: VecDeque<Piece>,
    len: u64,
    observer: Option<Box<dyn Observer>>,
}

pub(crate) enum Piece {
    Memory(Bytes),
    Content(Arc<dyn Spans>, Range<u64>),
}

impl Piece {
    fn len(&self) -> u64 {
        match self {
            Piece::Memory(bytes) => bytes.len() as u64,
            Piece::Content(_, range) => range.end - range.start,
        }
    }
}

impl Outgoing {
    pub(crate) fn new(pieces: impl IntoIterator<Item = Piece>, observer: Option<Box<dyn Observer>>) -> Outgoing {
        let pieces: VecDeque<Piece> = pieces.into_iter().filter(|piece| piece.len() > 0).collect();
        let len = pieces.iter().map(Piece::len).sum();
        Outgoing { pieces, len, observer }
    }

    /// Takes what is to be sent out of a response that [`crate::Content::respond`] made. `None` for any other
    /// response, for one whose body has been polled, and for one whose framing a middleware changed
    /// (another `Content-Length`, a `Content-Encoding`): that one has to be sent by its body.
    pub fn take<B>(response: &mut Response<B>) -> Option<Outgoing> {
        let slot = response.extensions_mut().remove::<Slot>()?;
        if response.headers().contains_key(http::header::CONTENT_ENCODING) {
            return None;
        }
        let announced = response.headers().get(http::header::CONTENT_LENGTH)?.to_str().ok()?.parse::<u64>().ok()?;
        let mut slot = slot.0.lock().unwrap_or_else(PoisonError::into_inner);
        slot.take_if(|outgoing| outgoing.len == announced)
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
    /// [`SpanError`] when its bytes cannot be had. The delivery has to be cut then.
    pub fn next_span(&mut self) -> Option<Result<Span, SpanError>> {
        let piece = self.pieces.front_mut()?;
        let span = match piece {
            Piece::Memory(bytes) => Span::Memory(std::mem::take(bytes)),
            Piece::Content(spans, range) => match spans.span_at(range.start) {
                Ok(mut span) => {
                    span.truncate(range.end - range.start);
                    range.start += span.len();
                    span
                }
                Err(error) => return Some(Err(error)),
            },
        };
        if piece.len() == 0 {
            self.pieces.pop_front();
        }
        self.len -= span.len();
        Some(Ok(span))
    }

    /// The watch to keep while sending. Call it once, before the first byte leaves.
    pub fn watch(&mut self) -> Watch {
        Watch::new(self.len, self.observer.take())
    }
}

impl fmt::Debug for Outgoing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outgoing").field("len", &self.len).field("pieces", &self.pieces.len()).finish()
    }
}

/// Where a response and its body keep their common [`Outgoing`] until one of them takes it.
#[derive(Clone)]
pub(crate) struct Slot(pub(crate) Arc<Mutex<Option<Outgoing>>>);
