//! A content's bytes, piece by piece, for a connection on which they are framed.

use std::future::poll_fn;
use std::sync::Arc;

use bytes::Bytes;
use outflow_content::{OpenFile, Outgoing, Span, SpanError};

use crate::connection::buffer::PooledBuffer;
use crate::send::feeding::{Feeding, NextBytes};
use crate::send::file;

/// The bytes to be sent, and the position in them.
pub(crate) struct BodyPieces {
    outgoing: Outgoing,
    current: CurrentSpan,
}

enum CurrentSpan {
    None,
    Memory(Bytes),
    File {
        file: Arc<dyn OpenFile>,
        at: u64,
        left: u64,
    },
    /// `chunk` holds what came from the feed and did not fit.
    Feed {
        feeding: Box<Feeding>,
        left: u64,
        chunk: Bytes,
    },
}

/// A filled buffer, returned to its pool when its last bytes have left.
struct FilledBuffer(PooledBuffer);

impl AsRef<[u8]> for FilledBuffer {
    fn as_ref(&self) -> &[u8] {
        self.0.filled()
    }
}

impl BodyPieces {
    pub(crate) fn new(outgoing: Outgoing) -> BodyPieces {
        BodyPieces { outgoing, current: CurrentSpan::None }
    }

    /// The next bytes, at most `limit` and never none; `None` at the end. The last bytes of a file
    /// come after it has been checked again.
    pub(crate) async fn next(&mut self, limit: usize) -> Result<Option<Bytes>, SpanError> {
        loop {
            match &mut self.current {
                CurrentSpan::None => match self.outgoing.next_span() {
                    None => return Ok(None),
                    Some(Err(error)) => return Err(error),
                    Some(Ok(Span::Memory(bytes))) => self.current = CurrentSpan::Memory(bytes),
                    Some(Ok(Span::File(span))) => {
                        let file = file::open(&span).await?;
                        self.current = CurrentSpan::File { file, at: span.offset, left: span.len };
                    }
                    Some(Ok(Span::Feed(span))) => {
                        let mut feeding = Box::<Feeding>::default();
                        feeding.begin(span.feed);
                        self.current = CurrentSpan::Feed { feeding, left: span.len, chunk: Bytes::new() };
                    }
                },
                CurrentSpan::Memory(bytes) => {
                    let piece = bytes.split_to(bytes.len().min(limit));
                    if bytes.is_empty() {
                        self.current = CurrentSpan::None;
                    }
                    if !piece.is_empty() {
                        return Ok(Some(piece));
                    }
                }
                CurrentSpan::File { file, at, left } => {
                    let mut buffer = PooledBuffer::borrow();
                    let len =
                        buffer.capacity_left().min(limit).min(usize::try_from(*left).unwrap_or(usize::MAX));
                    let n = file::read(file, *at, &mut buffer.spare()[..len]).await?;
                    if n == 0 {
                        return Err(SpanError::Truncated { name: file.name(), offset: *at, missing: *left });
                    }
                    buffer.fill(n);
                    *at += n as u64;
                    *left -= n as u64;
                    if *left == 0 {
                        file.verify()?;
                        self.current = CurrentSpan::None;
                    }
                    return Ok(Some(Bytes::from_owner(FilledBuffer(buffer))));
                }
                CurrentSpan::Feed { feeding, left, chunk } => {
                    if chunk.is_empty() {
                        if *left == 0 {
                            self.current = CurrentSpan::None;
                            continue;
                        }
                        let NextBytes::Chunk(next) = poll_fn(|cx| feeding.poll_next(cx, false)).await? else {
                            let source = format!("ended {left} bytes early").into();
                            return Err(SpanError::Other { name: "a feed".to_owned(), source });
                        };
                        *chunk = next;
                        chunk.truncate(usize::try_from(*left).unwrap_or(usize::MAX));
                        *left -= chunk.len() as u64;
                    }
                    return Ok(Some(chunk.split_to(chunk.len().min(limit))));
                }
            }
        }
    }

    /// Waits for the client by `waiting`. A feed is notified if that takes long.
    pub(crate) async fn with_backpressure<T>(&mut self, waiting: impl Future<Output = T>) -> T {
        match &mut self.current {
            CurrentSpan::Feed { feeding, .. } => feeding.with_backpressure(waiting).await,
            _ => waiting.await,
        }
    }
}
