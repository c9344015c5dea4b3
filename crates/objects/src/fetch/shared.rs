//! What the recipients of one object share: the pieces that have arrived, and the segments that are
//! on their way.
//!
//! A task of its own fetches each segment, so that no recipient depends on the one that came first.
//! Pieces are kept until all present recipients have taken them. With a single recipient that is at
//! once. Once a second one has arrived, pieces stay as long as there is memory, for recipients that
//! come later.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use bytes::Bytes;

use crate::fetch::memory::{
    BUFFER, EvictionOffer, MemoryReservation, PieceHolder, SegmentBuffer, SegmentMemory,
};
use crate::fetch::requests::{RequestedObject, Requests, SegmentResponse};
use crate::fetch::retry::{FetchFailure, Retries};
use crate::object::Object;
use crate::sync::{AbortHandle, Instant, Mutex, MutexGuard, Notify, sleep, timeout, yield_now};

/// A store that sends nothing for this time gets the request again.
///
/// Bound: object stores.
pub(crate) const STALLED: Duration = Duration::from_secs(15);

/// Pieces that a recipient has not taken for this time may be evicted as a last resort.
const STALE: Duration = Duration::from_millis(500);

/// A buffer with this many bytes is handed over as it is when a recipient waits; fewer bytes are
/// copied out of it.
const MIN_HANDOVER: usize = 64 * 1024;

/// How far a segment runs ahead of a recipient that keeps up, in bytes: what has just come is still
/// in the processor's cache when it leaves.
const LEAD: u64 = 2 * BUFFER as u64;

/// How long a segment waits for its recipient, for each MiB. It does not wait longer for a slow
/// one, because that would hold the connection.
///
/// Bound: object stores. 10 ms for each MiB
const WAIT_PER_MIB: Duration = Duration::from_millis(10);

/// One object's pieces, segments and recipients.
pub(crate) struct SharedObject {
    requests: Arc<Requests>,
    memory: Arc<SegmentMemory>,
    requested: RequestedObject,
    state: Mutex<SharedState>,
    /// Notifies segments that wait for a recipient to advance.
    advanced: Notify,
}

#[derive(Default)]
struct SharedState {
    /// By the offset where each begins. They do not overlap.
    pieces: BTreeMap<u64, Piece>,
    flights: Vec<SegmentUnderWay>,
    readers: Vec<ReaderPosition>,
    next_id: u64,
    /// There have been two recipients at the same time.
    crowded: bool,
    failed: Option<(Range<u64>, FetchFailure)>,
    /// A segment waits for a recipient to advance.
    waits: bool,
}

struct Piece {
    bytes: Bytes,
    /// Computed while the bytes were warm, if the object's CRC-32 is known.
    crc32: Option<u32>,
    since: Instant,
}

/// A segment on its way.
struct SegmentUnderWay {
    id: u64,
    /// The part that has not arrived yet.
    rest: Range<u64>,
    task: Option<AbortHandle>,
}

struct ReaderPosition {
    id: u64,
    at: u64,
    /// Wakes the recipient when something arrives at `at`.
    waker: Option<Waker>,
}

/// The state of a recipient's next bytes.
pub(crate) enum TakenPiece {
    /// Its next bytes, and their CRC-32 if that is known.
    Bytes(Bytes, Option<u32>),
    /// They are on their way; the recipient will be woken.
    Coming,
    /// They have not been requested.
    Missing,
    /// They cannot be fetched.
    Failed(FetchFailure),
}

impl SharedObject {
    pub(crate) fn new(
        requests: &Arc<Requests>,
        memory: &Arc<SegmentMemory>,
        object: Arc<Object>,
    ) -> Arc<SharedObject> {
        Arc::new(SharedObject {
            requests: Arc::clone(requests),
            memory: Arc::clone(memory),
            requested: RequestedObject::new(object),
            state: Mutex::default(),
            advanced: Notify::new(),
        })
    }

    pub(crate) fn object(&self) -> &Arc<Object> {
        self.requested.object()
    }

    pub(crate) fn requests(&self) -> &Arc<Requests> {
        &self.requests
    }

    /// Requests `range`.
    pub(crate) async fn open(
        &self,
        range: Range<u64>,
        urgent: impl Fn() -> bool,
    ) -> Result<SegmentResponse, FetchFailure> {
        self.requests.open(&self.requested, range, urgent).await
    }

    pub(crate) fn has_failed(&self) -> bool {
        self.lock().failed.is_some()
    }

    /// Adds a recipient at `at`, and returns its id.
    pub(crate) fn join(&self, at: u64) -> u64 {
        let mut state = self.lock();
        let id = state.new_id();
        state.crowded |= !state.readers.is_empty();
        state.readers.push(ReaderPosition { id, at, waker: None });
        id
    }

    /// Removes a recipient. With the last one, all segments under way are aborted.
    pub(crate) fn leave(&self, id: u64) {
        let mut state = self.lock();
        state.readers.retain(|reader| reader.id != id);
        if state.readers.is_empty() {
            for flight in state.flights.drain(..) {
                flight.task.inspect(AbortHandle::abort);
            }
            let pieces = std::mem::take(&mut state.pieces);
            drop(state);
            drop(pieces);
        } else {
            state.forget();
        }
    }

    /// Whether there is a single recipient.
    pub(crate) fn is_alone(&self) -> bool {
        self.lock().readers.len() == 1
    }

    /// Whether the byte at `at` is neither in memory nor on its way.
    pub(crate) fn is_blank_at(&self, at: u64) -> bool {
        let state = self.lock();
        state.piece_at(at).is_none() && !state.flights.iter().any(|flight| flight.rest.contains(&at))
    }

    /// The next bytes of recipient `id` in `range`.
    pub(crate) fn take(&self, id: u64, range: Range<u64>, cx: &mut Context<'_>) -> TakenPiece {
        let mut state = self.lock();
        let found = state.piece_at(range.start).map(|(start, piece)| {
            let skip = (range.start - start) as usize;
            let len = (range.end - range.start).min((piece.bytes.len() - skip) as u64) as usize;
            let whole = skip == 0 && len == piece.bytes.len();
            (piece.bytes.slice(skip..skip + len), piece.crc32.filter(|_| whole))
        });
        let taken = match found {
            Some((bytes, crc32)) => TakenPiece::Bytes(bytes, crc32),
            None if state.flights.iter().any(|flight| flight.rest.contains(&range.start)) => {
                TakenPiece::Coming
            }
            None => match &state.failed {
                Some((failed, failure)) if failed.contains(&range.start) => {
                    TakenPiece::Failed(failure.clone())
                }
                _ => TakenPiece::Missing,
            },
        };
        if let Some(reader) = state.readers.iter_mut().find(|reader| reader.id == id) {
            reader.at = range.start;
            reader.waker = matches!(taken, TakenPiece::Coming).then(|| cx.waker().clone());
            if let TakenPiece::Bytes(bytes, _) = &taken {
                reader.at += bytes.len() as u64;
                state.forget();
                if std::mem::take(&mut state.waits) {
                    self.advanced.notify_waiters();
                }
            }
        }
        taken
    }

    /// Recipient `id` has received everything before `at` by another way.
    pub(crate) fn passed(&self, id: u64, at: u64) {
        let mut state = self.lock();
        if let Some(reader) = state.readers.iter_mut().find(|reader| reader.id == id) {
            reader.at = at;
            reader.waker = None;
        }
    }

    /// Drops the pieces in `range`, because they turned out to be wrong.
    pub(crate) fn discard(&self, range: Range<u64>) {
        self.lock().pieces.retain(|start, _| !range.contains(start));
    }

    /// Fetches the first bytes of `range` that are neither in memory nor on their way, with one
    /// segment of at most `most` bytes. Returns the offset up to which everything is in memory or
    /// on its way then.
    pub(crate) fn fetch(self: &Arc<Self>, range: Range<u64>, most: u64) -> u64 {
        let mut state = self.lock();
        let start = state.covered_from(range.start).min(range.end);
        if start == range.end {
            return start;
        }
        if state.failed.as_ref().is_some_and(|(failed, _)| failed.contains(&start)) {
            return start;
        }
        let end = state.gap_end(start).min(range.end).min(start.saturating_add(most.max(1)));
        self.spawn_segment(&mut state, start..end, None);
        end
    }

    /// Reads the rest of an answer into memory.
    pub(crate) fn adopt(self: &Arc<Self>, at: u64, opened: SegmentResponse) {
        let mut state = self.lock();
        let end = at + opened.left();
        // Another recipient may have requested the same meanwhile.
        if at < end && state.gap_end(at) >= end && state.covered_from(at) == at {
            self.spawn_segment(&mut state, at..end, Some(opened));
        }
    }

    fn spawn_segment(
        self: &Arc<Self>,
        state: &mut SharedState,
        range: Range<u64>,
        opened: Option<SegmentResponse>,
    ) {
        let id = state.new_id();
        state.flights.push(SegmentUnderWay { id, rest: range.clone(), task: None });
        let flying = SegmentTask { shared: Arc::clone(self), id };
        let task = self.requests.spawn(flying.run(range, opened));
        if let Some(flight) = state.flights.iter_mut().find(|flight| flight.id == id) {
            flight.task = Some(task);
        }
    }

    fn lock(&self) -> MutexGuard<'_, SharedState> {
        self.state.lock()
    }
}

impl SharedState {
    fn new_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    fn piece_at(&self, at: u64) -> Option<(u64, &Piece)> {
        let (start, piece) = self.pieces.range(..=at).next_back()?;
        (at < start + piece.bytes.len() as u64).then_some((*start, piece))
    }

    /// The first byte from `at` on that is neither in memory nor on its way.
    fn covered_from(&self, mut at: u64) -> u64 {
        loop {
            if let Some((start, piece)) = self.piece_at(at) {
                at = start + piece.bytes.len() as u64;
            } else if let Some(flight) = self.flights.iter().find(|flight| flight.rest.contains(&at)) {
                at = flight.rest.end;
            } else {
                return at;
            }
        }
    }

    /// Where the first piece or segment behind `at` begins.
    fn gap_end(&self, at: u64) -> u64 {
        let piece = self.pieces.range(at..).next().map(|(start, _)| *start);
        // A segment that has arrived whole covers nothing, though its task may not have ended yet.
        let flights = self.flights.iter().map(|flight| &flight.rest).filter(|rest| !rest.is_empty());
        let flights = flights.map(|rest| rest.start).filter(|start| *start >= at);
        flights.chain(piece).min().unwrap_or(u64::MAX)
    }

    /// Drops pieces that every recipient has taken, unless more recipients may come.
    fn forget(&mut self) {
        if self.crowded {
            return;
        }
        let slowest = self.readers.iter().map(|reader| reader.at).min().unwrap_or(u64::MAX);
        while let Some(first) = self.pieces.first_entry()
            && first.key() + first.get().bytes.len() as u64 <= slowest
        {
            first.remove();
        }
    }

    /// The wakers of recipients that wait for a byte in `range`.
    fn wake(&mut self, range: &Range<u64>) -> Vec<Waker> {
        let waiting = self.readers.iter_mut().filter(|reader| range.contains(&reader.at));
        waiting.filter_map(|reader| reader.waker.take()).collect()
    }
}

impl PieceHolder for SharedObject {
    fn offers(&self, fair: u64, offer: &mut dyn FnMut(EvictionOffer)) {
        let state = self.lock();
        for (start, piece) in &state.pieces {
            let end = start + piece.bytes.len() as u64;
            // The distance of the nearest recipient that still needs the piece.
            let ahead = state.readers.iter().filter(|reader| reader.at < end);
            let distance = ahead.map(|reader| start.saturating_sub(reader.at)).min();
            let spare = match distance {
                None => u64::MAX,
                Some(distance) if distance > fair || (state.crowded && distance > 4 * BUFFER as u64) => {
                    distance
                }
                // The next bytes, and a fair share of them, stay with a recipient that takes them.
                Some(_) if piece.since.elapsed() < STALE => continue,
                Some(_) => 0,
            };
            offer(EvictionOffer { start: *start, len: piece.bytes.len(), spare });
        }
    }

    fn evict(&self, start: u64) {
        let piece = self.lock().pieces.remove(&start);
        drop(piece);
    }
}

/// A segment's task. Dropping it removes the segment, however it ended.
struct SegmentTask {
    shared: Arc<SharedObject>,
    id: u64,
}

impl SegmentTask {
    async fn run(self, range: Range<u64>, opened: Option<SegmentResponse>) {
        let (mut at, end) = (range.start, range.end);
        let memory = &self.shared.memory;
        let len = usize::try_from(end - at).unwrap_or(usize::MAX);
        // A segment that waits for memory must not keep a connection.
        let (reservation, mut opened) = match memory.try_reserve(len) {
            Some(reservation) => (Some(reservation), opened),
            None => {
                drop(opened);
                (memory.reserve(len).await, None)
            }
        };
        let Some(mut reservation) = reservation else { return };
        let mut retries = Retries::default();
        while at < end {
            let before = at;
            let failure = match self.attempt(opened.take(), &mut at, end, &mut reservation).await {
                Ok(()) => return,
                Err(failure) => failure,
            };
            if at > before {
                retries.progress();
            }
            tracing::debug!(object = self.shared.object().key, at, ?failure, "a segment's request failed");
            match retries.after(failure) {
                Ok(wait) => {
                    self.shared.requests.count_retry();
                    sleep(wait).await;
                }
                Err(failure) => {
                    self.shared.lock().failed = Some((at..u64::MAX, failure));
                    return;
                }
            }
        }
    }

    /// One request, or what is left of one.
    async fn attempt(
        &self,
        opened: Option<SegmentResponse>,
        at: &mut u64,
        end: u64,
        reservation: &mut MemoryReservation,
    ) -> Result<(), FetchFailure> {
        let mut opened = match opened {
            Some(opened) => opened,
            None => self.shared.open(*at..end, || self.is_wanted(*at)).await?,
        };
        let room = |at: u64| usize::try_from(end - at).unwrap_or(usize::MAX).min(BUFFER);
        let mut buffer = reservation.buffer(room(*at));
        let mut courtesy = WAIT_PER_MIB.mul_f64((end - *at) as f64 / (1 << 20) as f64);
        let failure = loop {
            match opened.try_read(buffer.spare()) {
                Ok(0) => break FetchFailure::passing("the store's answer ended early"),
                Ok(n) => {
                    buffer.fill(n);
                    // The buffer may reach beyond the segment's end, because bytes before it left
                    // on their own.
                    let ended = *at + buffer.filled().len() as u64 == end;
                    if !buffer.is_full() && !ended {
                        continue;
                    }
                    self.arrived(at, buffer);
                    if *at == end {
                        opened.finish();
                        return Ok(());
                    }
                    self.keep_pace(*at, &mut courtesy).await;
                    buffer = reservation.buffer(room(*at));
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    if !buffer.filled().is_empty() && self.is_wanted(*at) {
                        if buffer.filled().len() >= MIN_HANDOVER {
                            self.arrived(at, buffer);
                            buffer = reservation.buffer(room(*at));
                        } else {
                            let mut small = reservation.buffer(buffer.filled().len());
                            small.spare().copy_from_slice(buffer.filled());
                            small.fill(buffer.filled().len());
                            buffer.clear();
                            self.arrived(at, small);
                        }
                    }
                    match timeout(STALLED, opened.readable()).await {
                        Ok(Ok(())) => {}
                        Ok(Err(error)) => break broke_off(&error),
                        Err(_) => break FetchFailure::passing("the store stopped sending"),
                    }
                }
                Err(error) => break broke_off(&error),
            }
        };
        if !buffer.filled().is_empty() {
            self.arrived(at, buffer);
        }
        Err(failure)
    }

    /// Lets recipients take what has arrived, and waits for the foremost one, at most for
    /// `courtesy`.
    async fn keep_pace(&self, at: u64, courtesy: &mut Duration) {
        yield_now().await;
        while !courtesy.is_zero() && !self.shared.requests.is_busy() {
            let advanced = self.shared.advanced.notified();
            {
                let mut state = self.shared.lock();
                let front = state.readers.iter().map(|reader| reader.at).filter(|reader| *reader <= at).max();
                if front.is_none_or(|front| at - front <= LEAD) {
                    return;
                }
                state.waits = true;
            }
            let began = Instant::now();
            let _ = timeout(*courtesy, advanced).await;
            *courtesy = courtesy.saturating_sub(began.elapsed());
        }
    }

    /// Whether a recipient waits for the byte at `at`.
    fn is_wanted(&self, at: u64) -> bool {
        let state = self.shared.lock();
        state.readers.iter().any(|reader| reader.at == at && reader.waker.is_some())
    }

    /// Adds the bytes that arrived at `at`.
    fn arrived(&self, at: &mut u64, buffer: SegmentBuffer) {
        let crc32 = self.shared.object().crc32.is_some().then(|| crc32fast::hash(buffer.filled()));
        let piece = Piece { bytes: buffer.freeze(), crc32, since: Instant::now() };
        let range = *at..*at + piece.bytes.len() as u64;
        *at = range.end;
        let mut state = self.shared.lock();
        if let Some(flight) = state.flights.iter_mut().find(|flight| flight.id == self.id) {
            flight.rest.start = range.end;
        }
        state.pieces.insert(range.start, piece);
        let wakers = state.wake(&range);
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
        self.shared.memory.relieve();
    }
}

fn broke_off(error: &std::io::Error) -> FetchFailure {
    FetchFailure::passing(format!("the store's answer broke off: {error}"))
}

impl Drop for SegmentTask {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        let Some(index) = state.flights.iter().position(|flight| flight.id == self.id) else { return };
        let flight = state.flights.swap_remove(index);
        // A recipient that waits for the rest finds that it failed, or requests it again.
        let wakers = state.wake(&(flight.rest.start..flight.rest.end.max(flight.rest.start + 1)));
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_that_has_arrived_is_in_nobodys_way() {
        let mut state = SharedState::default();
        state.flights.push(SegmentUnderWay { id: 1, rest: 10..10, task: None });
        state.flights.push(SegmentUnderWay { id: 2, rest: 20..30, task: None });
        assert_eq!((state.covered_from(10), state.gap_end(10)), (10, 20));
    }
}
