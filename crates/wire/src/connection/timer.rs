//! One deadline per connection, and a runtime timer only while the connection waits for it.
//!
//! A busy connection changes its deadline with every request. Moving a runtime timer each time
//! would cost more than the request; so a later deadline is only recorded, and the timer checks the
//! record when it fires. Only an earlier deadline moves it. A connection that never waits has no
//! timer, and neither has an idle one: these are checked from time to time, all together
//! (`ThreadContext::swept`).

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

use crate::options::ServerOptions;

/// A deadline that progress postpones.
pub(crate) struct DeadlineTimer {
    sleep: Option<Pin<Box<Sleep>>>,
    deadline: Instant,
    /// Seconds that a byte buys.
    worth: f32,
    /// How far from now progress can move the deadline, in milliseconds: four bytes, because every
    /// connection has a timer.
    cap: u32,
}

impl DeadlineTimer {
    pub(crate) fn new(after: Duration) -> DeadlineTimer {
        DeadlineTimer { sleep: None, deadline: Instant::now() + after, worth: 0.0, cap: millis(after) }
    }

    /// For a connection: the first deadline is that of an idle one, and progress buys time by
    /// `min_rate`.
    pub(crate) fn paced(options: &ServerOptions) -> DeadlineTimer {
        let worth = 1.0 / options.min_rate.max(1) as f32;
        DeadlineTimer {
            worth,
            cap: millis(options.stall_timeout),
            ..DeadlineTimer::new(options.keep_alive_timeout)
        }
    }

    /// Sets the deadline to `after` from now.
    pub(crate) fn set(&mut self, after: Duration) {
        self.deadline = Instant::now() + after;
    }

    fn cap(&self) -> Duration {
        Duration::from_millis(self.cap.into())
    }

    /// Sets the deadline as far ahead as progress could.
    pub(crate) fn renew(&mut self) {
        self.set(self.cap());
    }

    /// Progress of `bytes` bytes postpones the deadline.
    pub(crate) fn progress(&mut self, bytes: u64) {
        // At most a year: more seconds would not fit a Duration.
        let credit = (bytes as f64 * f64::from(self.worth)).min(31_536_000.0);
        self.deadline = (self.deadline + Duration::from_secs_f64(credit)).min(Instant::now() + self.cap());
    }

    /// Whether the deadline has passed.
    pub(crate) fn is_past(&self) -> bool {
        Instant::now() >= self.deadline
    }

    /// Frees the runtime timer.
    pub(crate) fn rest(&mut self) {
        self.sleep = None;
    }

    /// Ready when the deadline has passed.
    pub(crate) fn poll_expired(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let deadline = self.deadline;
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        if deadline < sleep.deadline() {
            sleep.as_mut().reset(deadline);
        }
        loop {
            ready!(sleep.as_mut().poll(cx));
            if sleep.deadline() >= deadline {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(deadline);
        }
    }
}

/// At most 49 days.
fn millis(time: Duration) -> u32 {
    u32::try_from(time.as_millis()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_later_deadline_is_noticed_when_the_old_one_fires() {
        let start = Instant::now();
        let mut timer = DeadlineTimer::new(Duration::from_secs(5));
        timer.set(Duration::from_secs(30));
        std::future::poll_fn(|cx| timer.poll_expired(cx)).await;
        assert_eq!(start.elapsed().as_secs(), 30);
    }

    #[tokio::test(start_paused = true)]
    async fn an_earlier_deadline_moves_the_timer() {
        let start = Instant::now();
        let mut timer = DeadlineTimer::new(Duration::from_secs(50));
        timer.set(Duration::from_secs(3));
        std::future::poll_fn(|cx| timer.poll_expired(cx)).await;
        assert_eq!(start.elapsed().as_secs(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn credit_is_capped() {
        let start = Instant::now();
        let options = ServerOptions {
            keep_alive_timeout: Duration::from_secs(10),
            stall_timeout: Duration::from_secs(20),
            min_rate: 1,
            ..ServerOptions::default()
        };
        let mut timer = DeadlineTimer::paced(&options);
        timer.progress(1_000);
        std::future::poll_fn(|cx| timer.poll_expired(cx)).await;
        assert_eq!(start.elapsed().as_secs(), 20);
    }
}
