//! What subscribers are sent besides events: the opening, heartbeats, and why a connection is
//! closed; and how slow they may be.

use std::ops::Range;
use std::time::Duration;

use outflow_web::sse::{self, StreamPolicy, random_in};
use outflow_wire::websocket::{FrameHead, Opcode};

use crate::channel::event::{ChannelEvent, StreamFormat};
use crate::channel::log::EventsLost;

/// How slow a subscriber may be.
pub(crate) const POLICY: StreamPolicy = StreamPolicy { send_buffer: SEND_BUFFER, ..StreamPolicy::DEFAULT };
/// Kernel buffer (SO_SNDBUF) of a subscriber that does not read, in bytes. The kernel doubles it.
///
/// Bound: channels.
const SEND_BUFFER: usize = 16 << 10;
/// Time that a client has to close its side after the last byte.
///
/// Bound: channels.
pub(crate) const LINGER: Duration = Duration::from_secs(2);
/// Time over which a draining server spreads the closing of its subscribers.
///
/// Bound: channels.
pub(crate) const DRAIN_SPREAD: Duration = Duration::from_secs(3);
/// Reconnection times, in milliseconds, that a draining server suggests: all its subscribers come
/// back.
const DRAIN_RETRY: Range<u64> = 1_000..10_000;
/// Name of the event that tells a subscriber that it may have missed some.
const MISSED: &str = "missed";

/// Why the server closes a subscriber's connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CloseReason {
    /// The channel has ended.
    Ended,
    /// The subscription has reached its maximum lifetime; the client may reconnect.
    Lifetime,
    /// The server drains.
    Draining,
    /// The client sent something that it may not: the code (RFC 6455, section 7.4.1) and why.
    Rejected(u16, &'static str),
    /// The client has sent a close frame.
    ClosedByClient,
}

impl CloseReason {
    /// Code and text of a WebSocket close frame.
    fn code(self) -> (u16, &'static str) {
        match self {
            CloseReason::Ended => (1000, "the channel has ended"),
            CloseReason::Lifetime => (1001, "reconnect"),
            CloseReason::Draining => (1001, "the server is shutting down: reconnect"),
            CloseReason::Rejected(code, why) => (code, why),
            CloseReason::ClosedByClient => (1000, ""),
        }
    }

    /// The last bytes to the client.
    pub(crate) fn encode(self, format: StreamFormat) -> Vec<u8> {
        match format {
            StreamFormat::Sse if self == CloseReason::Draining => {
                format!("{}\n", sse::retry_field(DRAIN_RETRY)).into_bytes()
            }
            StreamFormat::Sse => Vec::new(),
            StreamFormat::WebSocket => {
                let (code, why) = self.code();
                let mut frame = Vec::with_capacity(64);
                FrameHead::write(&mut frame, Opcode::Close, 2 + why.len() as u64, None);
                frame.extend_from_slice(&code.to_be_bytes());
                frame.extend_from_slice(why.as_bytes());
                frame
            }
        }
    }
}

/// Why the server gives up a subscriber.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Disconnect {
    /// The connection is closed or broken.
    Gone,
    /// It has stalled, or its next event has been dropped.
    TooSlow,
    /// The server closes it in order.
    Close(CloseReason),
}

impl From<EventsLost> for Disconnect {
    fn from(_: EventsLost) -> Disconnect {
        Disconnect::TooSlow
    }
}

/// The bytes before all events.
pub(crate) fn opening(format: StreamFormat, missed: bool) -> Vec<u8> {
    let mut opening = match format {
        // A comment first, so that proxies in between forward the response head.
        StreamFormat::Sse => format!(":\n{}\n", POLICY.retry_field()).into_bytes(),
        StreamFormat::WebSocket => Vec::new(),
    };
    if missed {
        opening.extend_from_slice(ChannelEvent::new(None, Some(MISSED), "").bytes(format));
    }
    opening
}

/// Keeps an idle connection alive for proxies in between.
pub(crate) fn heartbeat(format: StreamFormat) -> &'static [u8] {
    match format {
        StreamFormat::Sse => sse::HEARTBEAT,
        // A ping without a payload.
        StreamFormat::WebSocket => &[0x89, 0],
    }
}

/// A random duration from four fifths of `maximum` to `maximum`.
pub(crate) fn random_lifetime(maximum: Duration) -> Duration {
    let fifth = u64::try_from(maximum.as_millis() / 5).unwrap_or(u64::MAX);
    maximum - Duration::from_millis(random_in(0..fifth.max(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn farewells_are_what_both_standards_have_for_them() {
        let frame = CloseReason::Rejected(1009, "too long").encode(StreamFormat::WebSocket);
        assert_eq!(frame, [&[0x88, 10, 0x03, 0xf1][..], b"too long"].concat());
        for reason in
            [CloseReason::Ended, CloseReason::Lifetime, CloseReason::Draining, CloseReason::ClosedByClient]
        {
            let frame = reason.encode(StreamFormat::WebSocket);
            assert_eq!((frame[0], usize::from(frame[1])), (0x88, frame.len() - 2), "{reason:?}");
        }
        assert_eq!(CloseReason::Ended.encode(StreamFormat::Sse), b"");
        let draining = CloseReason::Draining.encode(StreamFormat::Sse);
        assert!(draining.starts_with(b"retry: ") && draining.ends_with(b"\n\n"));
    }

    #[test]
    fn lifetimes_differ_within_bounds() {
        let maximum = Duration::from_secs(600);
        let all: Vec<Duration> = (0..100).map(|_| random_lifetime(maximum)).collect();
        assert!(all.iter().all(|one| *one <= maximum && *one > maximum * 4 / 5));
        assert!(all.iter().any(|one| *one != all[0]));
        assert!(random_lifetime(Duration::from_millis(1)) > Duration::ZERO);
    }
}
