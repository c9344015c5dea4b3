//! What becomes of the bodies that leave on a connection's streams, up to the client's word that they arrived.
//!
//! ```text
//! handed over  ->  left (the scanner has seen it)  ->  acknowledged by TCP  ->  a PING behind it answered: confirmed
//! ```
//!
//! Streams' bytes leave in turns. For each stream it is noted now and then up to which byte of the connection
//! how many of its own have left; so the one number that the kernel has (`SIOCOUTQ`) says of each how much
//! arrived. A PING is answered by the client's program, after it has read all that came before (RFC 9113, 6.7).

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use outflow_content::{AbortReason, Evidence, Transport, Watch};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::Instant;

use crate::delivery::{TELL_EVERY, is_worth_measuring};
use crate::options::Options;

use super::frames::Part;

/// Bytes of all streams' bodies that may be handed over and not have left.
pub(crate) const QUEUED: usize = 256 * 1024;

/// Watched bodies of which it is not known whether they have arrived. A client that asks for more waits.
pub(crate) const PENDING: usize = 256;

/// A delivery's place among those. `None` if nobody watches it.
pub(crate) type Place = Option<OwnedSemaphorePermit>;

/// So often it is noted how much of a stream has left.
const MARK_EVERY: u64 = 64 * 1024;

/// The bodies of one connection.
pub(crate) struct Deliveries {
    streams: HashMap<u32, Delivery>,
    /// Parts that are between here and the kernel.
    leaving: Vec<Part>,
    /// One permit for each byte that may be handed over.
    pub(crate) room: Arc<Semaphore>,
    /// Told when somebody waits for a place, which is worth a question at once.
    pub(crate) crowded: Arc<Notify>,
    /// One permit for each body that may be pending.
    pub(crate) places: Arc<Semaphore>,
    told: Instant,
    /// All of the connection's bytes up to here are acknowledged.
    acked: u64,
    /// When the client is given up that acknowledges nothing of what has left.
    stalled: Option<Instant>,
}

struct Delivery {
    watch: Option<Watch>,
    _place: Place,
    begun: Instant,
    /// Bytes that were handed over and have not left.
    queued: usize,
    /// Bytes that have left.
    sum: u64,
    /// The connection's bytes, and how many of this stream's are among them.
    marks: VecDeque<(u64, u64)>,
    /// The connection's bytes when the last of this stream's had left.
    end: Option<u64>,
    acked_at: Option<Instant>,
    /// The client's program was asked when this was acknowledged already.
    asked: bool,
    left: Option<oneshot::Sender<()>>,
}

impl Delivery {
    fn measure(&mut self, acked: Option<u64>, transport: impl FnOnce() -> Option<Transport>) {
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
        // What is older will not be asked for again.
        self.marks.drain(..behind.saturating_sub(1));
        self.marks.front().filter(|(at, _)| *at <= position).map_or(0, |(_, sum)| *sum)
    }
}

impl Deliveries {
    pub(crate) fn new() -> Deliveries {
        Deliveries {
            streams: HashMap::new(),
            leaving: Vec::new(),
            room: Arc::new(Semaphore::new(QUEUED)),
            crowded: Arc::default(),
            places: Arc::new(Semaphore::new(PENDING)),
            told: Instant::now(),
            acked: 0,
            stalled: None,
        }
    }

    /// A body begins; who wants to know hears when its last byte has left.
    pub(crate) fn begin(&mut self, stream: u32, watched: Option<(Watch, Place)>) -> oneshot::Receiver<()> {
        let (sender, receiver) = oneshot::channel();
        let (watch, place) = watched.unzip();
        let delivery = Delivery {
            watch,
            _place: place.flatten(),
            begun: Instant::now(),
            queued: 0,
            sum: 0,
            marks: VecDeque::new(),
            end: None,
            acked_at: None,
            asked: false,
            left: Some(sender),
        };
        self.streams.insert(stream, delivery);
        receiver
    }

    /// So many of its bytes are handed over; that many permits are used up.
    pub(crate) fn queue(&mut self, stream: u32, bytes: usize) {
        if let Some(delivery) = self.streams.get_mut(&stream) {
            delivery.queued += bytes;
        } else {
            self.room.add_permits(bytes);
        }
    }

    /// The body does not go on. Gives back who watched it, with what had been acknowledged.
    pub(crate) fn give_up(&mut self, stream: u32, acked: Option<u64>) -> Option<Watch> {
        let mut delivery = self.streams.remove(&stream)?;
        self.room.add_permits(delivery.queued);
        delivery.measure(acked, || None);
        delivery.watch
    }

    /// The client has reset `stream`. Whether its program has got what had left by then, nobody knows.
    pub(crate) fn reset(&mut self, stream: u32, acked: Option<u64>, reason: &AbortReason) {
        // Of one that has not left whole, its task hears.
        if self.streams.get(&stream).is_some_and(|delivery| delivery.end.is_some())
            && let Some(watch) = self.give_up(stream, acked)
        {
            watch.aborted(reason);
        }
    }

    /// A part is on its way to the kernel.
    pub(crate) fn leaving(&mut self, part: Part) {
        self.leaving.push(part);
    }

    /// All that was on its way is in the kernel's hands, with the connection's first `position` bytes.
    pub(crate) fn left(&mut self, position: u64) {
        for part in self.leaving.drain(..) {
            let Some(delivery) = self.streams.get_mut(&part.stream) else { continue };
            let freed = part.bytes.min(delivery.queued);
            delivery.queued -= freed;
            self.room.add_permits(freed);
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
                Some(watch) if watch.is_watched() => {}
                _ => {
                    if let Some(watch) = self.streams.remove(&part.stream).and_then(|gone| gone.watch) {
                        watch.completed(Evidence::Sent);
                    }
                }
            }
        }
    }

    /// True while it is not known of some body whether it has arrived.
    pub(crate) fn is_pending(&self) -> bool {
        !self.streams.is_empty()
    }

    /// True when some body has left whole and nobody has said that it arrived.
    pub(crate) fn wants_word(&self) -> bool {
        self.streams.values().any(|delivery| delivery.end.is_some())
    }

    /// Whether the client's program is to be asked now. Many a client closes as soon as it has what it wanted, and a
    /// question that it has not read then makes its kernel send RST: so it is asked only about what has been acknowledged
    /// for a while, and such an RST says nothing about that.
    pub(crate) fn ask(&mut self, after: Duration) -> bool {
        let now = Instant::now();
        let rested = |delivery: &Delivery| delivery.acked_at.is_some_and(|at| now - at >= after);
        if !self.streams.values().any(rested) {
            return false;
        }
        for delivery in self.streams.values_mut() {
            delivery.asked |= delivery.acked_at.is_some();
        }
        true
    }

    /// The connection's first `acked` bytes have been acknowledged (`None`: the kernel does not say). The reason if the
    /// client acknowledges nothing any more of a body that has left.
    pub(crate) fn look(
        &mut self,
        acked: Option<u64>,
        options: &Options,
        transport: impl Fn() -> Option<Transport>,
    ) -> Result<(), AbortReason> {
        let now = Instant::now();
        let tell = now - self.told >= TELL_EVERY;
        if tell {
            self.told = now;
        }
        let Some(acked) = acked else { return Ok(()) };
        if acked > self.acked {
            let rate = f64::from(options.min_rate.max(1));
            let credit = Duration::from_secs_f64(((acked - self.acked) as f64 / rate).min(31_536_000.0));
            self.stalled = self.stalled.map(|stalled| (stalled + credit).min(now + options.stall_timeout));
            self.acked = acked;
        }
        for delivery in self.streams.values_mut().filter(|delivery| delivery.acked_at.is_none()) {
            if delivery.end.is_some_and(|end| acked >= end) {
                delivery.acked_at = Some(now);
                delivery.measure(Some(acked), &transport);
            } else if tell && delivery.watch.is_some() {
                let sum = delivery.sum_at(acked);
                if let Some(watch) = delivery.watch.as_mut().filter(|_| sum > 0) {
                    watch.acked(sum);
                }
            }
        }
        self.complete(Evidence::Acked, |delivery| {
            delivery.acked_at.is_some_and(|at| now - at >= options.confirm_timeout)
        });
        // As long as a body has not left, its stream's task looks after it.
        let waits = |delivery: &Delivery| delivery.end.is_some() && delivery.acked_at.is_none();
        if !self.streams.values().any(waits) {
            self.stalled = None;
        } else if now >= *self.stalled.get_or_insert(now + options.stall_timeout) {
            return Err(AbortReason::Stalled);
        }
        Ok(())
    }

    /// What is among the connection's first `acked` bytes to its last byte is complete, and no word is waited for.
    pub(crate) fn arrived(&mut self, acked: Option<u64>, transport: impl Fn() -> Option<Transport>) {
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
    pub(crate) fn confirm(&mut self, position: u64, transport: impl Fn() -> Option<Transport>) {
        for delivery in self.streams.values_mut() {
            if delivery.acked_at.is_none() && delivery.end.is_some_and(|end| position >= end) {
                delivery.acked_at = Some(Instant::now());
                delivery.measure(Some(position), &transport);
            }
        }
        self.complete(Evidence::Confirmed, |delivery| delivery.end.is_some_and(|end| position >= end));
    }

    /// All that is acknowledged is complete.
    pub(crate) fn complete_acked(&mut self, evidence: Evidence) {
        self.complete(evidence, |delivery| delivery.acked_at.is_some());
    }

    fn complete(&mut self, evidence: Evidence, which: impl Fn(&Delivery) -> bool) {
        for (_, delivery) in self.streams.extract_if(|_, delivery| which(delivery)) {
            if let Some(watch) = delivery.watch {
                watch.completed(evidence);
            }
        }
    }

    /// The connection is lost: ends all bodies with what is known. To be told behind its end, so that nothing arrives once
    /// it is said to be lost; to be asked before it, because the kernel forgets.
    #[must_use]
    pub(crate) fn lose(&mut self, acked: Option<u64>, transport: impl Fn() -> Option<Transport>) -> Lost {
        let lost = self.streams.drain().filter_map(|(_, mut delivery)| {
            let arrived = delivery.acked_at.is_some();
            if !arrived {
                delivery.measure(acked, &transport);
            }
            let acked = arrived || delivery.end.zip(acked).is_some_and(|(end, acked)| acked >= end);
            let whole = match (acked, delivery.asked) {
                (false, _) => Whole::No,
                (true, false) => Whole::UnlessLeft,
                (true, true) => Whole::Yes,
            };
            Some((delivery.watch?, whole))
        });
        Lost(lost.collect())
    }
}

/// Bodies of a connection that is no more, and whether they have arrived.
pub(crate) struct Lost(Vec<(Watch, Whole)>);

/// Whether a body has arrived.
enum Whole {
    No,
    /// It was acknowledged to its last byte: yes, unless the client's kernel said that its program left.
    UnlessLeft,
    /// The same, and what its kernel said may be about our question.
    Yes,
}

impl Lost {
    /// Ends them for `reason`.
    pub(crate) fn tell(self, reason: &AbortReason) {
        let left = matches!(reason, AbortReason::Disconnected(_));
        for (watch, whole) in self.0 {
            match whole {
                Whole::Yes => watch.completed(Evidence::Acked),
                Whole::UnlessLeft if !left => watch.completed(Evidence::Acked),
                Whole::UnlessLeft | Whole::No => watch.aborted(reason),
            }
        }
    }
}
