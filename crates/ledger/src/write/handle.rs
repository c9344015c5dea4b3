//! A delivery, as the server reports it: no call blocks, and all are cheap.

use std::ops::Range;
use std::sync::Arc;

use super::delivery::TrackedDelivery;
use super::queue::{ChangeQueue, DeliveryChange};
use crate::db::download_row::now;
use crate::model::{ContentInfo, DeliveryEnd, DeliveryOutcome, NewDelivery, ranges};

/// Acknowledged bytes after which a delivery's progress is written.
///
/// Bound: ledger.
const CHECKPOINT_BYTES: u64 = 64 << 20;
/// Seconds after which a delivery's progress is written.
const CHECKPOINT_SECONDS: u64 = 5;

/// A delivery for which the ledger has reserved capacity, or one that it only counts.
///
/// Dropped before [`DeliveryHandle::started`], it leaves no trace: answers to HEAD, 304 and 416 do
/// not count. Dropped later without [`DeliveryHandle::ended`], it was aborted at the last
/// acknowledged byte.
pub struct DeliveryHandle {
    queue: Arc<ChangeQueue>,
    state: HandleState,
}

enum HandleState {
    /// Until it starts; capacity is reserved.
    New(NewDelivery),
    /// From its start to its end.
    Tracked(Arc<TrackedDelivery>),
    /// Only counted, and whether it has started.
    Counted {
        content: Arc<ContentInfo>,
        started: bool,
        acked: Vec<Range<u64>>,
        sent: u64,
    },
    Ended,
}

impl DeliveryHandle {
    pub(crate) fn new(queue: Arc<ChangeQueue>, new: NewDelivery) -> DeliveryHandle {
        DeliveryHandle { queue, state: HandleState::New(new) }
    }

    pub(crate) fn counted(queue: Arc<ChangeQueue>, content: Arc<ContentInfo>) -> DeliveryHandle {
        let state = HandleState::Counted { content, started: false, acked: Vec::new(), sent: 0 };
        DeliveryHandle { queue, state }
    }

    /// The first byte is about to be sent; the delivery carries these ranges of the content.
    /// Further calls have no effect.
    pub fn started(&mut self, carries: Vec<Range<u64>>) {
        match std::mem::replace(&mut self.state, HandleState::Ended) {
            HandleState::New(new) => {
                let delivery = Arc::new(TrackedDelivery::new(self.queue.next_number(), new, carries));
                self.state = HandleState::Tracked(Arc::clone(&delivery));
                self.queue.push(DeliveryChange::Begin(delivery));
            }
            HandleState::Counted { content, acked, sent, .. } => {
                self.state = HandleState::Counted { content, started: true, acked, sent };
            }
            other => self.state = other,
        }
    }

    /// These ranges of the content were acknowledged, in addition to those of earlier calls; `sent`
    /// bytes of the body have been handed to the kernel in all. Written every 64 MiB or 5 s.
    pub fn acked(&mut self, acked: Vec<Range<u64>>, sent: u64) {
        let delivery = match &mut self.state {
            HandleState::Tracked(delivery) => delivery,
            HandleState::Counted { content, acked: before, sent: sum, .. } => {
                before.extend(acked);
                *before = ranges::normalize(std::mem::take(before), content.length);
                *sum = sent;
                return;
            }
            HandleState::New(_) | HandleState::Ended => return,
        };
        let due = {
            let mut progress = delivery.progress();
            progress.add(acked, delivery.info.content.length);
            progress.sent = sent;
            let bytes = progress.bytes - progress.checkpoint_bytes;
            let seconds = || progress.checkpoint_at.elapsed().as_secs();
            bytes > 0 && (bytes >= CHECKPOINT_BYTES || seconds() >= CHECKPOINT_SECONDS)
        };
        if due && delivery.queue_checkpoint() {
            self.queue.push(DeliveryChange::Checkpoint(Arc::clone(delivery)));
        }
    }

    /// Nothing more is sent or acknowledged.
    pub fn ended(mut self, end: DeliveryEnd) {
        self.end(end);
    }

    fn end(&mut self, mut end: DeliveryEnd) {
        match std::mem::replace(&mut self.state, HandleState::Ended) {
            HandleState::Tracked(delivery) => {
                {
                    let mut progress = delivery.progress();
                    progress.add(std::mem::take(&mut end.acked), delivery.info.content.length);
                    progress.sent = end.sent;
                }
                self.queue.push(DeliveryChange::End(delivery, Box::new(end), now()));
            }
            HandleState::Counted { content, started: true, acked, .. } => {
                end.acked.extend(acked);
                end.acked = ranges::normalize(end.acked, content.length);
                self.queue.count(&content, &end);
            }
            HandleState::New(_) => self.queue.release(),
            HandleState::Counted { started: false, .. } | HandleState::Ended => {}
        }
    }
}

impl Drop for DeliveryHandle {
    fn drop(&mut self) {
        let sent = match &self.state {
            HandleState::Ended => return,
            HandleState::Tracked(delivery) => delivery.progress().sent,
            HandleState::Counted { sent, .. } => *sent,
            HandleState::New(_) => 0,
        };
        let outcome = DeliveryOutcome::Aborted("the server gave it up".into());
        self.end(DeliveryEnd { acked: Vec::new(), sent, outcome, transport: None });
    }
}
