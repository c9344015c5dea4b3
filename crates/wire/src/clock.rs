//! A clock that many connections of a thread wait for together: cheaper than a timer for each. It
//! stands still while no connection waits, so that a server at rest is not woken.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::sync::futures::Notified;

/// Wakes those who wait, once a period.
pub(crate) struct SharedClock {
    period: Duration,
    beat: Notify,
    waiting: AtomicUsize,
    /// Notified when the first begins to wait.
    wanted: Notify,
}

impl SharedClock {
    pub(crate) fn new(period: Duration) -> SharedClock {
        SharedClock { period, beat: Notify::new(), waiting: AtomicUsize::new(0), wanted: Notify::new() }
    }

    /// Joins those who wait. The first beat comes within two periods.
    pub(crate) fn wait(&self) -> ClockWait<'_> {
        if self.waiting.fetch_add(1, Ordering::AcqRel) == 0 {
            self.wanted.notify_one();
        }
        ClockWait(self)
    }

    /// Wakes those who wait, now.
    pub(crate) fn beat(&self) {
        self.beat.notify_waiters();
    }

    /// Drives the clock, forever.
    pub(crate) async fn run(&self) {
        loop {
            while self.waiting.load(Ordering::Acquire) == 0 {
                self.wanted.notified().await;
            }
            tokio::time::sleep(self.period).await;
            self.beat();
        }
    }
}

/// One of those who wait for a [`SharedClock`], until it is dropped.
pub(crate) struct ClockWait<'a>(&'a SharedClock);

impl<'a> ClockWait<'a> {
    /// Waits for the next beat.
    pub(crate) fn next(&self) -> Notified<'a> {
        self.0.beat.notified()
    }
}

impl Drop for ClockWait<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use tokio::time::Instant;

    use super::*;

    const PERIOD: Duration = Duration::from_millis(500);

    #[tokio::test(start_paused = true)]
    async fn it_beats_for_those_who_wait_also_after_a_pause() {
        let clock = SharedClock::new(PERIOD);
        let mut driver = pin!(clock.run());
        let hour = Duration::from_secs(3600);
        let start = Instant::now();
        let mut beats = 0;
        for _ in 0..2 {
            tokio::select! {
                () = &mut driver => unreachable!(),
                () = tokio::time::sleep(hour) => {}
            }
            let waiting = clock.wait();
            for _ in 0..3 {
                tokio::select! {
                    () = &mut driver => unreachable!(),
                    () = waiting.next() => beats += 1,
                }
            }
        }
        assert_eq!(beats, 6);
        let passed = start.elapsed() - 2 * hour;
        assert!(passed >= 6 * PERIOD && passed <= 8 * PERIOD, "{passed:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn it_has_no_timer_while_nobody_waits() {
        let clock = SharedClock::new(PERIOD);
        drop(clock.wait());
        // The place was given up at once: the driver goes back to sleep.
        let mut driver = pin!(clock.run());
        let poll = std::future::poll_fn(|cx| std::task::Poll::Ready(driver.as_mut().poll(cx).is_pending()));
        assert!(poll.await);
        let start = Instant::now();
        tokio::time::advance(Duration::from_secs(1)).await;
        let (mut first, waiting) = (pin!(clock.beat.notified()), clock.wait());
        first.as_mut().enable();
        tokio::select! {
            () = &mut driver => unreachable!(),
            () = first => {}
        }
        drop(waiting);
        assert_eq!(start.elapsed(), Duration::from_secs(1) + PERIOD);
    }
}
