//! A stream of HTTP/2 that stops being HTTP: bytes both ways, as on a socket.

use std::io;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use h2::{Reason, RecvStream, SendStream};
use tokio::io::ReadBuf;

/// Maximum number of bytes handed to the stream at a time.
///
/// Bound: HTTP/2.
const PIECE: usize = 16 * 1024;

/// Both directions of one stream, or only the writing one.
pub(crate) struct StreamDuplex {
    /// `None` when the service reads the request's body, or does not read.
    read: Option<RecvStream>,
    write: SendStream<Bytes>,
    unread: Bytes,
    ended: bool,
}

impl StreamDuplex {
    /// Without `read`, what the client sends is ignored, but its reset is noticed.
    pub(crate) fn new(read: Option<RecvStream>, write: SendStream<Bytes>) -> StreamDuplex {
        StreamDuplex { read, write, unread: Bytes::new(), ended: false }
    }

    pub(crate) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        space: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Some(read) = &mut self.read else {
            // It ends when the client resets the stream.
            return self.write.poll_reset(cx).map(|_| Ok(()));
        };
        if self.unread.is_empty() {
            match ready!(read.poll_data(cx)) {
                None => return Poll::Ready(Ok(())),
                Some(data) => {
                    self.unread = data.map_err(io::Error::other)?;
                    let len = self.unread.len();
                    read.flow_control().release_capacity(len).map_err(io::Error::other)?;
                }
            }
        }
        let n = self.unread.len().min(space.remaining());
        space.put_slice(&self.unread[..n]);
        self.unread.advance(n);
        Poll::Ready(Ok(()))
    }

    pub(crate) fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.write.reserve_capacity(bytes.len().min(PIECE));
        let capacity = if self.write.capacity() > 0 {
            self.write.capacity()
        } else {
            match ready!(self.write.poll_capacity(cx)) {
                Some(capacity) => capacity.map_err(io::Error::other)?,
                None => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            }
        };
        let n = bytes.len().min(capacity).min(PIECE);
        let piece = Bytes::copy_from_slice(&bytes[..n]);
        self.write.send_data(piece, false).map_err(io::Error::other)?;
        Poll::Ready(Ok(n))
    }

    /// Ends our side. Further calls do nothing.
    pub(crate) fn shutdown(&mut self) -> io::Result<()> {
        if std::mem::replace(&mut self.ended, true) {
            return Ok(());
        }
        self.write.send_data(Bytes::new(), true).map_err(io::Error::other)
    }

    /// Ends both sides, so that the client does not take what was sent for the whole (RFC 9113,
    /// 8.5).
    pub(crate) fn reset(&mut self) {
        self.write.send_reset(Reason::CONNECT_ERROR);
    }
}

/// Like a socket, it ends in an orderly way when it is dropped.
impl Drop for StreamDuplex {
    fn drop(&mut self) {
        let _ = self.shutdown();
    }
}
