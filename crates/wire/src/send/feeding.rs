//! The feed whose bytes are leaving, and who tells it that the client is slower.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use outflow_content::{Feed, SpanError};
use outflow_net::pipe::Pipe;

use crate::connection::timer::Timer;

/// A client that takes nothing for so long is slower than its feed. Far more than a round trip on most paths, far
/// less than what whoever holds the feed's other end would notice.
const FALLS_BEHIND: Duration = Duration::from_millis(50);

/// A response's feed, if there is one at the moment.
#[derive(Default)]
pub(crate) struct Feeding {
    feed: Option<Box<dyn Feed>>,
    /// Made when the client has to be waited for, and kept for further waits.
    patience: Option<Timer>,
}

/// How a feed's next bytes are to be had.
pub(crate) enum Next {
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

    /// The next bytes, which may be spliced only if `splices`.
    pub(crate) fn poll_next(&mut self, cx: &mut Context<'_>, splices: bool) -> Poll<Result<Next, SpanError>> {
        let Some(feed) = &mut self.feed else { return Poll::Ready(Ok(Next::End)) };
        if splices && ready!(feed.poll_spliceable(cx))? {
            return Poll::Ready(Ok(Next::Spliceable));
        }
        Poll::Ready(match ready!(feed.poll_next(cx)) {
            Some(chunk) => chunk.map(Next::Chunk),
            None => Ok(Next::End),
        })
    }

    /// Moves up to `most` bytes into an empty pipe; how many.
    pub(crate) fn splice(&mut self, pipe: &mut Pipe, most: usize) -> Result<usize, SpanError> {
        let Some(feed) = &mut self.feed else { return Ok(0) };
        let n = pipe.fill(|into| feed.splice(into, most))?;
        if n > most {
            let source = format!("moved {n} bytes where {most} were asked for").into();
            return Err(SpanError::Other { name: "a feed".to_owned(), source });
        }
        Ok(n)
    }

    /// Waits until the client has taken what `sending` sends, which is one call. The feed is told once if that
    /// takes long.
    pub(crate) async fn during<T>(&mut self, sending: impl Future<Output = T>) -> T {
        let mut sending = pin!(sending);
        let (mut waits, mut told) = (false, false);
        poll_fn(|cx| {
            let result = sending.as_mut().poll(cx);
            if told || result.is_ready() {
                return result;
            }
            let Some(feed) = &mut self.feed else { return Poll::Pending };
            let patience = self.patience.get_or_insert_with(|| Timer::new(FALLS_BEHIND));
            if !waits {
                waits = true;
                patience.set(FALLS_BEHIND);
            }
            if patience.poll_expired(cx).is_ready() {
                told = true;
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
        feeding.during(sleep(FALLS_BEHIND * 100)).await;
        feeding.begin(Box::new(Counting(Arc::clone(&told))));
        for (wait, want) in [(1, 0), (49, 0), (49, 0), (5000, 1), (49, 1), (51, 2), (10, 2)] {
            feeding.during(sleep(Duration::from_millis(wait))).await;
            assert_eq!(told.load(Relaxed), want, "after a wait of {wait} ms");
        }
        feeding.end();
        feeding.during(sleep(FALLS_BEHIND * 100)).await;
        assert_eq!(told.load(Relaxed), 2);
    }
}
