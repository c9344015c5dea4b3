//! Sending what the socket takes in one call.

use std::io;
use std::task::{Context, Poll};

use outflow_content::{Outgoing, Span, Wait};

use super::spans::TURN;
use crate::connection::Connection;
use crate::connection::buffer::PooledBuffer;
use crate::counters::{SendPath, ServerCounters};

/// Sends what the socket takes at once, if there is no observer and all bytes are in memory: most
/// often that is all of them, and the state that [`super::outgoing`] needs to wait and to observe
/// is not made. Bytes that have left are taken from `head` and `outgoing`.
pub(crate) fn poll_at_once(
    connection: &Connection,
    counters: &ServerCounters,
    head: &mut PooledBuffer,
    outgoing: &mut Outgoing,
    cx: &mut Context<'_>,
) -> io::Result<()> {
    if outgoing.is_observed() || !connection.is_fast_path() {
        return Ok(());
    }
    match outgoing.single_run() {
        Some(Span::Memory(body)) => {
            let Poll::Ready(n) = connection.poll_send_both(cx, head.filled(), &body, false)? else {
                return Ok(());
            };
            let of_body = n.saturating_sub(head.filled().len()) as u64;
            head.consume(n);
            outgoing.advance(of_body);
            counters.body.of(SendPath::Copy).add(of_body);
        }
        Some(Span::File(span)) => {
            let Ok(file) = span.file.open(Wait::No) else { return Ok(()) };
            if !file.is_sealed() || span.len > TURN {
                return Ok(());
            }
            let Poll::Ready(n) = connection.poll_send_both(cx, head.filled(), &[], true)? else {
                return Ok(());
            };
            head.consume(n);
            if !head.is_empty() {
                return Ok(());
            }
            let mut at = span.offset;
            let moved = connection.poll_write_with(cx, |socket| {
                Ok(rustix::fs::sendfile(socket, file.fd(), Some(&mut at), span.len as usize)?)
            });
            let Poll::Ready(n) = moved? else { return Ok(()) };
            outgoing.advance(n as u64);
            counters.body.of(SendPath::Sendfile).add(n as u64);
        }
        None if outgoing.is_empty() => {
            if let Poll::Ready(n) = connection.poll_send_both(cx, head.filled(), &[], false)? {
                head.consume(n);
            }
        }
        _ => {}
    }
    Ok(())
}
