//! Two sockets, and the bytes that flow between them: through the kernel where that pays, by
//! copying where it does not.
//!
//! ```text
//! socket      TCP or Unix: readiness, reads, writes, the end of a direction
//! direction   one direction: reads, writes, and what it holds in between
//! counters    bytes by the path that they took
//! ```
//!
//! Each direction begins by copying, which is faster for an occasional message, and changes to
//! splice(2) when there is much to read. A pair of sockets that waits holds neither buffer nor
//! pipe.
//!
//! A stream that broke never looks complete: unless both sides ended, a flow ends with a reset
//! (RST) of both TCP sockets, also when its future is dropped. A Unix socket knows no reset; its
//! peer sees the end of the stream.

mod counters;
mod direction;
mod socket;

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

pub use self::counters::{ByteCounts, FlowCounters, FlowPath};
use self::direction::{Direction, DirectionError};
pub use self::socket::FlowSocket;

/// Stands for no timeout, so that a flow without one needs no special case.
const FOREVER: Duration = Duration::from_secs(30 * 365 * 86_400);

/// How long a flow may be silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowTimeouts {
    /// Without a byte in either direction. `None`: no limit. 1 hour.
    pub idle: Option<Duration>,
    /// The same, once one side has ended. `None`: as `idle`. 5 minutes.
    pub half_closed: Option<Duration>,
}

impl Default for FlowTimeouts {
    fn default() -> FlowTimeouts {
        FlowTimeouts { idle: Some(Duration::from_secs(3_600)), half_closed: Some(Duration::from_secs(300)) }
    }
}

/// One of the two sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlowSide {
    /// The first.
    Left,
    /// The second.
    Right,
}

/// Why a flow has ended.
#[derive(Debug)]
pub enum FlowEnd {
    /// Both sides have ended, and all bytes have been passed on.
    Complete,
    /// No byte moved for the time of [`FlowTimeouts`]. Both sockets were reset.
    Idle,
    /// The socket of this side failed. Both were reset.
    Broken(FlowSide, io::Error),
}

/// What a flow has moved, and why it ended.
#[derive(Debug)]
pub struct FlowOutcome {
    /// From left to right.
    pub up: ByteCounts,
    /// From right to left.
    pub down: ByteCounts,
    /// Why it ended.
    pub end: FlowEnd,
}

/// Moves bytes both ways until both sides have ended. `head` goes to the right socket first: bytes
/// that were read from the left one before, or a PROXY header.
///
/// Must be called within a tokio runtime that has I/O and time.
pub async fn flow(
    left: FlowSocket,
    right: FlowSocket,
    head: &[u8],
    timeouts: &FlowTimeouts,
    counters: &FlowCounters,
) -> FlowOutcome {
    left.no_delay();
    right.no_delay();
    let mut pair = SocketPair {
        sockets: [left, right],
        up: Direction::starting_with(head),
        down: Direction::starting_with(&[]),
        counters,
        is_complete: false,
    };
    let mut timer = IdleTimer { timeouts, moved: Instant::now(), half_closed: false };
    let mut sleep = pin!(tokio::time::sleep_until(timer.deadline()));
    let end = poll_fn(|cx| match pair.poll(cx, &mut timer) {
        Poll::Ready(end) => Poll::Ready(end),
        Poll::Pending => timer.poll_expired(cx, sleep.as_mut()).map(|()| FlowEnd::Idle),
    })
    .await;
    pair.is_complete = matches!(end, FlowEnd::Complete);
    FlowOutcome { up: pair.up.bytes(), down: pair.down.bytes(), end }
}

/// Both sockets. Resets them if it is dropped before both sides have ended.
struct SocketPair<'a> {
    sockets: [FlowSocket; 2],
    up: Direction,
    down: Direction,
    counters: &'a FlowCounters,
    is_complete: bool,
}

impl SocketPair<'_> {
    fn poll(&mut self, cx: &mut Context<'_>, timer: &mut IdleTimer<'_>) -> Poll<FlowEnd> {
        let before = self.up.bytes() + self.down.bytes();
        let [left, right] = &mut self.sockets;
        let up = self.up.poll(cx, left, right, self.counters);
        // Even if the other direction has failed: the sockets may hold the reason, such as the
        // response of a server that did not want to read the whole request.
        let down = self.down.poll(cx, right, left, self.counters);
        let moved = self.up.bytes() + self.down.bytes() - before;
        self.counters.add(moved);
        let half_closed = up.is_ready() || down.is_ready();
        if moved.total() > 0 || half_closed != timer.half_closed {
            timer.moved = Instant::now();
            timer.half_closed = half_closed;
        }
        match (up, down) {
            (Poll::Ready(Err(error)), _) => Poll::Ready(broken(error, FlowSide::Left, FlowSide::Right)),
            (_, Poll::Ready(Err(error))) => Poll::Ready(broken(error, FlowSide::Right, FlowSide::Left)),
            (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => Poll::Ready(FlowEnd::Complete),
            _ => Poll::Pending,
        }
    }
}

fn broken(error: DirectionError, source: FlowSide, target: FlowSide) -> FlowEnd {
    match error {
        DirectionError::Source(error) => FlowEnd::Broken(source, error),
        DirectionError::Target(error) => FlowEnd::Broken(target, error),
    }
}

impl Drop for SocketPair<'_> {
    fn drop(&mut self) {
        if !self.is_complete {
            self.sockets.iter().for_each(FlowSocket::reset_when_dropped);
        }
    }
}

/// When bytes last moved. Moving bytes only notes the time; the sleep is reset when it expires, so
/// that a busy flow never touches the timer wheel.
struct IdleTimer<'a> {
    timeouts: &'a FlowTimeouts,
    moved: Instant,
    half_closed: bool,
}

impl IdleTimer<'_> {
    fn deadline(&self) -> Instant {
        let half_closed = self.timeouts.half_closed.filter(|_| self.half_closed);
        self.moved + half_closed.or(self.timeouts.idle).unwrap_or(FOREVER).min(FOREVER)
    }

    fn poll_expired(&self, cx: &mut Context<'_>, mut sleep: Pin<&mut Sleep>) -> Poll<()> {
        let deadline = self.deadline();
        // The end of a side may bring the deadline forward.
        if deadline < sleep.deadline() {
            sleep.as_mut().reset(deadline);
        }
        while sleep.as_mut().poll(cx).is_ready() {
            if Instant::now() >= deadline {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(deadline);
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
            (FlowSocket::from(one), FlowSocket::from(other))
        };
        let ((left, _), (right, _)) = (pair().await, pair().await);
        let (timeouts, counters) = (FlowTimeouts::default(), FlowCounters::default());
        let size = size_of_val(&flow(left, right, &[], &timeouts, &counters));
        assert!(size <= 768, "{size} bytes");
    }
}
