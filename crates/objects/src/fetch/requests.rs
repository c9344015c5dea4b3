//! One store's requests for segments: how many at a time, by which way, and a second one when the first is late.

use std::collections::HashMap;
use std::io;
use std::ops::Range;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use object_store::ObjectStore;
use object_store::path::Path;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::Object;
use crate::remote::direct::{self, DirectBody, Pool};
use crate::remote::memory::Memory;
use crate::remote::plain::PlainUrl;
use crate::remote::retry::Failure;
use crate::remote::shared::Shared;
use crate::remote::through::{self, ThroughBody};

/// A second request for every so many: 5 %.
const HEDGES: u64 = 20;
/// A second request is never sent earlier than this.
const EARLIEST_HEDGE: Duration = Duration::from_millis(20);
/// A signed address is not used any more when it ends so soon.
const SIGNED_FOR: Duration = Duration::from_secs(30);

/// A future in a box.
pub(crate) type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// How to reach a store's objects.
pub(crate) trait Access: Send + Sync + 'static {
    /// The object's address for plain sockets, signed anew, or `None` if that is not possible (TLS, say).
    fn plain_url(&self, object: &Arc<Object>) -> Boxed<Result<Option<PlainUrl>, Failure>>;
    /// Whether [`Access::plain_url`] ever gives one.
    fn is_plain(&self) -> bool;
    /// The client for everything else: it does not try again by itself.
    fn client(&self) -> Result<Arc<dyn ObjectStore>, Failure>;
    /// What the client calls the object.
    fn path(&self, object: &Object) -> Result<Path, Failure>;
    /// Where the client's work is done.
    fn runtime(&self) -> Handle;
}

/// Everything that fetching from one store shares.
pub(crate) struct Engine {
    access: Arc<dyn Access>,
    memory: Arc<Memory>,
    #[cfg(test)]
    connections: usize,
    /// Connections that may be open at the same time.
    slots: Arc<Semaphore>,
    /// How many wait for one.
    waiting: AtomicUsize,
    pool: Arc<Pool>,
    objects: Mutex<HashMap<Arc<Object>, Weak<Shared>>>,
    latency: Latency,
    hedge: bool,
    counters: Counters,
}

/// What was asked of a store so far.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) requests: AtomicU64,
    pub(crate) hedged: AtomicU64,
}

/// An answer whose head was right. Holds one of the store's connections.
pub(crate) struct Opened {
    body: Body,
    _slot: OwnedSemaphorePermit,
}

enum Body {
    Direct(DirectBody),
    Through(ThroughBody),
}

/// Times from a request to the first byte of its answer, smoothed like a round trip (RFC 6298).
#[derive(Default)]
struct Latency {
    mean: AtomicU64,
    deviation: AtomicU64,
}

impl Engine {
    pub(crate) fn new(
        access: Arc<dyn Access>,
        connections: usize,
        memory: usize,
        hedge: bool,
    ) -> Arc<Engine> {
        Arc::new(Engine {
            access,
            memory: Memory::new(memory),
            #[cfg(test)]
            connections,
            slots: Arc::new(Semaphore::new(connections.clamp(1, Semaphore::MAX_PERMITS))),
            waiting: AtomicUsize::new(0),
            pool: Arc::default(),
            objects: Mutex::default(),
            latency: Latency::default(),
            hedge,
            counters: Counters::default(),
        })
    }

    pub(crate) fn memory(&self) -> &Arc<Memory> {
        &self.memory
    }

    #[cfg(test)]
    pub(crate) fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Whether bytes can come from a plain socket.
    pub(crate) fn is_plain(&self) -> bool {
        self.access.is_plain()
    }

    /// How long the store takes to answer, usually.
    pub(crate) fn latency(&self) -> Duration {
        Duration::from_micros(self.latency.mean.load(Relaxed))
    }

    /// What the recipients of `object` share: the same for all who ask while one of them is there.
    pub(crate) fn shared(self: &Arc<Self>, object: &Arc<Object>) -> Arc<Shared> {
        let mut objects = self.objects.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(shared) = objects.get(object).and_then(Weak::upgrade)
            && !shared.has_failed()
        {
            return shared;
        }
        // Those who are gone are swept out when their number may have doubled.
        if objects.len() == objects.capacity() {
            objects.retain(|_, shared| shared.strong_count() > 0);
        }
        let shared = Shared::new(Arc::clone(self), Arc::clone(object));
        objects.insert(Arc::clone(object), Arc::downgrade(&shared));
        drop(objects);
        self.memory.register(Arc::downgrade(&shared) as _);
        shared
    }

    /// Whether no connection is in use.
    #[cfg(test)]
    pub(crate) fn is_idle(&self) -> bool {
        self.slots.available_permits() == self.connections
    }

    /// Runs a segment's work where its connection belongs: here for plain sockets, else on the store's threads.
    pub(crate) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) -> tokio::task::AbortHandle {
        match Handle::try_current() {
            Ok(here) if self.is_plain() => here.spawn(work).abort_handle(),
            _ => self.access.runtime().spawn(work).abort_handle(),
        }
    }

    /// Asks for `range`, and for a second time if the answer is late and `urgent` says that somebody waits for it.
    pub(crate) async fn open(
        &self,
        shared: &Shared,
        range: Range<u64>,
        urgent: impl Fn() -> bool,
    ) -> Result<Opened, Failure> {
        let slot = self.slot().await?;
        let began = Instant::now();
        let first = self.ask(shared, range.clone());
        let body = match self.hedge_after() {
            None => first.await,
            Some(patience) => {
                let mut first = std::pin::pin!(first);
                match tokio::time::timeout(patience, &mut first).await {
                    Ok(answer) => answer,
                    Err(_) => match self.second_slot(&urgent) {
                        None => first.await,
                        Some(_slot) => {
                            let second = std::pin::pin!(self.ask(shared, range));
                            first_good(first, second).await
                        }
                    },
                }
            }
        }?;
        self.latency.saw(began.elapsed());
        Ok(Opened { body, _slot: slot })
    }

    /// Whether somebody waits for a connection: no time to hold one longer than the store needs.
    pub(crate) fn is_busy(&self) -> bool {
        self.waiting.load(Relaxed) > 0
    }

    async fn slot(&self) -> Result<OwnedSemaphorePermit, Failure> {
        if let Ok(slot) = Arc::clone(&self.slots).try_acquire_owned() {
            return Ok(slot);
        }
        self.waiting.fetch_add(1, Relaxed);
        let _waiting = Waiting(&self.waiting);
        // The semaphore is never closed.
        let slot = Arc::clone(&self.slots).acquire_owned().await;
        slot.map_err(|_| Failure::Lasting("the store was closed".to_owned()))
    }

    /// How long to wait before a second request: longer than nearly all answers took.
    fn hedge_after(&self) -> Option<Duration> {
        let (mean, deviation) = (self.latency.mean.load(Relaxed), self.latency.deviation.load(Relaxed));
        let known = self.hedge && mean > 0;
        known.then(|| Duration::from_micros(mean + 4 * deviation).max(EARLIEST_HEDGE))
    }

    /// A connection for a second request, if there is one to spare and not too many were sent already.
    fn second_slot(&self, urgent: &impl Fn() -> bool) -> Option<OwnedSemaphorePermit> {
        let sent = self.counters.hedged.load(Relaxed);
        if !urgent() || (sent + 1) * HEDGES > self.counters.requests.load(Relaxed) {
            return None;
        }
        let slot = Arc::clone(&self.slots).try_acquire_owned().ok()?;
        self.counters.hedged.fetch_add(1, Relaxed);
        Some(slot)
    }

    /// One request.
    async fn ask(&self, shared: &Shared, range: Range<u64>) -> Result<Body, Failure> {
        self.counters.requests.fetch_add(1, Relaxed);
        let object = shared.object();
        if let Some(url) = self.url(shared).await? {
            let answer = direct::open(&self.pool, &url, object, range).await;
            if matches!(answer, Err(Failure::Denied(_))) {
                // Signed with credentials that have ended, perhaps.
                shared.set_url(None);
            }
            return answer.map(Body::Direct);
        }
        let (client, path) = (self.access.client()?, self.access.path(object)?);
        through::open(&client, &path, object, range).await.map(Body::Through)
    }

    async fn url(&self, shared: &Shared) -> Result<Option<PlainUrl>, Failure> {
        if !self.access.is_plain() {
            return Ok(None);
        }
        let soon = Instant::now() + SIGNED_FOR;
        if let Some(url) = shared.url().filter(|url| url.until.is_none_or(|until| until > soon)) {
            return Ok(Some(url));
        }
        let url = self.access.plain_url(shared.object()).await?;
        shared.set_url(url.clone());
        Ok(url)
    }
}

/// Counts one who waits.
struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

/// The answer that is there first; the other one's if that is a failure.
async fn first_good<T>(
    mut first: Pin<&mut impl Future<Output = Result<T, Failure>>>,
    mut second: Pin<&mut impl Future<Output = Result<T, Failure>>>,
) -> Result<T, Failure> {
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

impl Latency {
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

impl Opened {
    /// Bytes that are still to come.
    pub(crate) fn left(&self) -> u64 {
        match &self.body {
            Body::Direct(body) => body.left(),
            Body::Through(body) => body.left(),
        }
    }

    /// Reads what is there; `WouldBlock` if there is nothing, 0 at the end of the stream.
    pub(crate) fn try_read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match &mut self.body {
            Body::Direct(body) => body.try_read(into),
            Body::Through(body) => body.try_read(into),
        }
    }

    /// Waits for more.
    pub(crate) async fn readable(&mut self) -> io::Result<()> {
        match &mut self.body {
            Body::Direct(body) => body.readable().await,
            Body::Through(body) => body.readable().await,
        }
    }

    /// The body on a plain socket.
    pub(crate) fn direct(&mut self) -> Option<&mut DirectBody> {
        match &mut self.body {
            Body::Direct(body) => Some(body),
            Body::Through(_) => None,
        }
    }

    pub(crate) fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &self.body {
            Body::Direct(body) => body.poll_readable(cx),
            Body::Through(_) => Poll::Ready(Ok(())),
        }
    }

    /// The body has been taken whole: its connection can be used again.
    pub(crate) fn finish(mut self) {
        if let Body::Direct(body) = &mut self.body {
            body.finish();
        }
    }
}
