//! Silence: when to ask whether the other end is there, when to give it up.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

/// What it is time for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// To ask.
    Ping,
    /// To take the leg for lost.
    Lost,
    /// To give the tunnel up: nobody uses it.
    Idle,
}

pub(crate) struct Clock {
    idle: Option<Duration>,
    ping: Option<Duration>,
    /// Set for the earliest moment that something could be due; `None` if nothing ever is. Moments only move away, so it
    /// is looked at again when it rings, and not whenever a byte moves.
    alarm: Option<Pin<Box<Sleep>>>,
    /// Payload moved; something was heard, or nobody listened; the question was put.
    moved: Instant,
    heard: Instant,
    asked: Instant,
    /// The other end is one that answers.
    answers: bool,
    listening: bool,
}

impl Clock {
    pub(crate) fn new(idle: Option<Duration>, ping: Option<Duration>) -> Clock {
        let now = Instant::now();
        let first = [idle, ping].into_iter().flatten().min();
        let alarm = first.map(|first| Box::pin(sleep_until(now + first)));
        Clock { idle, ping, alarm, moved: now, heard: now, asked: now, answers: false, listening: true }
    }

    /// The other end is known to answer: from now on its silence means that it is gone.
    pub(crate) fn answers(&mut self) {
        self.answers = true;
    }

    /// Payload moved.
    pub(crate) fn moved(&mut self) {
        self.moved = Instant::now();
    }

    /// What is due now. Silence counts only while somebody listens: as long as the far end takes nothing, the leg is not
    /// read, and what it says is not heard.
    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        moved: bool,
        heard: bool,
        listening: bool,
    ) -> Option<Due> {
        let alarm = self.alarm.as_mut()?;
        if moved || heard || listening != self.listening {
            let now = Instant::now();
            self.moved = if moved { now } else { self.moved };
            self.heard = now;
            self.listening = listening;
        }
        while alarm.as_mut().poll(cx).is_ready() {
            let now = Instant::now();
            if self.idle.is_some_and(|idle| now >= self.moved + idle) {
                return Some(Due::Idle);
            }
            let mut next = self.idle.map(|idle| self.moved + idle);
            let mut ask = false;
            if let Some(ping) = self.ping {
                let lost = self.heard + ping * 5 / 2;
                let counts = self.answers && self.listening;
                if counts && now >= lost {
                    return Some(Due::Lost);
                }
                ask = now >= self.heard.max(self.asked) + ping;
                if ask {
                    self.asked = now;
                }
                let again = self.heard.max(self.asked) + ping;
                let soonest = if counts { again.min(lost) } else { again };
                next = Some(next.map_or(soonest, |next| next.min(soonest)));
            }
            if let Some(next) = next {
                alarm.as_mut().reset(next);
            }
            if ask {
                // The alarm has to be listened to from now on.
                if alarm.as_mut().poll(cx) == Poll::Ready(()) {
                    cx.waker().wake_by_ref();
                }
                return Some(Due::Ping);
            }
        }
        None
    }
}
