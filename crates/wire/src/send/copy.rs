//! Sending any `http_body::Body`, by copying: for bodies that are not made of spans. They have no observer, so nobody asks
//! what becomes of them behind the kernel.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::Poll;

use bytes::Buf;
use http_body::Body;

use crate::connection::Connection;
use crate::connection::buffer::Buffer;
use crate::counters::Counters;
use crate::http1::encode::BodyFraming;
use crate::options::Options;

/// Why a body could not be sent to its end; the connection has to be cut.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The connection failed, or the client stalled.
    Client,
    /// The body failed, or it was longer or shorter than it had announced.
    Body(String),
}

impl From<std::io::Error> for Failure {
    fn from(_: std::io::Error) -> Failure {
        Failure::Client
    }
}

/// Sends `head` (already encoded) and then all of `body`, framed as the head says.
pub(crate) async fn body<B>(
    connection: &mut Connection,
    options: &Options,
    counters: &Counters,
    head: Buffer,
    body: B,
    framing: BodyFraming,
) -> Result<(), Failure>
where
    B: Body,
    B::Error: std::fmt::Display,
{
    connection.timer().set(options.stall_timeout);
    let mut writer = Writer { connection, out: head, chunked: framing == BodyFraming::Chunked };
    let mut left = match framing {
        BodyFraming::Length(length) => length,
        BodyFraming::None => 0,
        BodyFraming::Chunked | BodyFraming::UntilClose => u64::MAX,
    };
    let mut body = pin!(body);
    if framing == BodyFraming::Length(0) {
        ends_here(body.as_mut()).await?;
    }
    while left > 0 {
        let at_once = poll_fn(|cx| match body.as_mut().poll_frame(cx) {
            Poll::Ready(frame) => Poll::Ready(Some(frame)),
            Poll::Pending => Poll::Ready(None),
        });
        let frame = match at_once.await {
            Some(frame) => frame,
            None => {
                // What there is goes out while the body makes more.
                writer.flush(false).await?;
                writer.out = Buffer::none();
                let frame = writer.connection.unless_broken(|cx| body.as_mut().poll_frame(cx)).await?;
                writer.connection.timer().set(options.stall_timeout);
                frame
            }
        };
        let Some(frame) = frame else { break };
        let frame = frame.map_err(|error| Failure::Body(error.to_string()))?;
        // Trailers are dropped: nobody asked for them (RFC 9110 section 6.5.1).
        let Ok(mut data) = frame.into_data() else { continue };
        let len = data.remaining() as u64;
        if len == 0 {
            continue;
        }
        if len > left {
            return Err(Failure::Body(format!("{} bytes longer than announced", len - left)));
        }
        if len == left {
            ends_here(body.as_mut()).await?;
        }
        if framing == BodyFraming::Chunked {
            writer.bytes(format!("{len:x}\r\n").as_bytes()).await?;
        } else if framing != BodyFraming::UntilClose {
            left -= len;
        }
        while data.has_remaining() {
            let n = data.chunk().len();
            writer.bytes(data.chunk()).await?;
            data.advance(n);
        }
        if framing == BodyFraming::Chunked {
            writer.bytes(b"\r\n").await?;
        }
        counters.add_copied(len);
    }
    match framing {
        BodyFraming::Length(_) if left > 0 => {
            return Err(Failure::Body(format!("{left} bytes shorter than announced")));
        }
        BodyFraming::Chunked => writer.bytes(b"0\r\n\r\n").await?,
        _ => {}
    }
    writer.flush(false).await
}

/// Looks, before the last announced byte leaves, whether the body has anything more to say: what is longer
/// than announced, or fails at its end, must not look whole. Does not wait: the client need not, either.
async fn ends_here<B>(mut body: Pin<&mut B>) -> Result<(), Failure>
where
    B: Body,
    B::Error: std::fmt::Display,
{
    poll_fn(|cx| {
        while !body.is_end_stream() {
            match body.as_mut().poll_frame(cx) {
                Poll::Pending | Poll::Ready(None) => break,
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(Failure::Body(error.to_string()))),
                Poll::Ready(Some(Ok(frame))) => {
                    let more = frame.data_ref().map_or(0, Buf::remaining);
                    if more > 0 {
                        let why = format!("{more} bytes longer than announced");
                        return Poll::Ready(Err(Failure::Body(why)));
                    }
                }
            }
        }
        Poll::Ready(Ok(()))
    })
    .await
}

struct Writer<'a> {
    connection: &'a mut Connection,
    out: Buffer,
    /// A line's end follows each run of data.
    chunked: bool,
}

impl Writer<'_> {
    /// Gathers what fits into the buffer and sends what does not.
    async fn bytes(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        if bytes.len() > self.out.room() {
            self.flush(true).await?;
            if self.out.room() == 0 {
                self.out = Buffer::borrow();
            }
        }
        if bytes.len() <= self.out.room() {
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

    async fn flush(&mut self, more: bool) -> Result<(), Failure> {
        while !self.out.is_empty() {
            let n = self.connection.send(self.out.filled(), more).await?;
            self.connection.credit(n as u64);
            self.out.consume(n);
        }
        Ok(())
    }
}
