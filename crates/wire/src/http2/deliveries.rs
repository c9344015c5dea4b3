//! The bodies that leave on a connection's streams, until the client's program is known to have
//! read them.
//!
//! ```text
//! handed over -> left (the scanner has seen it) -> acknowledged by TCP
//!             -> a PING behind it answered: confirmed
//! ```
//!
//! The streams' bytes leave in turns. Marks record for each stream how many of its bytes are among
//! the connection's first ones; so the kernel's one number (`SIOCOUTQ`) says for each stream how
//! much has arrived. The client's program answers a PING after it has read all that came before
//! (RFC 9113, 6.7).

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use outflow_content::{AbortReason, DeliveryWatch, Evidence, TransportStats};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::Instant;

use super::frames::DataPart;
use crate::delivery::{PROGRESS_INTERVAL, is_worth_measuring};
use crate::options::ServerOptions;

/// Maximum number of bytes, of all streams' bodies on one connection, that are handed over and have
/// not left.
///
/// Bound: HTTP/2.
pub(crate) const QUEUED: usize = 256 * 1024;

/// Maximum number of observed bodies on one connection that are not known to have arrived. Further
/// ones wait.
///
/// Bound: HTTP/2.
pub(crate) const PENDING: usize = 256;

/// A delivery's share of `PENDING`. `None` if it has no observer.
pub(crate) type DeliveryPermit = Option<OwnedSemaphorePermit>;

/// Bytes of a stream between two marks.
const MARK_EVERY: u64 = 64 * 1024;

/// The bodies of one connection.
pub(crate) struct StreamDeliveries {
    streams: HashMap<u32, StreamDelivery>,
    /// Parts that are between here and the kernel.
    leaving: Vec<DataPart>,
    /// One permit for each byte that may be handed over.
    pub(crate) capacity: Arc<Semaphore>,
    /// Notified when a delivery waits for a permit, which is worth a PING at once.
    pub(crate) crowded: Arc<Notify>,
    /// One permit for each body that may be pending.
    pub(crate) permits: Arc<Semaphore>,
    reported: Instant,
    /// All of the connection's bytes up to here are acknowledged.
    acked: u64,
    /// The client is given up at this time unless it acknowledges more.
    stall_deadline: Option<Instant>,
}

struct StreamDelivery {
    watch: Option<DeliveryWatch>,
    _permit: DeliveryPermit,
    begun: Instant,
    /// Bytes that were handed over and have not left.
    queued: usize,
    /// Bytes that have left.
    sum: u64,
    /// Counts of the connection's bytes, each with the number of this stream's among them.
    marks: VecDeque<(u64, u64)>,
    /// The connection's bytes when the last one of this stream had left.
    end: Option<u64>,
    acked_at: Option<Instant>,
    /// A PING has left after this was acknowledged.
    pinged: bool,
    left: Option<oneshot::Sender<()>>,
}

impl StreamDelivery {
    fn measure(&mut self, acked: Option<u64>, transport: impl FnOnce() -> Option<TransportStats>) {
        let sum = acked.map(|acked| self.sum_at(acked));
        if let Some(watch) = &mut self.watch {
            let transport = is_worth_measuring(watch, self.begun.elapsed()).then(transport).flatten();
            watch.measured(sum, transport);
        }
    }

    /// How many of its bytes are among the connection's first `position`.
    fn sum_at(&mut self, position: u64) -> u64 {
        if self.end.is_some_and(|end| position >= end) {
            return self.sum;
        }
        let behind = self.marks.partition_point(|(at, _)| *at <= position);
        // Older marks are not needed again.
        self.marks.drain(..behind.saturating_sub(1));
        self.marks.front().filter(|(at, _)| *at <= position).map_or(0, |(_, sum)| *sum)
    }
}

impl StreamDeliveries {
    pub(crate) fn new() -> StreamDeliveries {
        StreamDeliveries {
            streams: HashMap::new(),
            leaving: Vec::new(),
            capacity: Arc::new(Semaphore::new(QUEUED)),
            crowded: Arc::default(),
            permits: Arc::new(Semaphore::new(PENDING)),
            reported: Instant::now(),
            acked: 0,
            stall_deadline: None,
        }
    }

    /// A body begins. The receiver resolves when its last byte has left.
    pub(crate) fn begin(
        &mut self,
        stream: u32,
        watched: Option<(DeliveryWatch, DeliveryPermit)>,
    ) -> oneshot::Receiver<()> {
        let (sender, receiver) = oneshot::channel();
        let (watch, permit) = watched.unzip();
        let delivery = StreamDelivery {
            watch,
            _permit: permit.flatten(),
            begun: Instant::now(),
            queued: 0,
            sum: 0,
            marks: VecDeque::new(),
            end: None,
            acked_at: None,
            pinged: false,
            left: Some(sender),
        };
        self.streams.insert(stream, delivery);
        receiver
    }

    /// `bytes` of the body are handed over, which uses as many permits.
    pub(crate) fn queue(&mut self, stream: u32, bytes: usize) {
        if let Some(delivery) = self.streams.get_mut(&stream) {
            delivery.queued += bytes;
        } else {
            self.capacity.add_permits(bytes);
        }
    }

    /// The body does not go on. Gives its watch, with what was acknowledged.
    pub(crate) fn give_up(&mut self, stream: u32, acked: Option<u64>) -> Option<DeliveryWatch> {
        let mut delivery = self.streams.remove(&stream)?;
        self.capacity.add_permits(delivery.queued);
        delivery.measure(acked, || None);
        delivery.watch
    }

    /// The client has reset `stream`. It is unknown how much of what had left its program has read.
    pub(crate) fn reset(&mut self, stream: u32, acked: Option<u64>, reason: &AbortReason) {
        // The task of a body that has not left whole notices by itself.
        if self.streams.get(&stream).is_some_and(|delivery| delivery.end.is_some())
            && let Some(watch) = self.give_up(stream, acked)
        {
            watch.aborted(reason);
        }
    }

    /// A part is on its way to the kernel.
    pub(crate) fn add_leaving(&mut self, part: DataPart) {
        self.leaving.push(part);
    }

    /// All parts on their way are in the kernel's hands, with the connection's first `position`
    /// bytes.
    pub(crate) fn on_left(&mut self, position: u64) {
        for part in self.leaving.drain(..) {
            let Some(delivery) = self.streams.get_mut(&part.stream) else { continue };
            let freed = part.bytes.min(delivery.queued);
            delivery.queued -= freed;
            self.capacity.add_permits(freed);
            delivery.sum += part.bytes as u64;
            if let Some(watch) = delivery.watch.as_mut().filter(|_| part.bytes > 0) {
                watch.sent(part.bytes as u64);
            }
            let newest = delivery.marks.back().map_or(0, |(_, sum)| *sum);
            if delivery.watch.is_some() && delivery.sum - newest >= MARK_EVERY {
                delivery.marks.push_back((position, delivery.sum));
            }
            if !part.last {
                continue;
            }
            delivery.end = Some(position);
            if let Some(left) = delivery.left.take() {
                let _ = left.send(());
            }
            match &delivery.watch {
                Some(watch) if watch.is_observed() => {}
                _ => {
                    if let Some(watch) = self.streams.remove(&part.stream).and_then(|gone| gone.watch) {
                        watch.completed(Evidence::Sent);
                    }
                }
            }
        }
    }

    /// True while some body is not known to have arrived.
    pub(crate) fn is_pending(&self) -> bool {
        !self.streams.is_empty()
    }

    /// True when some body has left whole and is not confirmed.
    pub(crate) fn has_unconfirmed(&self) -> bool {
        self.streams.values().any(|delivery| delivery.end.is_some())
    }

    /// Whether to send a PING now. Many clients close as soon as they have what they wanted, and an
    /// unread PING then makes their kernel send RST: so it is sent only for bodies acknowledged for
    /// a while, and such an RST says nothing about these.
    pub(crate) fn wants_ping(&mut self, after: Duration) -> bool {
        let now = Instant::now();
        let rested = |delivery: &StreamDelivery| delivery.acked_at.is_some_and(|at| now - at >= after);
        if !self.streams.values().any(rested) {
            return false;
        }
        for delivery in self.streams.values_mut() {
            delivery.pinged |= delivery.acked_at.is_some();
        }
        true
    }

    /// The connection's first `acked` bytes are acknowledged (`None`: the kernel does not say). The
    /// reason if the client stops acknowledging a body that has left.
    pub(crate) fn on_acked(
        &mut self,
        acked: Option<u64>,
        options: &ServerOptions,
        transport: impl Fn() -> Option<TransportStats>,
    ) -> Result<(), AbortReason> {
        let now = Instant::now();
        let report = now - self.reported >= PROGRESS_INTERVAL;
        if report {
            self.reported = now;
        }
        let Some(acked) = acked else { return Ok(()) };
        if acked > self.acked {
            let credit = options.time_for(acked - self.acked);
            self.stall_deadline =
                self.stall_deadline.map(|deadline| (deadline + credit).min(now + options.stall_timeout));
            self.acked = acked;
        }
        for delivery in self.streams.values_mut().filter(|delivery| delivery.acked_at.is_none()) {
            if delivery.end.is_some_and(|end| acked >= end) {
                delivery.acked_at = Some(now);
                delivery.measure(Some(acked), &transport);
            } else if report && delivery.watch.is_some() {
                let sum = delivery.sum_at(acked);
                if let Some(watch) = delivery.watch.as_mut().filter(|_| sum > 0) {
                    watch.acked(sum);
                }
            }
        }
        self.complete(Evidence::Acked, |delivery| {
            delivery.acked_at.is_some_and(|at| now - at >= options.confirm_timeout)
        });
        // Until a body has left, its stream's task watches for stalls.
        let waits = |delivery: &StreamDelivery| delivery.end.is_some() && delivery.acked_at.is_none();
        if !self.streams.values().any(waits) {
            self.stall_deadline = None;
        } else if now >= *self.stall_deadline.get_or_insert(now + options.stall_timeout) {
            return Err(AbortReason::Stalled);
        }
        Ok(())
    }

    /// Completes the bodies that end among the connection's first `acked` bytes, without waiting
    /// for confirmation.
    pub(crate) fn complete_arrived(
        &mut self,
        acked: Option<u64>,
        transport: impl Fn() -> Option<TransportStats>,
    ) {
        let Some(acked) = acked else { return };
        for delivery in self.streams.values_mut().filter(|delivery| delivery.acked_at.is_none()) {
            if delivery.end.is_some_and(|end| acked >= end) {
                delivery.acked_at = Some(Instant::now());
                delivery.measure(Some(acked), &transport);
            }
        }
        self.complete_acked(Evidence::Acked);
    }

    /// The client's program has read the connection's first `position` bytes.
    pub(crate) fn confirm(&mut self, position: u64, transport: impl Fn() -> Option<TransportStats>) {
        for delivery in self.streams.values_mut() {
            if delivery.acked_at.is_none() && delivery.end.is_some_and(|end| position >= end) {
                delivery.acked_at = Some(Instant::now());
                delivery.measure(Some(position), &transport);
            }
        }
        self.complete(Evidence::Confirmed, |delivery| delivery.end.is_some_and(|end| position >= end));
    }

    /// Completes all acknowledged bodies.
    pub(crate) fn complete_acked(&mut self, evidence: Evidence) {
        self.complete(evidence, |delivery| delivery.acked_at.is_some());
    }

    fn complete(&mut self, evidence: Evidence, which: impl Fn(&StreamDelivery) -> bool) {
        for (_, delivery) in self.streams.extract_if(|_, delivery| which(delivery)) {
            if let Some(watch) = delivery.watch {
                watch.completed(evidence);
            }
        }
    }

    /// The connection is lost: takes all bodies, with what is known of each. Call it before the
    /// connection ends, because the kernel forgets, and [`LostDeliveries::abort`] after it, so that
    /// nothing arrives once it is reported lost.
    #[must_use]
    pub(crate) fn take_lost(
        &mut self,
        acked: Option<u64>,
        transport: impl Fn() -> Option<TransportStats>,
    ) -> LostDeliveries {
        let lost = self.streams.drain().filter_map(|(_, mut delivery)| {
            let arrived = delivery.acked_at.is_some();
            if !arrived {
                delivery.measure(acked, &transport);
            }
            let acked = arrived || delivery.end.zip(acked).is_some_and(|(end, acked)| acked >= end);
            let whole = match (acked, delivery.pinged) {
                (false, _) => ReceivedWhole::No,
                (true, false) => ReceivedWhole::UnlessReset,
                (true, true) => ReceivedWhole::Yes,
            };
            Some((delivery.watch?, whole))
        });
        LostDeliveries(lost.collect())
    }
}

/// The bodies of a lost connection, and whether the client has them whole.
pub(crate) struct LostDeliveries(Vec<(DeliveryWatch, ReceivedWhole)>);

/// Whether the client has a body whole.
enum ReceivedWhole {
    No,
    /// It is acknowledged to its last byte: yes, unless the client's kernel reset the connection.
    UnlessReset,
    /// The same, and a reset may be about our PING.
    Yes,
}

impl LostDeliveries {
    /// Ends them for `reason`.
    pub(crate) fn abort(self, reason: &AbortReason) {
        let was_reset = matches!(reason, AbortReason::Disconnected(_));
        for (watch, whole) in self.0 {
            match whole {
                ReceivedWhole::Yes => watch.completed(Evidence::Acked),
                ReceivedWhole::UnlessReset if !was_reset => watch.completed(Evidence::Acked),
                ReceivedWhole::UnlessReset | ReceivedWhole::No => watch.aborted(reason),
            }
        }
    }
}
