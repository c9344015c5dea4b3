//! Server-sent events (WHATWG HTML, section 9.2): what all streams of them share, from the head of
//! the response to the last byte on a connection that was taken over from the engine.

use std::fmt::Display;
use std::io;
use std::ops::Range;
use std::os::fd::AsFd;
use std::time::Duration;

use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Response};
use rustix::net::sockopt;
use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use tokio::time::timeout;

use crate::body::ResponseBody;

/// A comment without text. It keeps the connection alive for proxies in between.
pub const HEARTBEAT: &[u8] = b":\n\n";

/// How a stream treats its client.
#[derive(Clone, Debug)]
pub struct StreamPolicy {
    /// Time without an event after which a heartbeat is sent: less than the idle timeouts of
    /// proxies.
    pub heartbeat: Duration,
    /// Time without progress of a write after which the connection is closed.
    ///
    /// Bound: progress. 30 s
    pub stall: Duration,
    /// Time without an acknowledgement after which the kernel closes the connection
    /// (TCP_USER_TIMEOUT).
    ///
    /// Bound: progress. 60 s
    pub unacknowledged: Duration,
    /// Bytes that the kernel keeps for a client that does not read (SO_SNDBUF); it doubles the
    /// number.
    ///
    /// Bound: progress. 32 KiB, doubled
    pub send_buffer: usize,
    /// Bounds of the reconnection time in milliseconds. A random time spreads the clients that
    /// reconnect.
    pub retry: Range<u64>,
}

impl StreamPolicy {
    /// What a stream without other needs uses.
    pub const DEFAULT: StreamPolicy = StreamPolicy {
        heartbeat: Duration::from_secs(15),
        stall: Duration::from_secs(30),
        unacknowledged: Duration::from_secs(60),
        send_buffer: 32 << 10,
        retry: 2_000..6_000,
    };

    /// Sets the socket's options, so that a client that is gone or does not read costs little and
    /// is noticed. A kernel that lacks an option is not an error.
    pub fn apply(&self, socket: impl AsFd) {
        let _ = sockopt::set_socket_send_buffer_size(&socket, self.send_buffer);
        let timeout = u32::try_from(self.unacknowledged.as_millis()).unwrap_or(0);
        let _ = sockopt::set_tcp_user_timeout(&socket, timeout);
    }

    /// Writes and flushes `bytes`. `TimedOut` if the client does not take them within
    /// [`StreamPolicy::stall`].
    ///
    /// # Errors
    /// When the connection fails or stalls.
    pub async fn send(&self, connection: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> io::Result<()> {
        let sending = async {
            connection.write_all(bytes).await?;
            connection.flush().await
        };
        timeout(self.stall, sending).await.unwrap_or_else(|elapsed| Err(elapsed.into()))
    }

    /// A `retry` field with a random time within [`StreamPolicy::retry`].
    #[must_use]
    pub fn retry_field(&self) -> String {
        retry_field(self.retry.clone())
    }
}

/// The response that opens a stream; the events follow by an `outflow_wire` handoff.
#[must_use]
pub fn response() -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::empty());
    let fields = response.headers_mut();
    fields.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    fields.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // nginx would buffer the events.
    fields.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    response
}

/// Appends an event. `name` and `id` have no line ends; each line of `data` becomes a field of its
/// own.
pub fn write_event(to: &mut String, name: Option<&str>, id: Option<&dyn Display>, data: &str) {
    use std::fmt::Write as _;
    // Writing to a string does not fail.
    if let Some(name) = name {
        let _ = writeln!(to, "event: {name}");
    }
    if let Some(id) = id {
        let _ = writeln!(to, "id: {id}");
    }
    for line in lines(data) {
        let _ = writeln!(to, "data: {line}");
    }
    to.push('\n');
}

/// A `retry` field with a random time within `millis`.
#[must_use]
pub fn retry_field(millis: Range<u64>) -> String {
    format!("retry: {}\n", random_in(millis))
}

/// The id of the last event that a client that reconnects has received.
#[must_use]
pub fn last_event_id(headers: &HeaderMap) -> Option<&HeaderValue> {
    headers.get("last-event-id").filter(|id| !id.is_empty())
}

/// A random number within a range that is not empty; the start of the range if the system has no
/// random numbers.
#[must_use]
pub fn random_in(range: Range<u64>) -> u64 {
    let mut bytes = [0; 8];
    let _ = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
    range.start + u64::from_le_bytes(bytes) % (range.end - range.start).max(1)
}

/// The lines of a text, ended by CR LF, LF or CR. A text that ends in a line end has an empty last
/// line.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.split('\n').enumerate().flat_map({
        let last = text.matches('\n').count();
        move |(at, line)| {
            let line = if at < last { line.strip_suffix('\r').unwrap_or(line) } else { line };
            line.split('\r')
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_has_its_fields_in_order_and_ends_with_an_empty_line() {
        let event = |name, id: Option<&dyn Display>, data| {
            let mut text = String::new();
            write_event(&mut text, name, id, data);
            text
        };
        assert_eq!(event(Some("news"), Some(&7), "a\nb"), "event: news\nid: 7\ndata: a\ndata: b\n\n");
        assert_eq!(event(None, None, ""), "data: \n\n");
    }

    #[test]
    fn no_data_can_end_its_line_or_its_event() {
        for (data, expected) in [
            ("a\r\nb", &["a", "b"][..]),
            ("a\rb", &["a", "b"]),
            ("a\n\nid: 9", &["a", "", "id: 9"]),
            ("a\n", &["a", ""]),
            ("a\r\n", &["a", ""]),
            ("\r\r\n\r", &["", "", "", ""]),
            ("\u{2028}ä", &["\u{2028}ä"]),
        ] {
            assert_eq!(lines(data).collect::<Vec<_>>(), expected, "{data:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_nothing_times_out() {
        let (mut connection, _client) = tokio::io::duplex(16);
        let error = StreamPolicy::DEFAULT.send(&mut connection, &[b'x'; 17]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
