//! Answers of the engine's own.

use std::io;

use http::{HeaderMap, HeaderValue, StatusCode};

use super::encode::{self, Persistence};
use crate::connection::buffer::PooledBuffer;
use crate::connection::{ClosingState, Connection};
use crate::context::ThreadContext;
use crate::message::framing::ResponseFraming;

/// Why the engine refuses a request: the status of the answer, and the reason for log and client.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct RequestRefusal {
    pub(crate) status: StatusCode,
    pub(crate) reason: &'static str,
}

impl RequestRefusal {
    pub(crate) const fn new(status: StatusCode, reason: &'static str) -> RequestRefusal {
        RequestRefusal { status, reason }
    }
}

/// Answers a request that the engine refuses, and ends the connection.
pub(crate) async fn refuse<S>(
    connection: &mut Connection,
    context: &ThreadContext<S>,
    refusal: &RequestRefusal,
) {
    context.counters.refused.inc();
    let (status, reason) = (refusal.status, refusal.reason);
    tracing::info!(client = %connection.peer, status = status.as_u16(), reason, "request refused");
    let text = format!("{status}: {reason}\n");
    if send_text(connection, context, status, &text, true).await.is_ok() {
        connection.finish(&context.options, ClosingState::AfterAnswer).await;
    }
}

/// Sends a short answer, to HEAD without its text. The connection has to be closed then.
pub(super) async fn send_text<S>(
    connection: &mut Connection,
    context: &ThreadContext<S>,
    status: StatusCode,
    text: &str,
    with_text: bool,
) -> io::Result<()> {
    let mut headers = HeaderMap::new();
    headers.insert(http::header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    let mut out = PooledBuffer::borrow();
    let framing = ResponseFraming::Length(text.len() as u64);
    encode::head(&mut out, status, &headers, framing, Persistence::Close);
    if with_text {
        out.push(text.as_bytes());
    }
    context.counters.responded(status);
    connection.timer().set(context.options.stall_timeout);
    while !out.is_empty() {
        let n = connection.send(out.filled(), false).await?;
        out.consume(n);
    }
    Ok(())
}
