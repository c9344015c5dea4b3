//! A stream that stops being HTTP: bytes both ways, as a socket would have them.

use std::io;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use h2::{Reason, RecvStream, SendStream};
use tokio::io::ReadBuf;

/// Bytes that are handed over at a time.
const PIECE: usize = 16 * 1024;

/// Both directions of one stream, or only the writing one.
pub(crate) struct Duplex {
    /// `None` when a service has it, or nobody.
    read: Option<RecvStream>,
    write: SendStream<Bytes>,
    unread: Bytes,
    ended: bool,
}

impl Duplex {
    /// Without `read`, what the client says is not heard, but that it goes away is.
    pub(crate) fn new(read: Option<RecvStream>, write: SendStream<Bytes>) -> Duplex {
        Duplex { read, write, unread: Bytes::new(), ended: false }
    }

    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>, room: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
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
        let n = self.unread.len().min(room.remaining());
        room.put_slice(&self.unread[..n]);
        self.unread.advance(n);
        Poll::Ready(Ok(()))
    }

    pub(crate) fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.write.reserve_capacity(bytes.len().min(PIECE));
        let room = if self.write.capacity() > 0 {
            self.write.capacity()
        } else {
            match ready!(self.write.poll_capacity(cx)) {
                Some(room) => room.map_err(io::Error::other)?,
                None => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            }
        };
        let n = bytes.len().min(room).min(PIECE);
        let piece = Bytes::copy_from_slice(&bytes[..n]);
        self.write.send_data(piece, false).map_err(io::Error::other)?;
        Poll::Ready(Ok(n))
    }

    /// Nothing follows. May be said again.
    pub(crate) fn shutdown(&mut self) -> io::Result<()> {
        if std::mem::replace(&mut self.ended, true) {
            return Ok(());
        }
        self.write.send_data(Bytes::new(), true).map_err(io::Error::other)
    }

    /// Ends it for both sides, so that nobody takes what was said for all (RFC 9113, 8.5).
    pub(crate) fn reset(&mut self) {
        self.write.send_reset(Reason::CONNECT_ERROR);
    }
}

/// As a socket does: whoever lets go of it has said all.
impl Drop for Duplex {
    fn drop(&mut self) {
        let _ = self.shutdown();
    }
}
