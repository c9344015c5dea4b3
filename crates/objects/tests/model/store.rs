//! A store with one object, in place of the crate's `fetch/requests.rs`.

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use shuttle::rand::Rng as _;

use crate::fetch::retry::FetchFailure;
use crate::object::Object;
use crate::sync::{AbortHandle, yield_now};

/// Bytes that are the same.
const PAGE: u64 = 4096;

/// How often, in percent, something goes wrong.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Faults {
    /// A request fails, and may go better next time.
    pub(crate) passing: u32,
    /// A request fails for good.
    pub(crate) lasting: u32,
    /// A response breaks off.
    pub(crate) broken: u32,
}

/// The store, and what was requested from it. Plain locks: they add no interleavings.
pub(crate) struct Requests {
    faults: Faults,
    /// Ranges that are being fetched.
    open: Arc<std::sync::Mutex<Vec<Range<u64>>>>,
    pub(crate) requested: AtomicUsize,
    tasks: Arc<AtomicUsize>,
}

pub(crate) struct RequestedObject(Arc<Object>);

impl RequestedObject {
    pub(crate) fn new(object: Arc<Object>) -> RequestedObject {
        RequestedObject(object)
    }

    pub(crate) fn object(&self) -> &Arc<Object> {
        &self.0
    }
}

/// The byte at an offset: the same in a page, so that pages are filled quickly.
pub(crate) fn byte(at: u64) -> u8 {
    (at / PAGE) as u8
}

fn chance(percent: u32) -> bool {
    percent > 0 && shuttle::rand::thread_rng().gen_range(0..100) < percent
}

impl Requests {
    pub(crate) fn new(faults: Faults) -> Requests {
        Requests { faults, open: Arc::default(), requested: AtomicUsize::new(0), tasks: Arc::default() }
    }

    /// Segments that are under way.
    pub(crate) fn tasks(&self) -> usize {
        self.tasks.load(Ordering::SeqCst)
    }

    pub(crate) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) -> AbortHandle {
        let running = Counted::one_of(&self.tasks);
        let work = async move {
            let _running = running;
            work.await;
        };
        shuttle::future::spawn(work).abort_handle()
    }

    pub(crate) fn is_busy(&self) -> bool {
        false
    }

    pub(crate) fn count_retry(&self) {}

    pub(crate) async fn open(
        &self,
        _: &RequestedObject,
        range: Range<u64>,
        _: impl Fn() -> bool,
    ) -> Result<SegmentResponse, FetchFailure> {
        self.requested.fetch_add(1, Ordering::SeqCst);
        let fetching = Fetching::begin(&self.open, range.clone());
        yield_now().await;
        if chance(self.faults.lasting) {
            return Err(FetchFailure::Lasting("the store refuses".to_owned()));
        }
        if chance(self.faults.passing) {
            return Err(FetchFailure::passing("the store is busy"));
        }
        Ok(SegmentResponse { rest: range, broken: self.faults.broken, waits: false, _fetching: fetching })
    }
}

struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn one_of(count: &Arc<AtomicUsize>) -> Counted {
        count.fetch_add(1, Ordering::SeqCst);
        Counted(Arc::clone(count))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A range that is being fetched: by one request at a time.
struct Fetching(Arc<std::sync::Mutex<Vec<Range<u64>>>>, Range<u64>);

impl Fetching {
    fn begin(open: &Arc<std::sync::Mutex<Vec<Range<u64>>>>, range: Range<u64>) -> Fetching {
        let mut ranges = open.lock().unwrap();
        let twice = ranges.iter().find(|other| range.start < other.end && other.start < range.end);
        assert_eq!(twice, None, "{range:?} is fetched twice at the same time");
        ranges.push(range.clone());
        drop(ranges);
        Fetching(Arc::clone(open), range)
    }
}

impl Drop for Fetching {
    fn drop(&mut self) {
        // The lock is not poisoned unless the model has failed already.
        if let Ok(mut open) = self.0.lock() {
            open.retain(|range| *range != self.1);
        }
    }
}

pub(crate) struct SegmentResponse {
    rest: Range<u64>,
    broken: u32,
    waits: bool,
    _fetching: Fetching,
}

impl SegmentResponse {
    pub(crate) fn left(&self) -> u64 {
        self.rest.end - self.rest.start
    }

    pub(crate) fn try_read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.waits {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        if chance(self.broken) {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        let most = usize::try_from(self.left()).unwrap().min(into.len());
        let n = if chance(50) { most } else { most.div_ceil(2) };
        let (mut at, mut into) = (self.rest.start, &mut into[..n]);
        while !into.is_empty() {
            let (page, rest) = into.split_at_mut(((PAGE - at % PAGE) as usize).min(into.len()));
            page.fill(byte(at));
            at += page.len() as u64;
            into = rest;
        }
        self.rest.start = at;
        self.waits = chance(50);
        Ok(n)
    }

    pub(crate) async fn readable(&mut self) -> io::Result<()> {
        yield_now().await;
        self.waits = false;
        Ok(())
    }

    pub(crate) fn finish(self) {}
}
