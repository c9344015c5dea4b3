//! The memory that all segments share: one budget, pooled buffers, and eviction.
//!
//! A segment reserves its memory first ([`SegmentMemory::reserve`]), in turn. Bytes that have
//! arrived and have not been handed out are a cache, because they can be fetched again. When the
//! budget is used up, pieces that no recipient needs soon, and pieces of recipients that hold more
//! than a fair share, are evicted ([`PieceHolder::evict`]). So a slow recipient never blocks
//! another one.

use std::pin::pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;

use crate::sync::{AtomicUsize, Mutex, OwnedSemaphorePermit, Semaphore, timeout};

/// Size of a pooled buffer, in bytes: large enough to make system calls rare, small enough to stay
/// in the processor's cache between being filled and being sent.
///
/// Bound: object stores.
pub(crate) const BUFFER: usize = 256 * 1024;

/// Interval at which a waiting reservation tries to evict pieces.
const AGAIN: Duration = Duration::from_millis(100);

/// The budget is counted in units of this many bytes.
const UNIT: usize = 1024;

/// The memory of a store's segments.
pub(crate) struct SegmentMemory {
    limit: usize,
    budget: Arc<Semaphore>,
    /// Reservations that wait for memory.
    waiting: AtomicUsize,
    /// Recipients that share the budget.
    readers: AtomicUsize,
    spares: Mutex<Vec<Box<[u8]>>>,
    most_spares: usize,
    holders: Mutex<Vec<Weak<dyn PieceHolder>>>,
}

/// Keeps pieces that can be evicted, because they can be fetched again.
pub(crate) trait PieceHolder: Send + Sync {
    /// Offers pieces for eviction. `fair` is the fair share of one recipient in bytes.
    fn offers(&self, fair: u64, offer: &mut dyn FnMut(EvictionOffer));
    /// Evicts the piece at `start`, if it is still there.
    fn evict(&self, start: u64);
}

/// A piece that may be evicted.
pub(crate) struct EvictionOffer {
    /// Where it begins in its object.
    pub(crate) start: u64,
    /// Its bytes.
    pub(crate) len: usize,
    /// How little it is needed: the piece with the largest number is evicted first.
    pub(crate) spare: u64,
}

impl SegmentMemory {
    /// Creates a budget of `limit` bytes, at least one buffer. An eighth of it is for spare
    /// buffers, and another eighth for memory that the allocator does not return.
    pub(crate) fn new(limit: usize) -> Arc<SegmentMemory> {
        let spare = limit / 8;
        let limit = limit - 2 * spare;
        let limit = limit.clamp(BUFFER, Semaphore::MAX_PERMITS);
        Arc::new(SegmentMemory {
            limit,
            budget: Arc::new(Semaphore::new(limit / UNIT)),
            waiting: AtomicUsize::new(0),
            readers: AtomicUsize::new(0),
            spares: Mutex::default(),
            most_spares: (spare / BUFFER).max(1),
            holders: Mutex::default(),
        })
    }

    /// Maximum of [`SegmentMemory::used`].
    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    /// Bytes that are reserved or in use.
    pub(crate) fn used(&self) -> usize {
        (self.limit / UNIT).saturating_sub(self.budget.available_permits()) * UNIT
    }

    /// The fair share of one recipient in bytes: less than the whole budget, even for a single one.
    pub(crate) fn fair_share(&self) -> u64 {
        let readers = self.readers.load(Ordering::Relaxed).max(3) + 1;
        (self.limit / readers).max(BUFFER) as u64
    }

    /// Counts one more recipient until the returned share is dropped.
    pub(crate) fn share(self: &Arc<Self>) -> MemoryShare {
        self.readers.fetch_add(1, Ordering::Relaxed);
        MemoryShare(Arc::clone(self))
    }

    /// True while a reservation waits for memory.
    pub(crate) fn is_short(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
    }

    /// Adds a holder whose pieces may be evicted.
    pub(crate) fn register(&self, holder: Weak<dyn PieceHolder>) {
        let mut holders = self.holders.lock();
        // Dropped holders are swept out when their number may have doubled.
        if holders.len() == holders.capacity() {
            holders.retain(|holder| holder.strong_count() > 0);
        }
        holders.push(holder);
    }

    /// Reserves `bytes` if that is possible at once.
    pub(crate) fn try_reserve(self: &Arc<Self>, bytes: usize) -> Option<MemoryReservation> {
        if self.is_short() {
            return None;
        }
        let units = self.units(bytes);
        let take = || Arc::clone(&self.budget).try_acquire_many_owned(units).ok();
        let permit = take().or_else(|| {
            self.evict(bytes);
            take()
        })?;
        Some(MemoryReservation { memory: Arc::clone(self), permit })
    }

    /// Reserves `bytes`, at most the whole budget, in turn.
    pub(crate) async fn reserve(self: &Arc<Self>, bytes: usize) -> Option<MemoryReservation> {
        if let Some(reservation) = self.try_reserve(bytes) {
            return Some(reservation);
        }
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let _waiting = WaitingForMemory(self);
        let mut turn = pin!(Arc::clone(&self.budget).acquire_many_owned(self.units(bytes)));
        loop {
            self.evict(bytes);
            // Pieces that are needed now may have become stale by then.
            if let Ok(permit) = timeout(AGAIN, &mut turn).await {
                // The semaphore is never closed.
                return Some(MemoryReservation { memory: Arc::clone(self), permit: permit.ok()? });
            }
        }
    }

    /// A piece has become evictable: evicts it or another one if a reservation waits.
    pub(crate) fn relieve(&self) {
        if self.is_short() {
            self.evict(BUFFER);
        }
    }

    /// Evicts pieces of `bytes` together, as far as there are any.
    fn evict(&self, bytes: usize) {
        let fair = self.fair_share();
        let holders: Vec<Arc<dyn PieceHolder>> = {
            let holders = self.holders.lock();
            holders.iter().filter_map(Weak::upgrade).collect()
        };
        let mut offers = Vec::new();
        for (index, holder) in holders.iter().enumerate() {
            holder.offers(fair, &mut |offer| offers.push((offer.spare, index, offer.start, offer.len)));
        }
        offers.sort_unstable_by_key(|(spare, ..)| std::cmp::Reverse(*spare));
        let mut gone = 0;
        for (_, index, start, len) in offers {
            if gone >= bytes {
                break;
            }
            holders[index].evict(start);
            gone += len;
        }
    }

    /// Budget units for `bytes`, rounded up; a u32 holds them, for the budget has at most 4 TiB.
    fn units(&self, bytes: usize) -> u32 {
        u32::try_from(bytes.div_ceil(UNIT).clamp(1, self.limit / UNIT)).unwrap_or(u32::MAX)
    }

    fn buffer(&self, len: usize) -> Box<[u8]> {
        let spare = || self.spares.lock().pop();
        let pooled = if len == BUFFER { spare() } else { None };
        pooled.unwrap_or_else(|| vec![0; len].into_boxed_slice())
    }
}

/// One recipient's part in the budget.
pub(crate) struct MemoryShare(Arc<SegmentMemory>);

impl MemoryShare {
    pub(crate) fn memory(&self) -> &Arc<SegmentMemory> {
        &self.0
    }
}

impl Drop for MemoryShare {
    fn drop(&mut self) {
        self.0.readers.fetch_sub(1, Ordering::Relaxed);
    }
}

struct WaitingForMemory<'a>(&'a SegmentMemory);

impl Drop for WaitingForMemory<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Memory that is reserved and not in use yet. Dropping it returns what is left of it.
pub(crate) struct MemoryReservation {
    memory: Arc<SegmentMemory>,
    permit: OwnedSemaphorePermit,
}

impl MemoryReservation {
    /// Takes a buffer of `len` bytes out of the reservation. Beyond it the buffer is not counted,
    /// which happens only when a store sends in very small pieces.
    pub(crate) fn buffer(&mut self, len: usize) -> SegmentBuffer {
        let units = self.memory.units(len) as usize;
        let permit = self.permit.split(units.min(self.permit.num_permits()));
        SegmentBuffer {
            bytes: self.memory.buffer(len),
            filled: 0,
            memory: Arc::clone(&self.memory),
            _permit: permit,
        }
    }
}

/// A buffer that is counted, and returns to the pool.
pub(crate) struct SegmentBuffer {
    bytes: Box<[u8]>,
    filled: usize,
    memory: Arc<SegmentMemory>,
    _permit: Option<OwnedSemaphorePermit>,
}

impl SegmentBuffer {
    pub(crate) fn spare(&mut self) -> &mut [u8] {
        &mut self.bytes[self.filled..]
    }

    pub(crate) fn fill(&mut self, n: usize) {
        self.filled = (self.filled + n).min(self.bytes.len());
    }

    pub(crate) fn filled(&self) -> &[u8] {
        &self.bytes[..self.filled]
    }

    pub(crate) fn is_full(&self) -> bool {
        self.filled == self.bytes.len()
    }

    pub(crate) fn clear(&mut self) {
        self.filled = 0;
    }

    /// The filled bytes. The buffer returns to the pool when the last clone of them is dropped.
    pub(crate) fn freeze(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for SegmentBuffer {
    fn as_ref(&self) -> &[u8] {
        self.filled()
    }
}

impl Drop for SegmentBuffer {
    fn drop(&mut self) {
        if self.bytes.len() == BUFFER {
            let bytes = std::mem::take(&mut self.bytes);
            let mut spares = self.memory.spares.lock();
            if spares.len() < self.memory.most_spares {
                spares.push(bytes);
            }
        }
    }
}
