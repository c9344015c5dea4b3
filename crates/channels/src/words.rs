//! What subscribers are told besides events: first words, heartbeats, farewells.

use std::ops::Range;
use std::time::Duration;

use outflow_wire::websocket::{FrameHead, Opcode};

use super::event::{Event, Form};
use super::hub::Entry;

/// Bounds of what a client is told to wait for before it connects again, in milliseconds. Not the same for all, lest
/// all come back at once.
const RETRY: Range<u64> = 2_000..6_000;
/// The same when the server goes away, and all come back.
const RETRY_LATER: Range<u64> = 1_000..10_000;
/// The event that says that some may have been missed.
const MISSED: &str = "missed";

/// Why a subscriber is sent away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Farewell {
    /// The channel has ended.
    Ended,
    /// It was here for long enough: it may come again.
    Lifetime,
    /// The server drains.
    Draining,
    /// It has said what it may not, or too much: the code (RFC 6455, 7.4.1) and why.
    Refused(u16, &'static str),
    /// It has said farewell itself.
    Answered,
}

impl Farewell {
    /// As WebSocket has it.
    fn code(self) -> (u16, &'static str) {
        match self {
            Farewell::Ended => (1000, "the channel has ended"),
            Farewell::Lifetime => (1001, "come again"),
            Farewell::Draining => (1001, "the server goes away: come again"),
            Farewell::Refused(code, why) => (code, why),
            Farewell::Answered => (1000, ""),
        }
    }

    /// What is said.
    pub(super) fn words(self, form: Form) -> Vec<u8> {
        match form {
            Form::Sse if self == Farewell::Draining => {
                format!("retry: {}\n\n", between(RETRY_LATER)).into_bytes()
            }
            Form::Sse => Vec::new(),
            Form::WebSocket => {
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

/// What comes before all events.
pub(super) fn first(form: Form, entry: &Entry) -> Vec<u8> {
    let mut first = match form {
        // A comment, so that whoever stands in between passes the head on.
        Form::Sse => format!(":\nretry: {}\n\n", between(RETRY)).into_bytes(),
        Form::WebSocket => Vec::new(),
    };
    if entry.start.missed {
        first.extend_from_slice(Event::new(None, Some(MISSED), "").bytes(form));
    }
    first
}

/// What is said when there is nothing to say, so that nobody in between takes the connection for dead.
pub(super) fn heartbeat(form: Form) -> &'static [u8] {
    match form {
        Form::Sse => b":\n\n",
        // A ping without a payload.
        Form::WebSocket => &[0x89, 0],
    }
}

/// Between four fifths of the whole and the whole.
pub(super) fn lifetime(whole: Duration) -> Duration {
    let fifth = u64::try_from(whole.as_millis() / 5).unwrap_or(u64::MAX);
    whole - Duration::from_millis(between(0..fifth.max(1)))
}

/// Any number of a range that is not empty.
pub(super) fn between(range: Range<u64>) -> u64 {
    let mut bytes = [0; 8];
    // Without random numbers all get the same.
    let _ = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
    range.start + u64::from_le_bytes(bytes) % (range.end - range.start).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn farewells_are_what_both_standards_have_for_them() {
        let frame = Farewell::Refused(1009, "too long").words(Form::WebSocket);
        assert_eq!(frame, [&[0x88, 10, 0x03, 0xf1][..], b"too long"].concat());
        for farewell in [Farewell::Ended, Farewell::Lifetime, Farewell::Draining, Farewell::Answered] {
            let frame = farewell.words(Form::WebSocket);
            assert_eq!((frame[0], usize::from(frame[1])), (0x88, frame.len() - 2), "{farewell:?}");
        }
        assert_eq!(Farewell::Ended.words(Form::Sse), b"");
        assert!(Farewell::Draining.words(Form::Sse).starts_with(b"retry: "));
    }

    #[test]
    fn lifetimes_differ_within_bounds() {
        let whole = Duration::from_secs(600);
        let all: Vec<Duration> = (0..100).map(|_| lifetime(whole)).collect();
        assert!(all.iter().all(|one| *one <= whole && *one > whole * 4 / 5));
        assert!(all.iter().any(|one| *one != all[0]));
        assert!(lifetime(Duration::from_millis(1)) > Duration::ZERO);
    }
}
