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
use crate::model::{BacklogFull, ContentInfo, ContentKey, DeliveryEnd, LedgerMetrics};

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

    /// Whether it waits only for the commit delay. A beginning waits longer.
    fn is_urgent(&self) -> bool {
        !matches!(self, DeliveryChange::Begin(_))
    }
}

/// How long a beginning waits for its end: both in one batch cost less.
const BEGIN_DELAY: Duration = Duration::from_millis(100);
/// How long what is counted waits in memory.
const COUNT_DELAY: Duration = Duration::from_secs(10);
/// Maximum number of changes in one transaction.
///
/// Bound: ledger.
const MAX_BATCH: usize = 8192;

/// The changes that wait.
pub(crate) struct ChangeQueue {
    queued: Mutex<QueuedChanges>,
    counts: Mutex<PendingCounts>,
    /// Capacity in use: by changes that wait, and by those that deliveries under way will make.
    taken: AtomicUsize,
    backlog: usize,
    /// How long an end waits for others.
    commit_delay: Duration,
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
    changes: VecDeque<DeliveryChange>,
    /// How many of them are urgent.
    urgent: usize,
}

impl QueuedChanges {
    fn take(&mut self) -> Vec<DeliveryChange> {
        let count = self.changes.len().min(MAX_BATCH);
        let taken: Vec<_> = self.changes.drain(..count).collect();
        self.urgent -= taken.iter().filter(|change| change.is_urgent()).count();
        taken
    }
}

impl ChangeQueue {
    pub(crate) fn new(backlog: usize, commit_delay: Duration, metrics: Arc<LedgerMetrics>) -> ChangeQueue {
        ChangeQueue {
            queued: Mutex::default(),
            counts: Mutex::default(),
            taken: AtomicUsize::new(0),
            backlog,
            commit_delay,
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
        let wake = {
            let mut queued = self.queued.lock();
            let urgent = change.is_urgent();
            queued.changes.push_back(change);
            queued.urgent += usize::from(urgent);
            queued.changes.len() == 1 || (urgent && queued.urgent == 1) || queued.changes.len() == MAX_BATCH
        };
        if wake {
            self.wake.notify_one();
        }
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
        let mut first: Option<Instant> = None;
        let mut urgent: Option<Instant> = None;
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
                let until = if queued.changes.is_empty() {
                    None
                } else {
                    let first = *first.get_or_insert(now) + BEGIN_DELAY;
                    Some(if queued.urgent > 0 {
                        first.min(*urgent.get_or_insert(now) + self.commit_delay)
                    } else {
                        first
                    })
                };
                let full = queued.changes.len() >= MAX_BATCH;
                if closed || full || until.is_some_and(|until| until <= now) {
                    return TakenChanges { changes: queued.take(), counts: Vec::new() };
                }
                until
            };
            match until.into_iter().chain(counted_until).min() {
                None => self.wake.notified().await,
                Some(until) => {
                    let _ = tokio::time::timeout_at(until, self.wake.notified()).await;
                }
            }
        }
    }
}
