//! One stream, on a connection that the engine has handed over: a socket, a subscription and a
//! timer.

use std::time::{Duration, SystemTime};

use outflow_ledger::DownloadState;
use outflow_web::sse::{self, StreamPolicy};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};
use tokio::time::Instant;

use super::broadcast::{ProgressFeed, ProgressMessage, ProgressSubscription};
use super::scope::{DownloadsState, ProgressScope};

/// How slow and silent clients are treated.
pub(super) const POLICY: StreamPolicy = StreamPolicy::DEFAULT;
/// How often the link is checked.
const LINK_CHECK: Duration = Duration::from_secs(60);
/// How long a client that has missed reports waits for the whole state.
///
/// Bound: progress.
const PAUSE: Duration = Duration::from_secs(1);

/// One client of a stream.
pub(super) struct ProgressListener<S> {
    connection: S,
    scope: ProgressScope,
    feed: ProgressFeed,
    subscription: ProgressSubscription,
    /// When a heartbeat is due.
    heartbeat_at: Instant,
    /// When the link is checked.
    link_check_at: Instant,
}

impl<S: AsyncRead + AsyncWrite + Unpin> ProgressListener<S> {
    pub(super) fn new(
        connection: S,
        scope: ProgressScope,
        feed: ProgressFeed,
        subscription: ProgressSubscription,
    ) -> ProgressListener<S> {
        let now = Instant::now();
        let (heartbeat_at, link_check_at) = (now + POLICY.heartbeat, now + LINK_CHECK);
        ProgressListener { connection, scope, feed, subscription, heartbeat_at, link_check_at }
    }

    /// Sends the first event and what follows, until no event can follow, or (`None`) until the
    /// client is gone. `over`: no event follows the first.
    pub(super) async fn serve(mut self, first: Vec<u8>, over: bool) -> Option<()> {
        self.send(&first).await?;
        // It may be long, and clients stay for hours.
        drop(first);
        if over { Some(()) } else { self.follow().await }
    }

    async fn follow(&mut self) -> Option<()> {
        let mut input = [0; 64];
        loop {
            let message = tokio::select! {
                message = self.subscription.next() => message,
                () = tokio::time::sleep_until(self.heartbeat_at.min(self.link_check_at)) => {
                    self.on_timer().await?;
                    continue;
                }
                // Only the end of its input matters.
                read = self.connection.read(&mut input) => match read {
                    Ok(1..) => continue,
                    Ok(0) | Err(_) => return None,
                },
            };
            match message {
                ProgressMessage::Report(report) if self.scope.has(&report.progress) => {
                    self.send(&report.event).await?;
                    if self.scope.is_single() && report.progress.state == DownloadState::Completed {
                        return Some(());
                    }
                }
                ProgressMessage::Report(_) => {}
                ProgressMessage::Missed => {
                    tokio::time::sleep(PAUSE).await;
                    self.subscription.skip();
                    let state = DownloadsState::query(&self.feed, &self.scope, &mut self.subscription);
                    let state = state.await.ok()?;
                    let (over, event) = (state.is_over(&self.scope), state.event(&self.feed));
                    self.send(&event).await?;
                    if over {
                        return Some(());
                    }
                }
                ProgressMessage::Closed => return None,
            }
        }
    }

    async fn on_timer(&mut self) -> Option<()> {
        let now = Instant::now();
        if now >= self.heartbeat_at {
            self.send(sse::HEARTBEAT).await?;
        }
        if now >= self.link_check_at {
            self.link_check_at = now + LINK_CHECK;
            return self.is_admitted().await.then_some(());
        }
        Some(())
    }

    /// Whether the link is still good.
    async fn is_admitted(&self) -> bool {
        let Some((link, spent)) = &self.scope.link else { return true };
        if spent.is_none() && link.expiry(SystemTime::now()).is_some() {
            // When the client reconnects, the server checks whether a download goes on all the
            // same.
            return false;
        }
        let ledger = self.feed.ledger();
        let state = match ledger.cached_link(&link.id) {
            Some(state) => Ok(state),
            None => ledger.link(&link.id).await,
        };
        // A ledger that does not answer closes no stream.
        state.map_or(true, |state| state.revoked.is_none())
    }

    async fn send(&mut self, bytes: &[u8]) -> Option<()> {
        self.heartbeat_at = Instant::now() + POLICY.heartbeat;
        POLICY.send(&mut self.connection, bytes).await.ok()
    }
}

#[cfg(test)]
mod tests {
    use outflow_ledger::{Ledger, LedgerOptions};
    use tokio::io::{AsyncWriteExt as _, DuplexStream};

    use super::super::scope::tests::anna;
    use super::*;

    fn ledger(folder: &tempfile::TempDir) -> Ledger {
        Ledger::open(&format!("sqlite:{}", folder.path().join("ledger").display()), LedgerOptions::default())
            .unwrap()
    }

    /// A listener whose kernel takes `buffer` bytes, and its client.
    fn listener(feed: &ProgressFeed, buffer: usize) -> (ProgressListener<DuplexStream>, DuplexStream) {
        let (connection, client) = tokio::io::duplex(buffer);
        let scope = anna();
        let subscription = feed.subscribe(scope.topic.clone());
        (ProgressListener::new(connection, scope, feed.clone(), subscription), client)
    }

    #[tokio::test(start_paused = true)]
    async fn a_comment_comes_when_nothing_else_has_come_for_15_seconds() {
        let folder = tempfile::TempDir::new().unwrap();
        let feed = ProgressFeed::new(ledger(&folder));
        let (listener, mut client) = listener(&feed, 1024);
        let begun = Instant::now();
        let serving = tokio::spawn(listener.serve(b"first".to_vec(), false));
        let mut first = [0; 5];
        client.read_exact(&mut first).await.unwrap();
        for beat in 1..=10 {
            // Input does not postpone it.
            tokio::time::sleep(Duration::from_secs(7)).await;
            client.write_all(b"?").await.unwrap();
            let mut comment = [0; 3];
            client.read_exact(&mut comment).await.unwrap();
            assert_eq!((&comment, begun.elapsed().as_secs()), (b":\n\n", beat * 15));
        }
        drop(client);
        assert_eq!(serving.await.unwrap(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_reads_nothing_is_closed_and_leaves_nothing_behind() {
        let folder = tempfile::TempDir::new().unwrap();
        let feed = ProgressFeed::new(ledger(&folder));
        let (listener, _client) = listener(&feed, 16);
        let begun = Instant::now();
        assert_eq!(listener.serve(vec![b'x'; 100], false).await, None);
        assert_eq!(begun.elapsed(), POLICY.stall);
        assert_eq!(feed.topic_count(), 0);
    }
}
