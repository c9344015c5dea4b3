//! One store's requests for segments: how many at a time, by which way, and a second one when the
//! first is late.

use std::io;
use std::ops::Range;
use std::os::fd::BorrowedFd;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use object_store::ObjectStore;
use object_store::path::Path;
use outflow_metrics::MetricRegistry;
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::fetch::direct::{self, ConnectionPool, DirectBody};
use crate::fetch::plain::{PlainAddresses, PlainUrl};
use crate::fetch::retry::FetchFailure;
use crate::fetch::through::{self, ThroughBody};
use crate::key::path_of;
use crate::metrics::{FetchPath, StoreMetrics};
use crate::object::Object;
use crate::runtime;

/// Maximum share of second requests: one in this many, 5 %.
///
/// Bound: object stores.
const HEDGES: u64 = 20;
/// Minimum delay of a second request.
const EARLIEST_HEDGE: Duration = Duration::from_millis(20);
/// A signed address that is valid for less than this is not used any more.
const SIGNED_FOR: Duration = Duration::from_secs(30);

/// What fetching has to know of a store.
pub(crate) struct StoreFacts {
    /// The client for ranged requests. It does not retry by itself.
    pub(crate) client: Arc<dyn ObjectStore>,
    /// What all keys are below.
    pub(crate) prefix: Path,
    /// Where objects can be had over plain sockets. None for TLS, or where a proxy is in between.
    pub(crate) plain: Option<PlainAddresses>,
    /// Where the client's work is done.
    pub(crate) runtime: Handle,
    /// Maximum number of connections at the same time.
    pub(crate) connections: usize,
    /// Send a second request when the first is late.
    pub(crate) hedge: bool,
    /// Where requests are counted.
    pub(crate) registry: MetricRegistry,
}

/// State that all requests to one store share.
pub(crate) struct Requests {
    facts: StoreFacts,
    /// Connections that may be opened beside those in use.
    permits: Arc<Semaphore>,
    /// How many requests wait for one.
    waiting: AtomicUsize,
    pool: Arc<ConnectionPool>,
    latency: ResponseLatency,
    counters: RequestCounters,
    metrics: Arc<StoreMetrics>,
}

/// An object that is requested, and its address for plain sockets while that is valid.
pub(crate) struct RequestedObject {
    object: Arc<Object>,
    url: Mutex<Option<PlainUrl>>,
}

impl RequestedObject {
    pub(crate) fn new(object: Arc<Object>) -> RequestedObject {
        RequestedObject { object, url: Mutex::default() }
    }

    pub(crate) fn object(&self) -> &Arc<Object> {
        &self.object
    }
}

/// Requests to this store so far, by which its second requests are limited. The metrics may be
/// those of several stores.
#[derive(Debug, Default)]
pub(crate) struct RequestCounters {
    pub(crate) requests: AtomicU64,
    pub(crate) hedged: AtomicU64,
}

/// An answer whose head is valid. Holds one of the store's connections.
pub(crate) struct SegmentResponse {
    body: SegmentBody,
    metrics: Arc<StoreMetrics>,
    _permit: OwnedSemaphorePermit,
}

enum SegmentBody {
    Direct(DirectBody),
    Through(ThroughBody),
}

/// Times from a request to the first byte of its answer, smoothed like a round trip (RFC 6298).
#[derive(Default)]
struct ResponseLatency {
    mean: AtomicU64,
    deviation: AtomicU64,
}

impl Requests {
    pub(crate) fn new(facts: StoreFacts) -> Requests {
        Requests {
            permits: Arc::new(Semaphore::new(facts.connections.clamp(1, Semaphore::MAX_PERMITS))),
            waiting: AtomicUsize::new(0),
            pool: Arc::default(),
            latency: ResponseLatency::default(),
            counters: RequestCounters::default(),
            metrics: facts.registry.set(),
            facts,
        }
    }

    /// A segment is going to be requested again.
    pub(crate) fn count_retry(&self) {
        self.metrics.retries.inc();
    }

    /// Lets the metrics show what is known anyway.
    pub(crate) fn show_state(self: &Arc<Self>) {
        let registry = &self.facts.registry;
        registry.read_gauge(
            self,
            |metrics: &StoreMetrics| &metrics.connections,
            |requests| requests.facts.connections.saturating_sub(requests.permits.available_permits()),
        );
        registry.read_gauge(
            self,
            |metrics: &StoreMetrics| &metrics.connections_limit,
            |requests| requests.facts.connections,
        );
        registry.read_gauge(
            self,
            |metrics: &StoreMetrics| &metrics.waiting,
            |requests| requests.waiting.load(Relaxed),
        );
    }

    #[cfg(test)]
    pub(crate) fn counters(&self) -> &RequestCounters {
        &self.counters
    }

    /// Whether bytes can come from a plain socket.
    pub(crate) fn is_plain(&self) -> bool {
        self.facts.plain.is_some()
    }

    /// How long the store takes to answer, usually.
    pub(crate) fn latency(&self) -> Duration {
        Duration::from_micros(self.latency.mean.load(Relaxed))
    }

    /// Whether no connection is in use.
    #[cfg(test)]
    pub(crate) fn is_idle(&self) -> bool {
        self.permits.available_permits() == self.facts.connections
    }

    /// Runs a segment's work where its connection belongs: here for plain sockets, else on the
    /// store's threads.
    pub(crate) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) -> tokio::task::AbortHandle {
        match Handle::try_current() {
            Ok(here) if self.is_plain() => here.spawn(work).abort_handle(),
            _ => self.facts.runtime.spawn(work).abort_handle(),
        }
    }

    /// Requests `range`, and a second time if the answer is late and `urgent` says that a recipient
    /// waits for it.
    pub(crate) async fn open(
        &self,
        from: &RequestedObject,
        range: Range<u64>,
        urgent: impl Fn() -> bool,
    ) -> Result<SegmentResponse, FetchFailure> {
        let permit = self.permit().await?;
        let began = Instant::now();
        let first = self.request(from, range.clone());
        let body = match self.hedge_after() {
            None => first.await,
            Some(read_timeout) => {
                let mut first = std::pin::pin!(first);
                match tokio::time::timeout(read_timeout, &mut first).await {
                    Ok(answer) => answer,
                    Err(_) => match self.second_permit(&urgent) {
                        None => first.await,
                        Some(_permit) => {
                            let second = std::pin::pin!(self.request(from, range));
                            first_good(first, second).await
                        }
                    },
                }
            }
        }?;
        let took = began.elapsed();
        self.latency.saw(took);
        self.metrics.response_time.add(took);
        Ok(SegmentResponse { body, metrics: Arc::clone(&self.metrics), _permit: permit })
    }

    /// Whether a request waits for a connection, so that none should be held longer than needed.
    pub(crate) fn is_busy(&self) -> bool {
        self.waiting.load(Relaxed) > 0
    }

    async fn permit(&self) -> Result<OwnedSemaphorePermit, FetchFailure> {
        if let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() {
            return Ok(permit);
        }
        self.waiting.fetch_add(1, Relaxed);
        let _waiting = WaitingForPermit(&self.waiting);
        // The semaphore is never closed.
        let permit = Arc::clone(&self.permits).acquire_owned().await;
        permit.map_err(|_| FetchFailure::Lasting("the store was closed".to_owned()))
    }

    /// The delay of a second request: longer than nearly all answers took.
    fn hedge_after(&self) -> Option<Duration> {
        let (mean, deviation) = (self.latency.mean.load(Relaxed), self.latency.deviation.load(Relaxed));
        let known = self.facts.hedge && mean > 0;
        known.then(|| Duration::from_micros(mean + 4 * deviation).max(EARLIEST_HEDGE))
    }

    /// A permit for a second request, if one is free and not too many were sent already.
    fn second_permit(&self, urgent: &impl Fn() -> bool) -> Option<OwnedSemaphorePermit> {
        let sent = self.counters.hedged.load(Relaxed);
        if !urgent() || (sent + 1) * HEDGES > self.counters.requests.load(Relaxed) {
            return None;
        }
        let permit = Arc::clone(&self.permits).try_acquire_owned().ok()?;
        self.counters.hedged.fetch_add(1, Relaxed);
        self.metrics.hedges.inc();
        Some(permit)
    }

    /// Sends one request.
    async fn request(&self, from: &RequestedObject, range: Range<u64>) -> Result<SegmentBody, FetchFailure> {
        self.counters.requests.fetch_add(1, Relaxed);
        let answer = self.answer(from, range).await;
        self.metrics.answered(&answer);
        answer
    }

    async fn answer(&self, from: &RequestedObject, range: Range<u64>) -> Result<SegmentBody, FetchFailure> {
        let object = &from.object;
        if let Some(url) = self.url(from).await? {
            let answer = direct::open(&self.pool, &url, object, range).await;
            if matches!(answer, Err(FetchFailure::Denied(_))) {
                // Signed with credentials that have ended, perhaps.
                *from.url.lock() = None;
            }
            return answer.map(SegmentBody::Direct);
        }
        let path = path_of(&self.facts.prefix, &object.key).map_err(FetchFailure::of_kind)?;
        through::open(&self.facts.client, &path, object, range).await.map(SegmentBody::Through)
    }

    /// The object's address for plain sockets: the last one while it is valid, or a new one.
    async fn url(&self, from: &RequestedObject) -> Result<Option<PlainUrl>, FetchFailure> {
        let Some(addresses) = &self.facts.plain else { return Ok(None) };
        let soon = Instant::now() + SIGNED_FOR;
        let last = from.url.lock().clone();
        if let Some(url) = last.filter(|url| url.until.is_none_or(|until| until > soon)) {
            return Ok(Some(url));
        }
        let path = path_of(&self.facts.prefix, &from.object.key).map_err(FetchFailure::of_kind)?;
        let url = match addresses {
            PlainAddresses::Open(address) => address(&path),
            PlainAddresses::Signed(sign) => {
                // No permit is needed for that: the request has one already.
                let signing = sign(path, from.object.version.as_deref());
                let signed = runtime::run(&self.facts.runtime, signing).await.unwrap_or(Ok(None));
                signed.map_err(FetchFailure::of_kind)?
            }
        };
        from.url.lock().clone_from(&url);
        Ok(url)
    }
}

/// Counts one that waits.
struct WaitingForPermit<'a>(&'a AtomicUsize);

impl Drop for WaitingForPermit<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

/// The answer that comes first, or the other one if that failed.
async fn first_good<T>(
    mut first: Pin<&mut impl Future<Output = Result<T, FetchFailure>>>,
    mut second: Pin<&mut impl Future<Output = Result<T, FetchFailure>>>,
) -> Result<T, FetchFailure> {
    tokio::select! {
        answer = &mut first => match answer {
            Ok(answer) => Ok(answer),
            Err(_) => second.await,
        },
        answer = &mut second => match answer {
            Ok(answer) => Ok(answer),
            Err(_) => first.await,
        },
    }
}

impl ResponseLatency {
    fn saw(&self, time: Duration) {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX).max(1);
        let mean = self.mean.load(Relaxed);
        if mean == 0 {
            self.mean.store(micros, Relaxed);
            self.deviation.store(micros / 2, Relaxed);
            return;
        }
        let off = mean.abs_diff(micros);
        let deviation = self.deviation.load(Relaxed);
        self.deviation.store(deviation - deviation / 4 + off / 4, Relaxed);
        self.mean.store((mean - mean / 8 + micros / 8).max(1), Relaxed);
    }
}

impl SegmentResponse {
    /// Bytes that are still to come.
    pub(crate) fn left(&self) -> u64 {
        match &self.body {
            SegmentBody::Direct(body) => body.left(),
            SegmentBody::Through(body) => body.left(),
        }
    }

    /// Reads what is there; `WouldBlock` if there is nothing, 0 at the end of the stream.
    pub(crate) fn try_read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = match &mut self.body {
            SegmentBody::Direct(body) => body.try_read(into),
            SegmentBody::Through(body) => body.try_read(into),
        };
        if let Ok(n) = read {
            self.metrics.fetched.of(FetchPath::Copy).add(n as u64);
        }
        read
    }

    /// Moves what is there into a pipe; `WouldBlock` if there is nothing, 0 at the end of the
    /// stream. `None` if the body does not come from a plain socket.
    pub(crate) fn try_splice(&mut self, into: BorrowedFd<'_>, most: usize) -> Option<io::Result<usize>> {
        let SegmentBody::Direct(body) = &mut self.body else { return None };
        let moved = body.try_splice(into, most);
        if let Ok(n) = moved {
            self.metrics.fetched.of(FetchPath::Splice).add(n as u64);
        }
        Some(moved)
    }

    /// Waits for more.
    pub(crate) async fn readable(&mut self) -> io::Result<()> {
        match &mut self.body {
            SegmentBody::Direct(body) => body.readable().await,
            SegmentBody::Through(body) => body.readable().await,
        }
    }

    pub(crate) fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &self.body {
            SegmentBody::Direct(body) => body.poll_readable(cx),
            SegmentBody::Through(_) => Poll::Ready(Ok(())),
        }
    }

    /// The body has been taken whole: its connection can be used again.
    pub(crate) fn finish(mut self) {
        if let SegmentBody::Direct(body) = &mut self.body {
            body.finish();
        }
    }
}
