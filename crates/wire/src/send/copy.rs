//! Sending any `http_body::Body` by copying: for bodies that are not made of spans. They have no
//! observer, so that nothing is followed beyond the kernel.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::Poll;

use bytes::Buf;
use http_body::Body;

use crate::connection::Connection;
use crate::connection::buffer::PooledBuffer;
use crate::counters::{SendPath, ServerCounters};
use crate::message::framing::ResponseFraming;
use crate::options::ServerOptions;

/// Why a body could not be sent to its end. The connection has to be reset.
#[derive(Debug)]
pub(crate) enum CopyFailure {
    /// The connection failed, or the client stalled.
    Client,
    /// The body failed, or it was longer or shorter than it had announced.
    Body(String),
}

impl From<std::io::Error> for CopyFailure {
    fn from(_: std::io::Error) -> CopyFailure {
        CopyFailure::Client
    }
}

/// Sends `head` (already encoded) and then all of `body`, framed as the head says.
pub(crate) async fn body<B>(
    connection: &mut Connection,
    options: &ServerOptions,
    counters: &ServerCounters,
    head: PooledBuffer,
    body: B,
    framing: ResponseFraming,
) -> Result<(), CopyFailure>
where
    B: Body,
    B::Error: std::fmt::Display,
{
    connection.timer().set(options.stall_timeout);
    let mut writer = CopyWriter { connection, out: head, chunked: framing == ResponseFraming::Chunked };
    let mut left = match framing {
        ResponseFraming::Length(length) => length,
        ResponseFraming::None => 0,
        ResponseFraming::Chunked | ResponseFraming::UntilClose => u64::MAX,
    };
    let mut body = pin!(body);
    if framing == ResponseFraming::Length(0) {
        check_end(body.as_mut()).await?;
    }
    while left > 0 {
        let at_once = poll_fn(|cx| match body.as_mut().poll_frame(cx) {
            Poll::Ready(frame) => Poll::Ready(Some(frame)),
            Poll::Pending => Poll::Ready(None),
        });
        let frame = match at_once.await {
            Some(frame) => frame,
            None => {
                // The bytes gathered so far leave while the body makes more.
                writer.flush(false).await?;
                writer.out = PooledBuffer::none();
                let frame = writer.connection.unless_broken(|cx| body.as_mut().poll_frame(cx)).await?;
                writer.connection.timer().set(options.stall_timeout);
                frame
            }
        };
        let Some(frame) = frame else { break };
        let frame = frame.map_err(|error| CopyFailure::Body(error.to_string()))?;
        // Trailers are dropped: no client asked for them (RFC 9110 section 6.5.1).
        let Ok(mut data) = frame.into_data() else { continue };
        let len = data.remaining() as u64;
        if len == 0 {
            continue;
        }
        if len > left {
            return Err(CopyFailure::Body(format!("{} bytes longer than announced", len - left)));
        }
        if len == left {
            check_end(body.as_mut()).await?;
        }
        if framing == ResponseFraming::Chunked {
            writer.bytes(format!("{len:x}\r\n").as_bytes()).await?;
        } else if framing != ResponseFraming::UntilClose {
            left -= len;
        }
        while data.has_remaining() {
            let n = data.chunk().len();
            writer.bytes(data.chunk()).await?;
            data.advance(n);
        }
        if framing == ResponseFraming::Chunked {
            writer.bytes(b"\r\n").await?;
        }
        counters.body.of(SendPath::Copy).add(len);
    }
    match framing {
        ResponseFraming::Length(_) if left > 0 => {
            return Err(CopyFailure::Body(format!("{left} bytes shorter than announced")));
        }
        ResponseFraming::Chunked => writer.bytes(b"0\r\n\r\n").await?,
        _ => {}
    }
    writer.flush(false).await
}

/// Checks, before the last announced byte leaves, that the body ends there: one that is longer than
/// announced, or fails at its end, must not look whole. Does not wait for the body, so that the
/// client need not, either.
async fn check_end<B>(mut body: Pin<&mut B>) -> Result<(), CopyFailure>
where
    B: Body,
    B::Error: std::fmt::Display,
{
    poll_fn(|cx| {
        while !body.is_end_stream() {
            match body.as_mut().poll_frame(cx) {
                Poll::Pending | Poll::Ready(None) => break,
                Poll::Ready(Some(Err(error))) => {
                    return Poll::Ready(Err(CopyFailure::Body(error.to_string())));
                }
                Poll::Ready(Some(Ok(frame))) => {
                    let more = frame.data_ref().map_or(0, Buf::remaining);
                    if more > 0 {
                        let why = format!("{more} bytes longer than announced");
                        return Poll::Ready(Err(CopyFailure::Body(why)));
                    }
                }
            }
        }
        Poll::Ready(Ok(()))
    })
    .await
}

/// Gathers small runs of bytes and sends large ones.
struct CopyWriter<'a> {
    connection: &'a mut Connection,
    out: PooledBuffer,
    /// A line end follows each run of data.
    chunked: bool,
}

impl CopyWriter<'_> {
    /// Gathers `bytes` if they fit into the buffer, else sends them.
    async fn bytes(&mut self, bytes: &[u8]) -> Result<(), CopyFailure> {
        if bytes.len() > self.out.capacity_left() {
            self.flush(true).await?;
            if self.out.capacity_left() == 0 {
                self.out = PooledBuffer::borrow();
            }
        }
        if bytes.len() <= self.out.capacity_left() {
            self.out.push(bytes);
            return Ok(());
        }
        let mut left = bytes;
        while !left.is_empty() {
            let n = self.connection.send(left, self.chunked).await?;
            self.connection.credit(n as u64);
            left = &left[n..];
        }
        Ok(())
    }

    async fn flush(&mut self, more: bool) -> Result<(), CopyFailure> {
        while !self.out.is_empty() {
            let n = self.connection.send(self.out.filled(), more).await?;
            self.connection.credit(n as u64);
            self.out.consume(n);
        }
        Ok(())
    }
}
