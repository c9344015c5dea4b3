//! Silence: when to ping the other end, when to give it up.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

/// A deadline that has passed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// A ping.
    Ping,
    /// The leg counts as lost.
    Lost,
    /// The tunnel is idle for too long.
    Idle,
}

pub(crate) struct SilenceClock {
    idle: Option<Duration>,
    ping: Option<Duration>,
    /// Set to the earliest time at which something could be due; `None` if nothing ever is.
    /// Deadlines only move away, so they are checked when it expires, not whenever a byte moves.
    alarm: Option<Pin<Box<Sleep>>>,
    /// When payload last moved.
    moved: Instant,
    /// When something last arrived, or the leg was last not being read.
    received: Instant,
    /// When the last ping was sent.
    pinged: Instant,
    /// The other end is known to answer pings.
    answers: bool,
    reading: bool,
}

impl SilenceClock {
    pub(crate) fn new(idle: Option<Duration>, ping: Option<Duration>) -> SilenceClock {
        let now = Instant::now();
        let first = [idle, ping].into_iter().flatten().min();
        let alarm = first.map(|first| Box::pin(sleep_until(now + first)));
        SilenceClock {
            idle,
            ping,
            alarm,
            moved: now,
            received: now,
            pinged: now,
            answers: false,
            reading: true,
        }
    }

    /// Notes that the other end answers pings: from now on silence means that it is lost.
    pub(crate) fn set_answers(&mut self) {
        self.answers = true;
    }

    /// Notes that payload moved.
    pub(crate) fn set_moved(&mut self) {
        self.moved = Instant::now();
    }

    /// The deadline that has passed, if any. Silence counts only while the leg is being read: while
    /// the far end accepts nothing, it is not.
    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        moved: bool,
        received: bool,
        reading: bool,
    ) -> Option<Due> {
        let alarm = self.alarm.as_mut()?;
        if moved || received || reading != self.reading {
            let now = Instant::now();
            self.moved = if moved { now } else { self.moved };
            self.received = now;
            self.reading = reading;
        }
        while alarm.as_mut().poll(cx).is_ready() {
            let now = Instant::now();
            if self.idle.is_some_and(|idle| now >= self.moved + idle) {
                return Some(Due::Idle);
            }
            let mut next = self.idle.map(|idle| self.moved + idle);
            let mut ping_due = false;
            if let Some(ping) = self.ping {
                let lost = self.received + ping * 5 / 2;
                let counts = self.answers && self.reading;
                if counts && now >= lost {
                    return Some(Due::Lost);
                }
                ping_due = now >= self.received.max(self.pinged) + ping;
                if ping_due {
                    self.pinged = now;
                }
                let again = self.received.max(self.pinged) + ping;
                let soonest = if counts { again.min(lost) } else { again };
                next = Some(next.map_or(soonest, |next| next.min(soonest)));
            }
            if let Some(next) = next {
                alarm.as_mut().reset(next);
            }
            if ping_due {
                // Registers the waker with the alarm that was reset.
                if alarm.as_mut().poll(cx) == Poll::Ready(()) {
                    cx.waker().wake_by_ref();
                }
                return Some(Due::Ping);
            }
        }
        None
    }
}
