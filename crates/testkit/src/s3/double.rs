//! The server and its handle.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener as StdListener};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;

use crate::s3::body::Body;
use crate::s3::plan::{Op, Plan, Play, Rule, Seeded};
use crate::s3::serve;
use crate::s3::stats::Stats;
use crate::s3::store::{Object, Store};

/// The least that S3 lets a part have that is not the last.
const LEAST_PART: u64 = 5 << 20;

/// How a double is to be.
#[derive(Clone, Debug)]
pub struct Builder {
    listen: SocketAddr,
    anonymous: bool,
    versioned: bool,
    least_part: u64,
    threads: usize,
}

/// A running server, ended when this is dropped.
pub struct Double {
    addr: SocketAddr,
    shared: Arc<Shared>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// What the handle, the server and its responses have in common.
pub(crate) struct Shared {
    pub(crate) store: Arc<Mutex<Store>>,
    pub(crate) play: Mutex<Play>,
    pub(crate) stats: Mutex<Stats>,
    /// What each request waits at least, in milliseconds.
    pub(crate) latency: AtomicU64,
    /// Bytes each second for a response; 0 for no limit.
    pub(crate) bandwidth: AtomicU64,
    pub(crate) anonymous: bool,
}

/// Whoever panics with a lock has failed a test already.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Default for Builder {
    fn default() -> Builder {
        Builder {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            anonymous: false,
            versioned: false,
            least_part: LEAST_PART,
            threads: 1,
        }
    }
}

impl Builder {
    /// Listens on this address instead of a port of 127.0.0.1 that the kernel chooses.
    #[must_use]
    pub fn listen(self, listen: SocketAddr) -> Builder {
        Builder { listen, ..self }
    }

    /// Answers requests without a signature as well: a plain HTTP origin at `/<bucket>/<key>`. Wrong signatures
    /// are refused all the same.
    #[must_use]
    pub fn anonymous(self) -> Builder {
        Builder { anonymous: true, ..self }
    }

    /// Keeps the versions that are overwritten.
    #[must_use]
    pub fn versioned(self) -> Builder {
        Builder { versioned: true, ..self }
    }

    /// Lets parts be smaller than 5 MiB.
    #[must_use]
    pub fn least_part(self, bytes: u64) -> Builder {
        Builder { least_part: bytes, ..self }
    }

    /// Serves on more than one thread.
    #[must_use]
    pub fn threads(self, threads: usize) -> Builder {
        Builder { threads, ..self }
    }

    /// Starts the server, with one empty bucket ([`Double::BUCKET`]).
    ///
    /// # Errors
    /// Those of the address and of starting threads.
    pub fn start(self) -> io::Result<Double> {
        let listener = StdListener::bind(self.listen)?;
        listener.set_nonblocking(true)?;
        let addr = listener.local_addr()?;
        let mut store = Store::default();
        (store.versioned, store.least_part) = (self.versioned, self.least_part);
        store.create(Double::BUCKET);
        let shared = Arc::new(Shared {
            store: Arc::new(Mutex::new(store)),
            play: Mutex::default(),
            stats: Mutex::default(),
            latency: AtomicU64::new(0),
            bandwidth: AtomicU64::new(0),
            anonymous: self.anonymous,
        });
        // A runtime of its own, so that tests with and without one can use it.
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(self.threads.max(1))
            .thread_name("s3-double")
            .enable_all()
            .build()?;
        let (stop, stopped) = oneshot::channel();
        let serving = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("s3-double-main".to_owned()).spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    () = serve::serve(listener, serving) => {}
                    _ = stopped => {}
                }
            });
            // Connections that stall for ever are not waited for.
            runtime.shutdown_background();
        })?;
        Ok(Double { addr, shared, stop: Some(stop), thread: Some(thread) })
    }
}

impl Double {
    /// The access key that requests have to be signed with.
    pub const ACCESS_KEY: &str = "AKIDOUTFLOWDOUBLE";
    /// The secret of [`Double::ACCESS_KEY`].
    pub const SECRET_KEY: &str = "outflow/double/secret/key/for/tests/only";
    /// The bucket that the methods without a bucket's name mean.
    pub const BUCKET: &str = "outflow";
    /// Any region will do; this one is in [`Double::env`].
    pub const REGION: &str = "us-east-1";

    /// Starts one on a port of 127.0.0.1 that the kernel chooses.
    ///
    /// # Errors
    /// Those of [`Builder::start`].
    pub fn start() -> io::Result<Double> {
        Builder::default().start()
    }

    /// To start one that is different.
    #[must_use]
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Its address as `http://127.0.0.1:port`.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// The environment by which S3 clients find it and may use it.
    #[must_use]
    pub fn env(&self) -> [(&'static str, String); 5] {
        [
            ("AWS_ENDPOINT_URL", self.endpoint()),
            ("AWS_ACCESS_KEY_ID", Double::ACCESS_KEY.to_owned()),
            ("AWS_SECRET_ACCESS_KEY", Double::SECRET_KEY.to_owned()),
            ("AWS_REGION", Double::REGION.to_owned()),
            ("AWS_ALLOW_HTTP", "true".to_owned()),
        ]
    }

    /// Puts an object, and returns its ETag without quotes.
    pub fn put(&self, key: &str, object: impl Into<Object>) -> String {
        self.put_in(Double::BUCKET, key, object)
    }

    /// Puts an object into a bucket, which is made if it is not there.
    pub fn put_in(&self, bucket: &str, key: &str, object: impl Into<Object>) -> String {
        lock(&self.shared.store).put(bucket, key, object.into()).etag.clone()
    }

    /// All bytes of an object.
    #[must_use]
    pub fn bytes(&self, key: &str) -> Option<Bytes> {
        let object = lock(&self.shared.store).get(Double::BUCKET, key, None)?;
        object.body.read(0, object.body.len() as usize).ok()
    }

    /// An object's ETag without quotes.
    #[must_use]
    pub fn etag(&self, key: &str) -> Option<String> {
        Some(lock(&self.shared.store).get(Double::BUCKET, key, None)?.etag.clone())
    }

    /// The keys that begin with `prefix`.
    #[must_use]
    pub fn keys(&self, prefix: &str) -> Vec<String> {
        let page = lock(&self.shared.store).list(Double::BUCKET, prefix, "", "", usize::MAX);
        page.objects.into_iter().map(|(key, _)| key).collect()
    }

    /// Deletes an object; whether it was there.
    pub fn delete(&self, key: &str) -> bool {
        lock(&self.shared.store).delete(Double::BUCKET, key)
    }

    /// Puts other bytes of the same size in an object's place, and returns the new ETag.
    pub fn replace(&self, key: &str) -> Option<String> {
        Some(lock(&self.shared.store).replace(Double::BUCKET, key)?.etag.clone())
    }

    /// Uploads that are neither completed nor aborted.
    #[must_use]
    pub fn open_uploads(&self) -> usize {
        lock(&self.shared.store).uploads.len()
    }

    /// What goes wrong from now on. Counts start anew.
    pub fn set_plan(&self, plan: Plan) {
        *lock(&self.shared.play) = Play::of(plan);
    }

    /// What goes wrong now.
    #[must_use]
    pub fn plan(&self) -> Plan {
        lock(&self.shared.play).plan()
    }

    /// Plays these rules from now on, and nothing else.
    pub fn play(&self, rules: impl IntoIterator<Item = Rule>) {
        self.set_plan(Plan { rules: rules.into_iter().collect(), seeded: None });
    }

    /// Plays a random fault with probability `rate` for each GET, the same ones for the same seed.
    pub fn seeded(&self, rate: f64, seed: u64) {
        self.set_plan(Plan { rules: Vec::new(), seeded: Some(Seeded::new(rate, seed)) });
    }

    /// Nothing goes wrong any more.
    pub fn calm(&self) {
        self.set_plan(Plan::default());
    }

    /// What each request waits at least.
    pub fn set_latency(&self, latency: Duration) {
        self.shared.latency.store(latency.as_millis() as u64, Ordering::Relaxed);
    }

    /// Bytes each second for a connection; 0 for no limit. Responses that are under way go on as they began.
    pub fn set_bandwidth(&self, bytes: u64) {
        self.shared.bandwidth.store(bytes, Ordering::Relaxed);
    }

    /// The numbers so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        lock(&self.shared.stats).clone()
    }

    /// Begins to count anew.
    pub fn reset_stats(&self) {
        lock(&self.shared.stats).reset();
    }
}

impl<T: Into<Body>> From<T> for Object {
    fn from(body: T) -> Object {
        Object::new(body)
    }
}

impl Drop for Double {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Counts a connection as long as it is open.
pub(crate) struct Opened(Arc<Shared>);

impl Opened {
    pub(crate) fn new(shared: Arc<Shared>) -> Opened {
        lock(&shared.stats).opened();
        Opened(shared)
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        lock(&self.0.stats).connections -= 1;
    }
}

/// Counts a request until its response has ended.
pub(crate) struct Active {
    shared: Arc<Shared>,
    /// Of the object that is got.
    key: Option<String>,
}

impl Active {
    pub(crate) fn new(shared: Arc<Shared>, op: Op, key: &str) -> Active {
        lock(&shared.stats).asked(op, key);
        Active { shared, key: (op == Op::GetObject).then(|| key.to_owned()) }
    }

    /// The body is an error's: not the object's bytes.
    pub(crate) fn forget_key(&mut self) {
        self.key = None;
    }

    pub(crate) fn sent(&self, bytes: u64) {
        if let Some(key) = &self.key {
            lock(&self.shared.stats).sent(key, bytes);
        }
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        lock(&self.shared.stats).active -= 1;
    }
}
