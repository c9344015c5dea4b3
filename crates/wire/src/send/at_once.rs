//! Sending what the socket takes in one call.

use std::io;
use std::task::{Context, Poll};

use outflow_content::{Outgoing, Span, Wait};

use super::file::is_resident;
use super::spans::{SENDFILE_LAST_FROM, TURN};
use crate::connection::Connection;
use crate::connection::buffer::PooledBuffer;
use crate::counters::{SendPath, ServerCounters};

/// Sends what the socket takes at once, if all bytes are in memory or in the page cache: most often
/// that is all of them, and the state that [`super::outgoing`] needs to wait is not made. Bytes
/// that have left are taken from `head` and `outgoing`. `by_kernel`: the kernel may move bytes from
/// files.
pub(crate) fn poll_at_once(
    connection: &mut Connection,
    counters: &ServerCounters,
    by_kernel: bool,
    head: &mut PooledBuffer,
    outgoing: &mut Outgoing,
    cx: &mut Context<'_>,
) -> io::Result<()> {
    if connection.session().is_some() {
        return Ok(());
    }
    match outgoing.single_run() {
        // More might all leave in one call, while others of the thread wait.
        Some(Span::Memory(body)) if body.len() as u64 <= TURN => {
            let Poll::Ready(n) = connection.poll_send_both(cx, head.filled(), &body, false)? else {
                return Ok(());
            };
            let of_body = n.saturating_sub(head.filled().len()) as u64;
            head.consume(n);
            outgoing.advance(of_body);
            counters.body.of(SendPath::Copy).add(of_body);
        }
        Some(Span::File(span)) if by_kernel && span.len <= TURN => {
            let Ok(file) = span.file.open(Wait::No) else { return Ok(()) };
            let is_ready = file.is_sealed()
                || (span.len >= SENDFILE_LAST_FROM
                    && file.verify().is_ok()
                    && is_resident(file.fd(), span.offset, span.len));
            if !is_ready {
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
            connection.wrote(n as u64);
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
