//! A delivery, as the server reports it: no call blocks, and all are cheap.

use std::ops::Range;
use std::sync::Arc;

use jiff::Timestamp;

use super::delivery::TrackedDelivery;
use super::queue::{ChangeQueue, DeliveryChange};
use crate::model::{DeliveryEnd, DeliveryOutcome, NewDelivery};

/// Acknowledged bytes after which a delivery's progress is written.
///
/// Bound: ledger.
const CHECKPOINT_BYTES: u64 = 64 << 20;
/// Seconds after which a delivery's progress is written.
const CHECKPOINT_SECONDS: u64 = 5;

/// A delivery for which the ledger has reserved capacity.
///
/// Dropped before [`DeliveryHandle::started`], it leaves no trace: answers to HEAD, 304 and 416 do
/// not count. Dropped later without [`DeliveryHandle::ended`], it was aborted at the last
/// acknowledged byte.
pub struct DeliveryHandle {
    queue: Arc<ChangeQueue>,
    /// Until it starts.
    new: Option<NewDelivery>,
    /// From its start to its end.
    delivery: Option<Arc<TrackedDelivery>>,
}

impl DeliveryHandle {
    pub(crate) fn new(queue: Arc<ChangeQueue>, new: NewDelivery) -> DeliveryHandle {
        DeliveryHandle { queue, new: Some(new), delivery: None }
    }

    /// The first byte is about to be sent; the delivery carries these ranges of the content.
    /// Further calls have no effect.
    pub fn started(&mut self, carries: Vec<Range<u64>>) {
        let Some(new) = self.new.take() else { return };
        let delivery = Arc::new(TrackedDelivery::new(self.queue.next_number(), new, carries));
        self.delivery = Some(Arc::clone(&delivery));
        self.queue.push(DeliveryChange::Begin(delivery));
    }

    /// These ranges of the content were acknowledged, in addition to those of earlier calls; `sent`
    /// bytes of the body have been handed to the kernel in all. Written every 64 MiB or 5 s.
    pub fn acked(&mut self, acked: Vec<Range<u64>>, sent: u64) {
        let Some(delivery) = &self.delivery else { return };
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
        let Some(delivery) = self.delivery.take() else { return };
        {
            let mut progress = delivery.progress();
            progress.add(std::mem::take(&mut end.acked), delivery.info.content.length);
            progress.sent = end.sent;
        }
        self.queue.push(DeliveryChange::End(delivery, Box::new(end), Timestamp::now()));
    }
}

impl Drop for DeliveryHandle {
    fn drop(&mut self) {
        if self.new.is_some() {
            self.queue.release();
        } else if let Some(delivery) = &self.delivery {
            let sent = delivery.progress().sent;
            let outcome = DeliveryOutcome::Aborted("the server gave it up".into());
            self.end(DeliveryEnd { acked: Vec::new(), sent, outcome, transport: None });
        }
    }
}
