//! One timer per connection, moved only when it has to be.
//!
//! A busy connection changes its deadline with every request. Moving a runtime's timer each time would
//! cost more than the request; so a later deadline is only noted, and the timer looks at the note when
//! it fires. Only an earlier deadline moves it.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

pub(crate) struct Timer {
    sleep: Pin<Box<Sleep>>,
    deadline: Instant,
}

impl Timer {
    pub(crate) fn new(after: Duration) -> Timer {
        let deadline = Instant::now() + after;
        Timer { sleep: Box::pin(tokio::time::sleep_until(deadline)), deadline }
    }

    /// The deadline is `after` from now.
    pub(crate) fn set(&mut self, after: Duration) {
        self.deadline = Instant::now() + after;
    }

    /// Progress was made that is worth `credit` of time; never more than `cap` from now.
    pub(crate) fn extend(&mut self, credit: Duration, cap: Duration) {
        self.deadline = (self.deadline + credit).min(Instant::now() + cap);
    }

    /// Ready when the deadline has passed.
    pub(crate) fn poll_expired(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.deadline < self.sleep.deadline() {
            self.sleep.as_mut().reset(self.deadline);
        }
        loop {
            ready!(self.sleep.as_mut().poll(cx));
            if self.sleep.deadline() >= self.deadline {
                return Poll::Ready(());
            }
            self.sleep.as_mut().reset(self.deadline);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_later_deadline_is_noticed_when_the_old_one_fires() {
        let start = Instant::now();
        let mut timer = Timer::new(Duration::from_secs(5));
        timer.set(Duration::from_secs(30));
        std::future::poll_fn(|cx| timer.poll_expired(cx)).await;
        assert_eq!(start.elapsed().as_secs(), 30);
    }

    #[tokio::test(start_paused = true)]
    async fn an_earlier_deadline_moves_the_timer() {
        let start = Instant::now();
        let mut timer = Timer::new(Duration::from_secs(50));
        timer.set(Duration::from_secs(3));
        std::future::poll_fn(|cx| timer.poll_expired(cx)).await;
        assert_eq!(start.elapsed().as_secs(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn credit_is_capped() {
        let start = Instant::now();
        let mut timer = Timer::new(Duration::from_secs(10));
        timer.extend(Duration::from_secs(1_000), Duration::from_secs(20));
        std::future::poll_fn(|cx| timer.poll_expired(cx)).await;
        assert_eq!(start.elapsed().as_secs(), 20);
    }
}
