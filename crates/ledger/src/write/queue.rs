//! Changes that wait for the writer: bounded, never blocking.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::Notify;

use crate::model::{Closing, Full};
use crate::write::delivery::Delivery;

/// What happened to a delivery.
#[derive(Clone)]
pub(crate) enum Change {
    Begin(Arc<Delivery>),
    Checkpoint(Arc<Delivery>),
    /// And when.
    End(Arc<Delivery>, Box<Closing>, Timestamp),
}

impl Change {
    pub(crate) fn delivery(&self) -> &Arc<Delivery> {
        match self {
            Change::Begin(delivery) | Change::Checkpoint(delivery) | Change::End(delivery, ..) => delivery,
        }
    }
}

/// How long a beginning waits for its end, which then costs less.
const PATIENCE: Duration = Duration::from_millis(100);
/// How many changes are written together.
const BATCH: usize = 8192;

/// The changes that wait.
pub(crate) struct Queue {
    waiting: Mutex<Waiting>,
    /// Room that is taken: by changes that wait, and by those that deliveries under way will make.
    taken: AtomicUsize,
    bound: usize,
    /// How long an end waits for others.
    gather: Duration,
    wake: Notify,
    closed: AtomicBool,
}

#[derive(Default)]
struct Waiting {
    changes: VecDeque<Change>,
    /// Changes among them that do not wait long.
    urgent: usize,
}

impl Queue {
    pub(crate) fn new(bound: usize, gather: Duration) -> Queue {
        Queue {
            waiting: Mutex::default(),
            taken: AtomicUsize::new(0),
            bound,
            gather,
            wake: Notify::new(),
            closed: AtomicBool::new(false),
        }
    }

    /// Takes room for a beginning and an end. Checkpoints need none: there is at most one of each delivery.
    pub(crate) fn reserve(&self) -> Result<(), Full> {
        let taken = self.taken.fetch_add(2, Ordering::AcqRel);
        if taken + 2 > self.bound {
            self.taken.fetch_sub(2, Ordering::AcqRel);
            return Err(Full { waiting: taken });
        }
        Ok(())
    }

    /// Gives back what [`Queue::reserve`] took.
    pub(crate) fn never_mind(&self) {
        self.taken.fetch_sub(2, Ordering::AcqRel);
    }

    pub(crate) fn push(&self, change: Change) {
        let wake = {
            let mut waiting = self.waiting.lock().expect("nothing panics while it is held");
            let urgent = !matches!(change, Change::Begin(_));
            waiting.changes.push_back(change);
            waiting.urgent += usize::from(urgent);
            waiting.changes.len() == 1 || (urgent && waiting.urgent == 1) || waiting.changes.len() == BATCH
        };
        if wake {
            self.wake.notify_one();
        }
    }

    /// `changes` have been written.
    pub(crate) fn settled(&self, changes: &[Change]) {
        let count = changes.iter().filter(|change| !matches!(change, Change::Checkpoint(_))).count();
        self.taken.fetch_sub(count, Ordering::AcqRel);
    }

    pub(crate) fn taken(&self) -> usize {
        self.taken.load(Ordering::Acquire)
    }

    pub(crate) fn bound(&self) -> usize {
        self.bound
    }

    /// From now on nothing waits for company.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.wake.notify_one();
    }

    /// The next changes to be written, at most some thousands, in their order. Empty: closed, and nothing waits.
    pub(crate) async fn take(&self) -> Vec<Change> {
        let mut first: Option<Instant> = None;
        let mut urgent: Option<Instant> = None;
        loop {
            let closed = self.closed.load(Ordering::Acquire);
            let until = {
                let mut waiting = self.waiting.lock().expect("nothing panics while it is held");
                let now = Instant::now();
                let until = if waiting.changes.is_empty() {
                    None
                } else {
                    let first = *first.get_or_insert(now) + PATIENCE;
                    Some(if waiting.urgent > 0 {
                        first.min(*urgent.get_or_insert(now) + self.gather)
                    } else {
                        first
                    })
                };
                let full = waiting.changes.len() >= BATCH;
                if closed || full || until.is_some_and(|until| until <= now) {
                    let count = waiting.changes.len().min(BATCH);
                    let taken: Vec<_> = waiting.changes.drain(..count).collect();
                    waiting.urgent -=
                        taken.iter().filter(|change| !matches!(change, Change::Begin(_))).count();
                    return taken;
                }
                until
            };
            match until {
                None => self.wake.notified().await,
                Some(until) => {
                    let _ = tokio::time::timeout_at(until.into(), self.wake.notified()).await;
                }
            }
        }
    }
}
