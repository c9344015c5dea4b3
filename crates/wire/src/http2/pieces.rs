//! A content's bytes, piece by piece, for a connection on which they are framed.

use std::future::poll_fn;
use std::sync::Arc;

use bytes::Bytes;
use outflow_content::{OpenFile, Outgoing, Span, SpanError};

use crate::connection::buffer::Buffer;
use crate::send::feeding::{Feeding, Next};
use crate::send::file;

/// What is to be sent, and how far it is.
pub(crate) struct Pieces {
    outgoing: Outgoing,
    current: Current,
}

enum Current {
    Nothing,
    Memory(Bytes),
    File {
        file: Arc<dyn OpenFile>,
        at: u64,
        left: u64,
    },
    /// What has come of a feed and did not fit waits in `chunk`.
    Feed {
        feeding: Box<Feeding>,
        left: u64,
        chunk: Bytes,
    },
}

/// A filled buffer, given back to its pool when the last of its bytes have left.
struct Filled(Buffer);

impl AsRef<[u8]> for Filled {
    fn as_ref(&self) -> &[u8] {
        self.0.filled()
    }
}

impl Pieces {
    pub(crate) fn new(outgoing: Outgoing) -> Pieces {
        Pieces { outgoing, current: Current::Nothing }
    }

    /// The next bytes, `most` of them at the most and never none; `None` at the end. The last bytes of a file come when
    /// it has been looked at once more behind reading them.
    pub(crate) async fn next(&mut self, most: usize) -> Result<Option<Bytes>, SpanError> {
        loop {
            match &mut self.current {
                Current::Nothing => match self.outgoing.next_span() {
                    None => return Ok(None),
                    Some(Err(error)) => return Err(error),
                    Some(Ok(Span::Memory(bytes))) => self.current = Current::Memory(bytes),
                    Some(Ok(Span::File(span))) => {
                        let file = file::open(&span).await?;
                        self.current = Current::File { file, at: span.offset, left: span.len };
                    }
                    Some(Ok(Span::Feed(span))) => {
                        let mut feeding = Box::<Feeding>::default();
                        feeding.begin(span.feed);
                        self.current = Current::Feed { feeding, left: span.len, chunk: Bytes::new() };
                    }
                },
                Current::Memory(bytes) => {
                    let piece = bytes.split_to(bytes.len().min(most));
                    if bytes.is_empty() {
                        self.current = Current::Nothing;
                    }
                    if !piece.is_empty() {
                        return Ok(Some(piece));
                    }
                }
                Current::File { file, at, left } => {
                    let mut buffer = Buffer::borrow();
                    let room = buffer.room().min(most).min(usize::try_from(*left).unwrap_or(usize::MAX));
                    let n = file::read(file, *at, &mut buffer.spare()[..room]).await?;
                    if n == 0 {
                        return Err(SpanError::Truncated { name: file.name(), offset: *at, missing: *left });
                    }
                    buffer.fill(n);
                    *at += n as u64;
                    *left -= n as u64;
                    if *left == 0 {
                        file.verify()?;
                        self.current = Current::Nothing;
                    }
                    return Ok(Some(Bytes::from_owner(Filled(buffer))));
                }
                Current::Feed { feeding, left, chunk } => {
                    if chunk.is_empty() {
                        if *left == 0 {
                            self.current = Current::Nothing;
                            continue;
                        }
                        let Next::Chunk(next) = poll_fn(|cx| feeding.poll_next(cx, false)).await? else {
                            let source = format!("ended {left} bytes early").into();
                            return Err(SpanError::Other { name: "a feed".to_owned(), source });
                        };
                        *chunk = next;
                        chunk.truncate(usize::try_from(*left).unwrap_or(usize::MAX));
                        *left -= chunk.len() as u64;
                    }
                    return Ok(Some(chunk.split_to(chunk.len().min(most))));
                }
            }
        }
    }

    /// Waits for the client, by `waiting`. A feed is told if that takes long.
    pub(crate) async fn during<T>(&mut self, waiting: impl Future<Output = T>) -> T {
        match &mut self.current {
            Current::Feed { feeding, .. } => feeding.during(waiting).await,
            _ => waiting.await,
        }
    }
}
