//! Two sockets, and the bytes that flow between them: by the kernel where that pays, by copying where it does not.
//!
//! ```text
//! socket      TCP or Unix: readiness, reads, writes, the end of a side
//! direction   one way: read, write, and what is held in between
//! counters    bytes by the path that they took
//! ```
//!
//! Each direction begins by copying, which is the faster way for a message here and there, and goes over to splice(2)
//! when there is much to read. A pair of sockets that waits owns neither buffer nor pipe.
//!
//! A stream that was cut never looks whole: whatever ends a flow but the end of both sides ends it with a reset
//! (RST) on TCP. So does dropping the future. On a Unix socket there is no such thing: its peer sees the end.

mod counters;
mod direction;
mod socket;

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

pub use self::counters::{Bytes, Counters};
use self::direction::Direction;
pub use self::socket::Socket;

/// As long as nobody can mean it: the clock of a flow that may be silent for ever.
const FOR_EVER: Duration = Duration::from_secs(30 * 365 * 86_400);

/// How long a flow may be silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Without a byte in either direction. `None`: for ever.
    pub idle: Option<Duration>,
    /// The same, once one side has ended. `None`: as long as before.
    pub half_closed: Option<Duration>,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { idle: Some(Duration::from_secs(3_600)), half_closed: Some(Duration::from_secs(300)) }
    }
}

/// One of the two sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The first.
    Left,
    /// The second.
    Right,
}

/// How a flow came to its end.
#[derive(Debug)]
pub enum End {
    /// Both sides have ended, and all that they said has been handed on.
    Complete,
    /// Nothing moved for as long as the limits allow. Both sockets were reset.
    Idle,
    /// This side's socket failed. Both were reset.
    Broken(Side, io::Error),
}

/// What has flowed, and how it ended.
#[derive(Debug)]
pub struct Flowed {
    /// From left to right.
    pub up: Bytes,
    /// From right to left.
    pub down: Bytes,
    /// Why no more.
    pub end: End,
}

/// Lets bytes flow both ways until both sides have ended. `head` is what was read from the left socket before: it
/// reaches the right one first.
///
/// Must be called within a tokio runtime that has I/O and time.
pub async fn flow(left: Socket, right: Socket, head: &[u8], limits: &Limits, counters: &Counters) -> Flowed {
    left.no_delay();
    right.no_delay();
    let mut pair = Pair {
        sockets: [left, right],
        up: Direction::after(head),
        down: Direction::after(&[]),
        counters,
        is_complete: false,
    };
    let mut patience = Patience { limits, moved: Instant::now(), half_closed: false };
    let mut clock = pin!(tokio::time::sleep_until(patience.deadline()));
    let end = poll_fn(|cx| match pair.poll(cx, &mut patience) {
        Poll::Ready(end) => Poll::Ready(end),
        Poll::Pending => patience.poll_lost(cx, clock.as_mut()).map(|()| End::Idle),
    })
    .await;
    pair.is_complete = matches!(end, End::Complete);
    Flowed { up: pair.up.bytes(), down: pair.down.bytes(), end }
}

/// Both sockets. Dropped before both sides have ended, it resets them.
struct Pair<'a> {
    sockets: [Socket; 2],
    up: Direction,
    down: Direction,
    counters: &'a Counters,
    is_complete: bool,
}

impl Pair<'_> {
    fn poll(&mut self, cx: &mut Context<'_>, patience: &mut Patience<'_>) -> Poll<End> {
        let before = self.up.bytes() + self.down.bytes();
        let [left, right] = &mut self.sockets;
        let up = self.up.poll(cx, left, right, self.counters);
        // Also if the other direction has failed: what lies in the sockets already may be why, such as the answer of
        // a server that did not want to read to the end.
        let down = self.down.poll(cx, right, left, self.counters);
        let moved = self.up.bytes() + self.down.bytes() - before;
        self.counters.add(moved);
        let half_closed = up.is_ready() || down.is_ready();
        if moved.all() > 0 || half_closed != patience.half_closed {
            patience.moved = Instant::now();
            patience.half_closed = half_closed;
        }
        match (up, down) {
            (Poll::Ready(Err(failure)), _) => Poll::Ready(failure.into_end(Side::Left, Side::Right)),
            (_, Poll::Ready(Err(failure))) => Poll::Ready(failure.into_end(Side::Right, Side::Left)),
            (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => Poll::Ready(End::Complete),
            _ => Poll::Pending,
        }
    }
}

impl Drop for Pair<'_> {
    fn drop(&mut self) {
        if !self.is_complete {
            self.sockets.iter().for_each(Socket::reset_when_dropped);
        }
    }
}

/// Since when nothing has moved. Bytes only note the time: the clock is set again when it rings, so that a busy flow
/// never touches it.
struct Patience<'a> {
    limits: &'a Limits,
    moved: Instant,
    half_closed: bool,
}

impl Patience<'_> {
    fn deadline(&self) -> Instant {
        let half_closed = self.limits.half_closed.filter(|_| self.half_closed);
        self.moved + half_closed.or(self.limits.idle).unwrap_or(FOR_EVER).min(FOR_EVER)
    }

    /// Ready when it is lost.
    fn poll_lost(&self, cx: &mut Context<'_>, mut clock: Pin<&mut Sleep>) -> Poll<()> {
        let deadline = self.deadline();
        // A side that has ended may leave less time than there was.
        if deadline < clock.deadline() {
            clock.as_mut().reset(deadline);
        }
        while clock.as_mut().poll(cx).is_ready() {
            if Instant::now() >= deadline {
                return Poll::Ready(());
            }
            clock.as_mut().reset(deadline);
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_flow_that_waits_is_small() {
        let pair = || async {
            let (one, other) = tokio::net::UnixStream::pair().expect("a pair");
            (Socket::from(one), Socket::from(other))
        };
        let ((left, _), (right, _)) = (pair().await, pair().await);
        let (limits, counters) = (Limits::default(), Counters::default());
        let size = size_of_val(&flow(left, right, &[], &limits, &counters));
        assert!(size <= 768, "{size} bytes");
    }
}
