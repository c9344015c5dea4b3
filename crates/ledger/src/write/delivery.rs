//! The state of a delivery in memory.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use jiff::Timestamp;
use parking_lot::{Mutex, MutexGuard};

use crate::db::download_row::now;
use crate::model::NewDelivery;
use crate::model::ranges;

/// A delivery that has begun.
pub(crate) struct TrackedDelivery {
    /// Identifies it in this process.
    pub(crate) number: u64,
    pub(crate) info: NewDelivery,
    /// The ranges of the content that it carries, in order.
    pub(crate) carries: Vec<Range<u64>>,
    pub(crate) began: Timestamp,
    /// Whether a checkpoint is in the queue.
    checkpoint_queued: AtomicBool,
    progress: Mutex<DeliveryProgress>,
    rows: Mutex<DeliveryRows>,
}

/// How much of a delivery has been acknowledged.
pub(crate) struct DeliveryProgress {
    /// In order, disjoint.
    pub(crate) acked: Vec<Range<u64>>,
    pub(crate) sent: u64,
    /// Length of `acked`.
    pub(crate) bytes: u64,
    /// Length of `acked` at the last checkpoint.
    pub(crate) checkpoint_bytes: u64,
    pub(crate) checkpoint_at: Instant,
}

/// The rows of a delivery in the database, once they are committed.
#[derive(Clone, Default)]
pub(crate) struct DeliveryRows {
    /// The id of its download.
    pub(crate) download: Option<Arc<str>>,
    /// Its own id among the deliveries under way.
    pub(crate) delivery: Option<Arc<str>>,
}

impl TrackedDelivery {
    pub(crate) fn new(number: u64, info: NewDelivery, carries: Vec<Range<u64>>) -> TrackedDelivery {
        TrackedDelivery {
            number,
            carries: ranges::normalize(carries, info.content.length),
            info,
            began: now(),
            checkpoint_queued: AtomicBool::new(false),
            progress: Mutex::new(DeliveryProgress {
                acked: Vec::new(),
                sent: 0,
                bytes: 0,
                checkpoint_bytes: 0,
                checkpoint_at: Instant::now(),
            }),
            rows: Mutex::default(),
        }
    }

    pub(crate) fn progress(&self) -> MutexGuard<'_, DeliveryProgress> {
        self.progress.lock()
    }

    pub(crate) fn rows(&self) -> MutexGuard<'_, DeliveryRows> {
        self.rows.lock()
    }

    /// Returns whether no checkpoint was in the queue. From now on there is one.
    pub(super) fn queue_checkpoint(&self) -> bool {
        !self.checkpoint_queued.swap(true, Ordering::AcqRel)
    }

    /// The acknowledged ranges, for the checkpoint that has left the queue.
    pub(crate) fn take_checkpoint(&self) -> Vec<Range<u64>> {
        self.checkpoint_queued.store(false, Ordering::Release);
        let mut progress = self.progress();
        progress.checkpoint_at = Instant::now();
        progress.acked.clone()
    }

    /// A checkpoint of these ranges was committed. Live progress counts from there.
    pub(crate) fn checkpoint_committed(&self, acked: &[Range<u64>]) {
        self.progress().checkpoint_bytes = ranges::total_length(acked);
    }
}

impl DeliveryProgress {
    /// Adds acknowledged ranges of a content of `length` bytes.
    pub(super) fn add(&mut self, more: Vec<Range<u64>>, length: u64) {
        if more.is_empty() {
            return;
        }
        let mut all = std::mem::take(&mut self.acked);
        all.extend(more);
        self.acked = ranges::normalize(all, length);
        self.bytes = ranges::total_length(&self.acked);
    }
}
