//! Recipients of one object, and what holds for them whatever the order of events.

use std::future::poll_fn;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;

use bytes::Bytes;
use shuttle::future::{JoinHandle, block_on, spawn, yield_now};
use shuttle::rand::Rng as _;

use crate::fetch::memory::{BUFFER, SegmentMemory};
use crate::fetch::retry::FetchFailure;
use crate::fetch::shared::{SharedObject, TakenPiece};
use crate::object::Object;
use crate::store::{Faults, Requests, byte};

/// Four segments of half a buffer each: few enough bytes for thousands of runs.
const SEGMENT: u64 = BUFFER as u64 / 2;
const SIZE: u64 = 4 * SEGMENT;

/// Interleavings that are tried for each case.
const RUNS: usize = 300;

/// What the recipients share.
struct World {
    requests: Arc<Requests>,
    memory: Arc<SegmentMemory>,
    shared: Arc<SharedObject>,
    failed: AtomicUsize,
}

impl World {
    fn new(limit: usize, faults: Faults) -> Arc<World> {
        let (requests, memory) = (Arc::new(Requests::new(faults)), SegmentMemory::new(limit));
        let object = Object {
            key: "object".to_owned(),
            size: SIZE,
            etag: None,
            version: None,
            modified: None,
            crc32: None,
        };
        let shared = SharedObject::new(&requests, &memory, Arc::new(object));
        memory.register(Arc::downgrade(&shared) as _);
        Arc::new(World { requests, memory, shared, failed: AtomicUsize::new(0) })
    }

    /// Takes `range` as `ObjectReader` does, for the recipient `id`. One that is `slow` keeps what
    /// it has taken for a while.
    async fn receive(&self, id: u64, range: Range<u64>, slow: bool) -> Result<(), FetchFailure> {
        let _share = self.memory.share();
        let mut at = range.start;
        let mut kept = Vec::<Bytes>::new();
        while at < range.end {
            let piece = poll_fn(|cx| match self.shared.take(id, at..range.end, cx) {
                TakenPiece::Coming => Poll::Pending,
                taken => Poll::Ready(taken),
            });
            let piece = piece.await;
            assert!(self.memory.used() <= self.memory.limit(), "more memory than the budget");
            match piece {
                TakenPiece::Bytes(bytes, _) => {
                    let end = at + bytes.len() as u64;
                    assert!(!bytes.is_empty() && end <= range.end);
                    let edges = [(at, bytes[0]), (end - 1, bytes[bytes.len() - 1])];
                    assert!(edges.into_iter().all(|(at, got)| got == byte(at)), "wrong bytes at {at}");
                    at = end;
                    if slow {
                        kept.push(bytes);
                        yield_now().await;
                        kept.truncate(1);
                    }
                }
                TakenPiece::Missing => {
                    let segment = at - at % SEGMENT;
                    self.shared.fetch(at..range.end.min(segment + SEGMENT), SEGMENT);
                }
                TakenPiece::Failed(failure) => return Err(failure),
                TakenPiece::Coming => unreachable!("it was waited for"),
            }
        }
        Ok(())
    }
}

/// A recipient that is gone, however it ended.
struct Leaving(Arc<World>, u64);

impl Drop for Leaving {
    fn drop(&mut self) {
        self.0.shared.leave(self.1);
    }
}

/// Begins a recipient of each of `ranges`. All join before the first one takes anything, so that
/// none comes after all others have left.
fn begin(world: &Arc<World>, ranges: &[Range<u64>], slow: bool) -> Vec<JoinHandle<()>> {
    let joined: Vec<u64> = ranges.iter().map(|range| world.shared.join(range.start)).collect();
    let recipients = joined.into_iter().zip(ranges).map(|(id, range)| {
        let (recipient, range) = (Leaving(Arc::clone(world), id), range.clone());
        spawn(async move {
            let Leaving(world, id) = &recipient;
            if world.receive(*id, range, slow).await.is_err() {
                world.failed.fetch_add(1, Ordering::SeqCst);
            }
        })
    });
    recipients.collect()
}

/// Waits for the end of `recipients` and of all segments, checks that all memory is free then, and
/// returns how many recipients failed and how many requests there were.
fn end(world: Arc<World>, recipients: Vec<JoinHandle<()>>) -> (usize, usize) {
    block_on(async {
        for recipient in recipients {
            // An error: it was aborted.
            let _ = recipient.await;
        }
        while world.requests.tasks() > 0 {
            yield_now().await;
        }
    });
    let World { requests, memory, shared, failed } = Arc::into_inner(world).expect("all have ended");
    assert!(!memory.is_short(), "a reservation waits for ever");
    drop(shared);
    assert_eq!(memory.used(), 0, "memory that is not in use is not free");
    (failed.into_inner(), requests.requested.load(Ordering::SeqCst))
}

#[test]
fn recipients_share_one_request_for_each_segment() {
    let together = || {
        let world = World::new(64 * BUFFER, Faults::default());
        // It takes nothing, so that nothing is dropped.
        let first = world.shared.join(0);
        let recipients = begin(&world, &[0..SIZE, 0..SIZE, SEGMENT..SIZE], false);
        block_on(async {
            while world.requests.requested.load(Ordering::SeqCst) < 4 {
                yield_now().await;
            }
        });
        world.shared.leave(first);
        assert_eq!(end(world, recipients), (0, 4));
    };
    shuttle::check_random(together, RUNS);
}

#[test]
fn in_memory_for_two_segments_every_recipient_gets_all() {
    let scarce = || {
        let world = World::new(BUFFER, Faults::default());
        let recipients = begin(&world, &[0..SIZE, 0..SIZE, SEGMENT / 2..SIZE], true);
        assert_eq!(end(world, recipients).0, 0);
    };
    shuttle::check_random(scarce, RUNS);
}

#[test]
fn what_a_failing_request_leaves_another_one_fetches() {
    let faulty = || {
        let world = World::new(BUFFER, Faults { passing: 10, broken: 10, lasting: 0 });
        let recipients = begin(&world, &[0..SIZE, 0..SIZE, 2 * SEGMENT..SIZE], false);
        let (failed, requested) = end(world, recipients);
        assert!(failed == 0 && requested >= 4, "{failed} failed, {requested} requests");
    };
    shuttle::check_random(faulty, RUNS);
}

#[test]
fn a_failure_for_good_reaches_every_recipient() {
    let broken = || {
        let world = World::new(BUFFER, Faults { passing: 10, broken: 5, lasting: 30 });
        let recipients = begin(&world, &[0..SIZE, 0..SIZE, SEGMENT..SIZE], false);
        end(world, recipients);
    };
    shuttle::check_random(broken, RUNS);
}

#[test]
fn recipients_that_leave_take_nothing_from_those_that_stay() {
    let leaving = || {
        let world = World::new(BUFFER, Faults { passing: 5, broken: 5, lasting: 0 });
        let mut staying = begin(&world, &[SEGMENT..SIZE, 0..SIZE, 0..SIZE], false);
        let leaving = staying.split_off(1);
        for _ in 0..shuttle::rand::thread_rng().gen_range(0..40) {
            block_on(yield_now());
        }
        leaving.iter().for_each(JoinHandle::abort);
        staying.extend(leaving);
        assert_eq!(end(world, staying).0, 0);
    };
    shuttle::check_random(leaving, RUNS);
}

/// With the last recipient, all segments end.
#[test]
fn when_all_leave_nothing_stays_behind() {
    let all = || {
        let world = World::new(BUFFER, Faults { passing: 5, broken: 5, lasting: 0 });
        let recipients = begin(&world, &[0..SIZE, SEGMENT..SIZE], true);
        for _ in 0..shuttle::rand::thread_rng().gen_range(0..40) {
            block_on(yield_now());
        }
        recipients.iter().for_each(JoinHandle::abort);
        end(world, recipients);
    };
    shuttle::check_random(all, RUNS);
}
