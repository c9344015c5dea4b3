//! Passes the ledger's reports of progress to subscribers.
//!
//! Each report is rendered once, as a server-sent event, for all subscribers. A subscriber costs a
//! receiver of its topic's channel.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use outflow_ledger::{DownloadProgress, DownloadQuery, Ledger, LedgerError, ProgressReport, Recipient};
use outflow_web::sse;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::sync::{Semaphore, broadcast};

use crate::delivery::DeliveryListeners;

/// Maximum number of events about one recipient that a subscriber may lag behind. Beyond it, it
/// receives the whole state again.
///
/// Bound: progress.
const MAX_LAG: usize = 64;
/// Maximum number of events that a subscriber to all recipients may lag behind; there are few of
/// them.
///
/// Bound: progress.
const MAX_LAG_OF_ALL: usize = 4096;
/// How often the task checks whether there are subscribers left.
const IDLE_CHECK: Duration = Duration::from_secs(30);
/// Maximum number of subscribers that query the ledger for the whole state at the same time.
///
/// Bound: progress.
const MAX_QUERIES: usize = 8;

/// The recipients whose downloads a subscriber follows.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum ProgressTopic {
    /// All.
    All,
    /// This one. `weak`: it came without a link, and is not the recipient that a link gives the
    /// same name.
    Of { recipient: String, weak: bool },
}

impl ProgressTopic {
    fn of(progress: &DownloadProgress) -> ProgressTopic {
        ProgressTopic::Of { recipient: progress.recipient.clone(), weak: progress.link.is_none() }
    }

    pub(super) fn has(&self, progress: &DownloadProgress) -> bool {
        *self == ProgressTopic::All || *self == ProgressTopic::of(progress)
    }
}

/// A report, and the event that it became.
pub(super) struct RenderedReport {
    pub(super) progress: Arc<DownloadProgress>,
    pub(super) event: Bytes,
}

/// What a subscriber receives.
#[derive(Clone)]
pub(super) enum ProgressMessage {
    Report(Arc<RenderedReport>),
    /// Reports were missed: the subscriber has to query the state again.
    Missed,
    /// No report follows.
    Closed,
}

/// The ledger's reports for subscribers. Clones share everything.
#[derive(Clone)]
pub(crate) struct ProgressFeed(Arc<FeedShared>);

struct FeedShared {
    ledger: Ledger,
    queries: Semaphore,
    topics: Mutex<ProgressTopics>,
}

#[derive(Default)]
struct ProgressTopics {
    senders: HashMap<ProgressTopic, broadcast::Sender<ProgressMessage>>,
    /// A task passes reports to the topics.
    running: bool,
    /// Number of the last event.
    number: u64,
}

impl ProgressFeed {
    pub(crate) fn new(ledger: Ledger) -> ProgressFeed {
        let queries = Semaphore::new(MAX_QUERIES);
        ProgressFeed(Arc::new(FeedShared { ledger, queries, topics: Mutex::default() }))
    }

    pub(super) fn ledger(&self) -> &Ledger {
        &self.0.ledger
    }

    /// The state of downloads.
    pub(super) async fn query(&self, query: &DownloadQuery) -> Result<Vec<DownloadProgress>, LedgerError> {
        let _permit = self.0.queries.acquire().await;
        self.0.ledger.progress(query).await
    }

    /// Subscribes to all reports about `topic` from now on. Called on a runtime.
    pub(super) fn subscribe(&self, topic: ProgressTopic) -> ProgressSubscription {
        let mut topics = self.topics();
        let room = if topic == ProgressTopic::All { MAX_LAG_OF_ALL } else { MAX_LAG };
        let sender = topics.senders.entry(topic.clone()).or_insert_with(|| broadcast::channel(room).0);
        let receiver = Some(sender.subscribe());
        if !topics.running {
            topics.running = true;
            // Before the subscriber queries the state, so that no report falls between the two.
            let reports = self.0.ledger.subscribe();
            tokio::spawn(self.clone().run(reports));
        }
        drop(topics);
        ProgressSubscription { receiver, topic, feed: self.clone(), missed: false }
    }

    /// The number of the last event, which the whole state includes.
    pub(super) fn last_number(&self) -> u64 {
        self.topics().number
    }

    /// Number of topics that have subscribers.
    #[cfg(test)]
    pub(super) fn topic_count(&self) -> usize {
        self.topics().senders.len()
    }

    fn topics(&self) -> MutexGuard<'_, ProgressTopics> {
        self.0.topics.lock()
    }

    /// Passes reports to the topics while there are subscribers.
    async fn run(self, mut reports: broadcast::Receiver<ProgressReport>) {
        let mut idle_check = tokio::time::interval(IDLE_CHECK);
        loop {
            tokio::select! {
                report = reports.recv() => match report {
                    Ok(ProgressReport::Progress(progress)) => self.send(&progress),
                    Ok(ProgressReport::Missed) | Err(RecvError::Lagged(_)) => {
                        self.topics().send_all(&ProgressMessage::Missed);
                    }
                    Err(RecvError::Closed) => {
                        self.topics().send_all(&ProgressMessage::Closed);
                        return;
                    }
                },
                _ = idle_check.tick() => {
                    let mut topics = self.topics();
                    if topics.senders.is_empty() {
                        topics.running = false;
                        return;
                    }
                }
            }
        }
    }

    fn send(&self, progress: &Arc<DownloadProgress>) {
        let mut topics = self.topics();
        let names = [ProgressTopic::All, ProgressTopic::of(progress)];
        if !names.iter().any(|topic| topics.senders.contains_key(topic)) {
            return;
        }
        topics.number += 1;
        let event = event("progress", topics.number, &**progress);
        let report = Arc::new(RenderedReport { progress: Arc::clone(progress), event });
        for topic in &names {
            if let Some(sender) = topics.senders.get(topic) {
                // The last subscriber may have gone.
                let _ = sender.send(ProgressMessage::Report(Arc::clone(&report)));
            }
        }
    }
}

impl ProgressTopics {
    fn send_all(&self, word: &ProgressMessage) {
        for sender in self.senders.values() {
            let _ = sender.send(word.clone());
        }
    }
}

/// A subscription to a topic, which ends with its last subscription.
pub(super) struct ProgressSubscription {
    /// Always there until this is dropped.
    receiver: Option<broadcast::Receiver<ProgressMessage>>,
    topic: ProgressTopic,
    feed: ProgressFeed,
    /// [`ProgressMessage::Missed`] comes next.
    missed: bool,
}

impl ProgressSubscription {
    /// Waits for the next message. Cancel-safe.
    pub(super) async fn next(&mut self) -> ProgressMessage {
        if std::mem::take(&mut self.missed) {
            return ProgressMessage::Missed;
        }
        let Some(receiver) = &mut self.receiver else { return ProgressMessage::Closed };
        match receiver.recv().await {
            Ok(word) => word,
            Err(RecvError::Lagged(_)) => ProgressMessage::Missed,
            Err(RecvError::Closed) => ProgressMessage::Closed,
        }
    }

    /// The next report, if one has come.
    pub(super) fn try_next(&mut self) -> Option<Arc<RenderedReport>> {
        loop {
            match self.receiver.as_mut()?.try_recv() {
                Ok(ProgressMessage::Report(report)) => return Some(report),
                Ok(ProgressMessage::Missed | ProgressMessage::Closed) | Err(TryRecvError::Lagged(_)) => {
                    self.missed = true
                }
                Err(TryRecvError::Empty | TryRecvError::Closed) => return None,
            }
        }
    }

    /// Skips the messages up to now, before the state is queried again.
    pub(super) fn skip(&mut self) {
        self.receiver = self.receiver.take().map(|receiver| receiver.resubscribe());
        self.missed = false;
    }
}

impl Drop for ProgressSubscription {
    fn drop(&mut self) {
        let mut topics = self.feed.topics();
        drop(self.receiver.take());
        if topics.senders.get(&self.topic).is_some_and(|sender| sender.receiver_count() == 0) {
            topics.senders.remove(&self.topic);
        }
    }
}

impl DeliveryListeners for ProgressFeed {
    fn follow(&self, recipient: &dyn Fn() -> Recipient) -> bool {
        let topics = self.topics();
        if topics.senders.is_empty() {
            return false;
        }
        let Recipient { id, weak } = recipient();
        let topic = ProgressTopic::Of { recipient: id, weak };
        topics.senders.contains_key(&ProgressTopic::All) || topics.senders.contains_key(&topic)
    }
}

/// A server-sent event with `data` as JSON.
pub(super) fn event(name: &str, number: u64, data: &impl serde::Serialize) -> Bytes {
    // Numbers and strings are always JSON.
    let data = serde_json::to_string(data).unwrap_or_default();
    let mut event = String::with_capacity(data.len() + 64);
    sse::write_event(&mut event, Some(name), Some(&number), &data);
    event.into()
}
