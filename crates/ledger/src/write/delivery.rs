//! A delivery that has begun, and what has been acknowledged of it.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use jiff::Timestamp;

use crate::model::{Opening, ranges};

/// A delivery that has begun.
pub(crate) struct Delivery {
    pub(crate) opening: Opening,
    /// The ranges of the content that it carries, in order.
    pub(crate) carries: Vec<Range<u64>>,
    pub(crate) began: Timestamp,
    /// Whether a checkpoint waits.
    pub(super) queued: AtomicBool,
    pub(super) progress: Mutex<Acked>,
    pub(super) place: Mutex<Place>,
}

/// What has been acknowledged of a delivery.
pub(crate) struct Acked {
    /// In order, apart from each other.
    pub(crate) acked: Vec<Range<u64>>,
    pub(crate) sent: u64,
    /// Length of `acked`.
    pub(crate) bytes: u64,
    /// That at the last checkpoint.
    pub(crate) noted_bytes: u64,
    pub(super) noted: Instant,
}

impl Acked {
    pub(super) fn add(&mut self, more: Vec<Range<u64>>, length: u64) {
        if more.is_empty() {
            return;
        }
        let mut all = std::mem::take(&mut self.acked);
        all.extend(more);
        self.acked = ranges::tidy(all, length);
        self.bytes = ranges::bytes(&self.acked);
    }
}

/// Where the writer has put a delivery.
#[derive(Clone, Default)]
pub(crate) struct Place {
    /// The download that it belongs to, once written.
    pub(crate) download: Option<Arc<str>>,
    /// The id of its row among the deliveries under way.
    pub(crate) row: Option<Arc<str>>,
}

impl Delivery {
    pub(crate) fn progress(&self) -> MutexGuard<'_, Acked> {
        self.progress.lock().expect("nothing panics while it is held")
    }

    pub(crate) fn place(&self) -> MutexGuard<'_, Place> {
        self.place.lock().expect("nothing panics while it is held")
    }

    /// What has been acknowledged; the next checkpoint is due much later.
    pub(crate) fn note(&self) -> Vec<Range<u64>> {
        self.queued.store(false, Ordering::Release);
        let mut progress = self.progress();
        progress.noted = Instant::now();
        progress.acked.clone()
    }

    /// What was written: live progress counts from there.
    pub(crate) fn noted(&self, acked: &[Range<u64>]) {
        self.progress().noted_bytes = ranges::bytes(acked);
    }
}
