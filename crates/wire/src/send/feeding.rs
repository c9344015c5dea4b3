//! The feed whose bytes are leaving, and backpressure on it.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use outflow_content::{Feed, SpanError};
use outflow_net::pipe::Pipe;

use crate::connection::timer::DeadlineTimer;

/// A client that takes nothing for this long is slower than its feed. Far more than a round trip on
/// most paths, far less than what a store at the feed's other end would notice.
const FALLS_BEHIND: Duration = Duration::from_millis(50);

/// A response's feed, if there is one at the moment.
#[derive(Default)]
pub(crate) struct Feeding {
    feed: Option<Box<dyn Feed>>,
    /// Made for the first wait for the client, and kept for further ones.
    patience: Option<DeadlineTimer>,
}

/// How to obtain a feed's next bytes.
pub(crate) enum NextBytes {
    /// They can be spliced.
    Spliceable,
    Chunk(Bytes),
    /// There are none.
    End,
}

impl Feeding {
    pub(crate) fn begin(&mut self, feed: Box<dyn Feed>) {
        self.feed = Some(feed);
    }

    pub(crate) fn end(&mut self) {
        self.feed = None;
    }

    /// How to obtain the next bytes. They may be spliced only if `splices`.
    pub(crate) fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
        splices: bool,
    ) -> Poll<Result<NextBytes, SpanError>> {
        let Some(feed) = &mut self.feed else { return Poll::Ready(Ok(NextBytes::End)) };
        if splices && ready!(feed.poll_spliceable(cx))? {
            return Poll::Ready(Ok(NextBytes::Spliceable));
        }
        Poll::Ready(match ready!(feed.poll_next(cx)) {
            Some(chunk) => chunk.map(NextBytes::Chunk),
            None => Ok(NextBytes::End),
        })
    }

    /// Moves up to `limit` bytes into an empty pipe, and gives their number.
    pub(crate) fn splice(&mut self, pipe: &mut Pipe, limit: usize) -> Result<usize, SpanError> {
        let Some(feed) = &mut self.feed else { return Ok(0) };
        let n = pipe.fill(|into| feed.splice(into, limit))?;
        if n > limit {
            let source = format!("moved {n} bytes where {limit} were requested").into();
            return Err(SpanError::Other { name: "a feed".to_owned(), source });
        }
        Ok(n)
    }

    /// Waits for `sending`, which is one call. If the client takes long, the feed is notified once.
    pub(crate) async fn with_backpressure<T>(&mut self, sending: impl Future<Output = T>) -> T {
        let mut sending = pin!(sending);
        let (mut waits, mut notified) = (false, false);
        poll_fn(|cx| {
            let result = sending.as_mut().poll(cx);
            if notified || result.is_ready() {
                return result;
            }
            let Some(feed) = &mut self.feed else { return Poll::Pending };
            let patience = self.patience.get_or_insert_with(|| DeadlineTimer::new(FALLS_BEHIND));
            if !waits {
                waits = true;
                patience.set(FALLS_BEHIND);
            }
            if patience.poll_expired(cx).is_ready() {
                notified = true;
                feed.fall_behind();
            }
            Poll::Pending
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

    use tokio::time::sleep;

    use super::*;

    struct Counting(Arc<AtomicU32>);

    impl Feed for Counting {
        fn poll_next(&mut self, _: &mut Context<'_>) -> Poll<Option<Result<Bytes, SpanError>>> {
            Poll::Ready(None)
        }
        fn fall_behind(&mut self) {
            self.0.fetch_add(1, Relaxed);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_feed_is_told_once_in_each_long_wait_and_in_no_short_one() {
        let told = Arc::new(AtomicU32::new(0));
        let mut feeding = Feeding::default();
        feeding.with_backpressure(sleep(FALLS_BEHIND * 100)).await;
        feeding.begin(Box::new(Counting(Arc::clone(&told))));
        for (wait, want) in [(1, 0), (49, 0), (49, 0), (5000, 1), (49, 1), (51, 2), (10, 2)] {
            feeding.with_backpressure(sleep(Duration::from_millis(wait))).await;
            assert_eq!(told.load(Relaxed), want, "after a wait of {wait} ms");
        }
        feeding.end();
        feeding.with_backpressure(sleep(FALLS_BEHIND * 100)).await;
        assert_eq!(told.load(Relaxed), 2);
    }
}
