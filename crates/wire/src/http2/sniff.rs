//! Telling HTTP/2 from HTTP/1 on a connection in the clear.

use std::future::poll_fn;
use std::io;
use std::task::Poll;

use super::frames::PREFACE;
use crate::connection::Connection;
use crate::connection::buffer::PooledBuffer;
use crate::context::ThreadContext;

/// Whether a connection in the clear begins as HTTP/2 does, and what has been read to find out.
/// `None` if it ended, or the client sent nothing before the deadline.
pub(crate) async fn sniff<S>(
    connection: &mut Connection,
    context: &ThreadContext<S>,
) -> Option<(bool, PooledBuffer)> {
    let mut ending = context.ending.subscribe();
    let mut buffer = loop {
        let readable = poll_fn(|cx| {
            if connection.poll_readable(cx).is_ready() {
                return Poll::Ready(true);
            }
            connection.timer().poll_expired(cx).map(|()| false)
        });
        tokio::select! {
            biased;
            readable = readable => if !readable { return None },
            _ = ending.wait_for(|ending| *ending) => return None,
        }
        let mut buffer = PooledBuffer::borrow();
        match connection.read_some(&mut buffer).await {
            // The socket was reported readable and was not.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Ok(0) | Err(_) => return None,
            Ok(_) => break buffer,
        }
    };
    connection.timer().set(context.options.head_timeout);
    loop {
        let begun = buffer.filled();
        let so_far = begun.len().min(PREFACE.len());
        if begun[..so_far] != PREFACE[..so_far] {
            return Some((false, buffer));
        }
        if so_far == PREFACE.len() {
            return Some((true, buffer));
        }
        if connection.read_some(&mut buffer).await.ok()? == 0 {
            return None;
        }
    }
}
