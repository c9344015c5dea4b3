//! Changes of deliveries that wait for the writer. The queue is bounded and never blocks.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::counts::{FileCount, PendingCounts};
use super::delivery::TrackedDelivery;
use super::held::HeldBeginnings;
use crate::model::{BacklogFull, ContentInfo, ContentKey, DeliveryEnd, LedgerMetrics, LedgerOptions};

/// A change of a delivery.
#[derive(Clone)]
pub(crate) enum DeliveryChange {
    Begin(Arc<TrackedDelivery>),
    Checkpoint(Arc<TrackedDelivery>),
    /// How it ended, and when.
    End(Arc<TrackedDelivery>, Box<DeliveryEnd>, Timestamp),
}

impl DeliveryChange {
    pub(crate) fn delivery(&self) -> &Arc<TrackedDelivery> {
        match self {
            DeliveryChange::Begin(delivery)
            | DeliveryChange::Checkpoint(delivery)
            | DeliveryChange::End(delivery, ..) => delivery,
        }
    }
}

/// How long the beginning of a delivery that is not held waits for others.
const BEGIN_DELAY: Duration = Duration::from_millis(100);
/// Maximum length in bytes of a content whose deliveries are held until they end.
///
/// Bound: ledger.
const MAX_HELD_LENGTH: u64 = 1 << 20;
/// How long what is counted waits in memory.
const COUNT_DELAY: Duration = Duration::from_secs(10);
/// Maximum number of changes in one transaction.
///
/// Bound: ledger.
const MAX_BATCH: usize = 2048;

/// The changes that wait.
pub(crate) struct ChangeQueue {
    queued: Mutex<QueuedChanges>,
    counts: Mutex<PendingCounts>,
    /// Capacity in use: by changes that wait, and by those that deliveries under way will make.
    taken: AtomicUsize,
    backlog: usize,
    /// Time between two batches.
    commit_delay: Duration,
    /// How long a beginning is held.
    begin_delay: Duration,
    /// Whether somebody watches progress on this node, so that no beginning is held.
    is_watched: Box<dyn Fn() -> bool + Send + Sync>,
    wake: Notify,
    closed: AtomicBool,
    /// Number of the next delivery.
    number: AtomicU64,
    metrics: Arc<LedgerMetrics>,
}

/// What one transaction writes.
#[derive(Default)]
pub(crate) struct TakenChanges {
    /// In their order, at most [`MAX_BATCH`].
    pub(crate) changes: Vec<DeliveryChange>,
    pub(crate) counts: Vec<(ContentKey, FileCount)>,
}

#[derive(Default)]
struct QueuedChanges {
    /// In the order in which they are applied.
    changes: VecDeque<DeliveryChange>,
    held: HeldBeginnings,
    /// Until when they may wait for others, if there are any.
    due: Option<Instant>,
    /// When the last batch was taken.
    last_taken: Option<Instant>,
    /// Until when the writer sleeps: `None` while it works, and for ever if nothing waits.
    sleeps_until: Option<Option<Instant>>,
}

impl QueuedChanges {
    fn take(&mut self) -> Vec<DeliveryChange> {
        let count = self.changes.len().min(MAX_BATCH);
        let taken: Vec<_> = self.changes.drain(..count).collect();
        self.last_taken = Some(Instant::now());
        if self.changes.is_empty() {
            self.due = None;
        }
        taken
    }

    /// Adds a change that waits until `due`, behind the beginnings of its download that are held.
    fn release(&mut self, change: DeliveryChange, due: Instant) {
        let earlier = self.held.remove(change.delivery());
        self.changes.extend(earlier.into_iter().map(DeliveryChange::Begin));
        self.changes.push_back(change);
        self.due = Some(self.due.map_or(due, |before| before.min(due)));
    }

    /// Releases the beginnings that were held until `now`, or all.
    fn release_held(&mut self, now: Instant, all: bool) {
        while let Some(delivery) = self.held.pop(now, all) {
            self.release(DeliveryChange::Begin(delivery), now);
        }
    }
}

impl ChangeQueue {
    pub(crate) fn new(
        options: &LedgerOptions,
        metrics: Arc<LedgerMetrics>,
        is_watched: impl Fn() -> bool + Send + Sync + 'static,
    ) -> ChangeQueue {
        ChangeQueue {
            queued: Mutex::default(),
            counts: Mutex::default(),
            taken: AtomicUsize::new(0),
            backlog: options.backlog,
            commit_delay: options.commit_delay,
            begin_delay: options.begin_delay,
            is_watched: Box::new(is_watched),
            wake: Notify::new(),
            closed: AtomicBool::new(false),
            number: AtomicU64::new(0),
            metrics,
        }
    }

    /// A number that no other delivery of this process has.
    pub(crate) fn next_number(&self) -> u64 {
        self.number.fetch_add(1, Ordering::Relaxed)
    }

    /// Reserves capacity for a beginning and an end. Checkpoints need none: each delivery has at
    /// most one in the queue.
    pub(crate) fn reserve(&self) -> Result<(), BacklogFull> {
        let taken = self.taken.fetch_add(2, Ordering::AcqRel);
        if taken + 2 > self.backlog {
            self.taken.fetch_sub(2, Ordering::AcqRel);
            self.metrics.rejected.inc();
            return Err(BacklogFull { waiting: taken });
        }
        Ok(())
    }

    /// Releases the capacity of [`ChangeQueue::reserve`].
    pub(crate) fn release(&self) {
        self.taken.fetch_sub(2, Ordering::AcqRel);
    }

    pub(crate) fn push(&self, change: DeliveryChange) {
        let now = Instant::now();
        let is_held = match &change {
            DeliveryChange::Begin(delivery) => self.may_hold(delivery),
            DeliveryChange::Checkpoint(_) | DeliveryChange::End(..) => false,
        };
        let mut queued = self.queued.lock();
        let due = match change {
            DeliveryChange::Begin(delivery) if is_held => {
                let due = now + self.begin_delay;
                queued.held.push(delivery, due);
                due
            }
            DeliveryChange::Begin(_) => {
                queued.release(change, now + BEGIN_DELAY);
                now + BEGIN_DELAY
            }
            // One that comes alone does not wait; many wait for each other.
            DeliveryChange::Checkpoint(_) | DeliveryChange::End(..) => {
                let due = queued.last_taken.map_or(now, |last| now.max(last + self.commit_delay));
                queued.release(change, due);
                due
            }
        };
        let full = queued.changes.len() >= MAX_BATCH;
        let wake = queued.sleeps_until.is_some_and(|until| full || until.is_none_or(|until| until > due));
        if wake {
            // Once: further changes find a writer that is awake.
            queued.sleeps_until = None;
            drop(queued);
            self.wake.notify_one();
        }
    }

    /// Whether the beginning of `delivery` may wait for its end, so that both are one row. What a
    /// link allows depends on the downloads that have begun with it.
    fn may_hold(&self, delivery: &TrackedDelivery) -> bool {
        let info = &delivery.info;
        info.content.length <= MAX_HELD_LENGTH && info.link.is_none() && !(self.is_watched)()
    }

    /// Releases all beginnings that are held: somebody watches from now on.
    pub(crate) fn release_held(&self) {
        self.queued.lock().release_held(Instant::now(), true);
        self.wake.notify_one();
    }

    /// Counts a delivery that has ended, which needs no capacity.
    pub(crate) fn count(&self, content: &Arc<ContentInfo>, end: &DeliveryEnd) {
        let wake = {
            let mut counts = self.counts.lock();
            let was = (counts.since.is_none(), counts.is_full());
            counts.add(content, end);
            self.metrics.counted.inc();
            was != (counts.since.is_none(), counts.is_full())
        };
        if wake {
            self.wake.notify_one();
        }
    }

    /// Releases the capacity of changes that are committed.
    pub(crate) fn committed(&self, changes: &[DeliveryChange]) {
        let is_checkpoint = |change: &&DeliveryChange| matches!(change, DeliveryChange::Checkpoint(_));
        let count = changes.len() - changes.iter().filter(is_checkpoint).count();
        self.taken.fetch_sub(count, Ordering::AcqRel);
    }

    pub(crate) fn taken(&self) -> usize {
        self.taken.load(Ordering::Acquire)
    }

    pub(crate) fn backlog(&self) -> usize {
        self.backlog
    }

    /// From now on no change waits for others.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.wake.notify_one();
    }

    /// The next changes, and what was counted if that has waited long enough. Both empty: the queue
    /// is closed and empty.
    pub(crate) async fn take(&self) -> TakenChanges {
        loop {
            let closed = self.closed.load(Ordering::Acquire);
            let counted_until = {
                let mut counts = self.counts.lock();
                let until = counts.since.map(|since| since + COUNT_DELAY);
                if until.is_some_and(|until| closed || counts.is_full() || until <= Instant::now()) {
                    let counts = counts.take();
                    return TakenChanges { changes: self.queued.lock().take(), counts };
                }
                until
            };
            let until = {
                let mut queued = self.queued.lock();
                let now = Instant::now();
                queued.sleeps_until = None;
                queued.release_held(now, closed);
                let full = queued.changes.len() >= MAX_BATCH;
                if closed || full || queued.due.is_some_and(|due| due <= now) {
                    return TakenChanges { changes: queued.take(), counts: Vec::new() };
                }
                let until = [queued.due, queued.held.due(), counted_until].into_iter().flatten().min();
                queued.sleeps_until = Some(until);
                until
            };
            match until {
                None => self.wake.notified().await,
                Some(until) => {
                    let _ = tokio::time::timeout_at(until, self.wake.notified()).await;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Assurance, DeliveryOutcome, LinkUse, NewDelivery, Recipient};

    fn queue() -> ChangeQueue {
        ChangeQueue::new(&LedgerOptions::default(), Arc::default(), || false)
    }

    fn delivery(queue: &ChangeQueue, recipient: &str, length: u64, link: bool) -> Arc<TrackedDelivery> {
        let content = ContentInfo {
            key: ContentKey([1; 16]),
            etag: String::new(),
            length,
            name: String::new(),
            path: String::new(),
            transfer: None,
            parts: None,
        };
        let new = NewDelivery {
            content: Arc::new(content),
            recipient: Recipient { id: recipient.to_owned(), weak: true },
            link: link.then(|| LinkUse { id: "a".to_owned(), max_downloads: Some(1) }),
            client: None,
            user_agent: None,
            assurance: Assurance::Peer,
        };
        Arc::new(TrackedDelivery::new(queue.next_number(), new, vec![0..length]))
    }

    fn begin(queue: &ChangeQueue, delivery: &Arc<TrackedDelivery>) {
        queue.push(DeliveryChange::Begin(Arc::clone(delivery)));
    }

    fn end(queue: &ChangeQueue, delivery: &Arc<TrackedDelivery>) {
        let outcome = DeliveryOutcome::Completed { confirmed: true };
        let end = DeliveryEnd { acked: Vec::new(), sent: 0, outcome, transport: None };
        queue.push(DeliveryChange::End(Arc::clone(delivery), Box::new(end), Timestamp::now()));
    }

    /// The next changes, as numbers of deliveries and whether they end; and when they came.
    async fn next(queue: &ChangeQueue, since: Instant) -> (Vec<(u64, bool)>, Duration) {
        let taken = queue.take().await.changes;
        let brief =
            |change: &DeliveryChange| (change.delivery().number, matches!(change, DeliveryChange::End(..)));
        (taken.iter().map(brief).collect(), since.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn a_short_delivery_is_held_until_it_ends_and_takes_earlier_ones_of_its_download_along() {
        let (queue, since) = (queue(), Instant::now());
        let [first, other, second] =
            ["anna", "ben", "anna"].map(|recipient| delivery(&queue, recipient, 1000, false));
        for delivery in [&first, &other, &second] {
            begin(&queue, delivery);
        }
        end(&queue, &second);
        assert_eq!(next(&queue, since).await, (vec![(0, false), (2, false), (2, true)], Duration::ZERO));
        // An end that comes soon after a commit waits for others.
        end(&queue, &first);
        assert_eq!(next(&queue, since).await, (vec![(0, true)], Duration::from_millis(50)));
        // A beginning is not held for ever.
        let (changes, after) = next(&queue, since).await;
        assert_eq!(changes, [(1, false)]);
        assert!(after >= Duration::from_millis(2500), "{after:?}");
        queue.close();
        assert!(next(&queue, since).await.0.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_long_delivery_one_by_a_link_and_a_watched_one_are_not_held() {
        let watched = ChangeQueue::new(&LedgerOptions::default(), Arc::default(), || true);
        let queue = queue();
        for (queue, length, link) in
            [(&queue, MAX_HELD_LENGTH + 1, false), (&queue, 1, true), (&watched, 1, false)]
        {
            let since = Instant::now();
            let delivery = delivery(queue, "anna", length, link);
            begin(queue, &delivery);
            let (changes, after) = next(queue, since).await;
            assert_eq!(changes, [(delivery.number, false)]);
            assert!(after <= BEGIN_DELAY + Duration::from_millis(1), "{after:?}");
        }
        // Somebody begins to watch.
        let since = Instant::now();
        let delivery = delivery(&queue, "ben", 1, false);
        begin(&queue, &delivery);
        queue.release_held();
        assert_eq!(next(&queue, since).await, (vec![(delivery.number, false)], Duration::ZERO));
    }
}
