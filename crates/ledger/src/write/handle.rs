//! A delivery as the server tells of it: never blocks, costs next to nothing.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use jiff::Timestamp;

use super::delivery::{Acked, Delivery, Place};
use crate::model::{Closing, Opening, Outcome, ranges};
use crate::write::queue::{Change, Queue};

/// After how many further bytes a delivery's progress is written down.
const CHECKPOINT_BYTES: u64 = 64 << 20;

/// After how many seconds.
const CHECKPOINT_SECONDS: u64 = 5;

/// A delivery that the ledger has room for. Dropped before [`Tracked::started`]: nothing has happened (answers to HEAD,
/// 304 and 416 count nothing). Dropped later without [`Tracked::ended`]: it was aborted, with what was acknowledged
/// last.
pub struct Tracked {
    queue: Arc<Queue>,
    delivery: Option<Arc<Delivery>>,
    opening: Option<Opening>,
}

impl Tracked {
    pub(crate) fn new(queue: Arc<Queue>, opening: Opening) -> Tracked {
        Tracked { queue, delivery: None, opening: Some(opening) }
    }

    /// The first byte is about to leave: the delivery carries these ranges of the content. Further calls do nothing.
    pub fn started(&mut self, carries: Vec<Range<u64>>) {
        let Some(opening) = self.opening.take() else { return };
        let carries = ranges::tidy(carries, opening.content.length);
        let delivery = Arc::new(Delivery {
            opening,
            carries,
            began: Timestamp::now(),
            queued: AtomicBool::new(false),
            progress: Mutex::new(Acked {
                acked: Vec::new(),
                sent: 0,
                bytes: 0,
                noted_bytes: 0,
                noted: Instant::now(),
            }),
            place: Mutex::new(Place::default()),
        });
        self.delivery = Some(Arc::clone(&delivery));
        self.queue.push(Change::Begin(delivery));
    }

    /// These ranges of the content have been acknowledged so far (what an earlier call said need not be said again),
    /// and so many bytes of the body were handed to the kernel. Written down every 64 MiB or 5 s at most.
    pub fn acked(&mut self, acked: Vec<Range<u64>>, sent: u64) {
        let Some(delivery) = &self.delivery else { return };
        let due = {
            let mut progress = delivery.progress();
            progress.add(acked, delivery.opening.content.length);
            progress.sent = sent;
            let bytes = progress.bytes - progress.noted_bytes;
            bytes > 0
                && (bytes >= CHECKPOINT_BYTES || progress.noted.elapsed().as_secs() >= CHECKPOINT_SECONDS)
        };
        if due && !delivery.queued.swap(true, Ordering::AcqRel) {
            self.queue.push(Change::Checkpoint(Arc::clone(delivery)));
        }
    }

    /// Nothing more will be sent nor acknowledged.
    pub fn ended(mut self, closing: Closing) {
        self.end(closing);
    }

    fn end(&mut self, mut closing: Closing) {
        let Some(delivery) = self.delivery.take() else { return };
        {
            let mut progress = delivery.progress();
            progress.add(std::mem::take(&mut closing.acked), delivery.opening.content.length);
            progress.sent = closing.sent;
        }
        self.queue.push(Change::End(delivery, Box::new(closing), Timestamp::now()));
    }
}

impl Drop for Tracked {
    fn drop(&mut self) {
        if self.opening.is_some() {
            self.queue.never_mind();
        } else if let Some(delivery) = &self.delivery {
            let sent = delivery.progress().sent;
            let outcome = Outcome::Aborted("the server gave it up".into());
            self.end(Closing { acked: Vec::new(), sent, outcome, transport: None });
        }
    }
}
