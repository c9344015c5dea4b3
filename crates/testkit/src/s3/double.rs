//! The handle of a running server.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener as StdListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::peers::S3Access;
use crate::s3::body::ObjectBody;
use crate::s3::object::StoredObject;
use crate::s3::plan::{FaultPlan, FaultPlayer, FaultRule, SeededFaults};
use crate::s3::serve;
use crate::s3::state::DoubleState;
use crate::s3::stats::Stats;
use crate::s3::store::Buckets;

/// The minimum size of a part that is not the last.
const LEAST_PART: u64 = 5 << 20;

/// Configures a [`Double`].
#[derive(Clone, Debug)]
pub struct DoubleBuilder {
    listen: SocketAddr,
    anonymous: bool,
    versioned: bool,
    least_part: u64,
    threads: usize,
}

/// A running server, ended when this is dropped.
pub struct Double {
    addr: SocketAddr,
    shared: Arc<DoubleState>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Default for DoubleBuilder {
    fn default() -> DoubleBuilder {
        DoubleBuilder {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            anonymous: false,
            versioned: false,
            least_part: LEAST_PART,
            threads: 1,
        }
    }
}

impl DoubleBuilder {
    /// Listens on this address instead of a port of 127.0.0.1 that the kernel chooses.
    #[must_use]
    pub fn listen(self, listen: SocketAddr) -> DoubleBuilder {
        DoubleBuilder { listen, ..self }
    }

    /// Serves unsigned requests as well: a plain HTTP origin at `/<bucket>/<key>`. Invalid
    /// signatures are still rejected.
    #[must_use]
    pub fn anonymous(self) -> DoubleBuilder {
        DoubleBuilder { anonymous: true, ..self }
    }

    /// Keeps overwritten versions.
    #[must_use]
    pub fn versioned(self) -> DoubleBuilder {
        DoubleBuilder { versioned: true, ..self }
    }

    /// Allows parts of `bytes`, smaller than 5 MiB.
    #[must_use]
    pub fn least_part(self, bytes: u64) -> DoubleBuilder {
        DoubleBuilder { least_part: bytes, ..self }
    }

    /// Serves on more than one thread.
    #[must_use]
    pub fn threads(self, threads: usize) -> DoubleBuilder {
        DoubleBuilder { threads, ..self }
    }

    /// Starts the server, with one empty bucket ([`Double::BUCKET`]).
    ///
    /// # Errors
    /// Those of the address and of starting threads.
    pub fn start(self) -> io::Result<Double> {
        let listener = StdListener::bind(self.listen)?;
        listener.set_nonblocking(true)?;
        let addr = listener.local_addr()?;
        let mut store = Buckets::default();
        (store.versioned, store.least_part) = (self.versioned, self.least_part);
        store.create(Double::BUCKET);
        let shared = Arc::new(DoubleState {
            store: Arc::new(Mutex::new(store)),
            play: Mutex::default(),
            stats: Mutex::default(),
            latency: AtomicU64::new(0),
            bandwidth: AtomicU64::new(0),
            anonymous: self.anonymous,
            credentials: (Double::ACCESS_KEY, Double::SECRET_KEY),
        });
        // A runtime of its own serves tests with and without one.
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
            // Do not wait for connections that stall for ever.
            runtime.shutdown_background();
        })?;
        Ok(Double { addr, shared, stop: Some(stop), thread: Some(thread) })
    }
}

impl Double {
    /// The access key id that requests must be signed with.
    pub const ACCESS_KEY: &str = "AKIDOUTFLOWDOUBLE";
    /// The secret of [`Double::ACCESS_KEY`].
    pub const SECRET_KEY: &str = "outflow/double/secret/key/for/tests/only";
    /// The bucket of the methods that name none.
    pub const BUCKET: &str = crate::peers::BUCKET;
    /// Any region will do; this one is in [`Double::access`].
    pub const REGION: &str = "us-east-1";

    /// Starts one on a port of 127.0.0.1 that the kernel chooses.
    ///
    /// # Errors
    /// Those of [`DoubleBuilder::start`].
    pub fn start() -> io::Result<Double> {
        DoubleBuilder::default().start()
    }

    /// Configures one before it starts.
    #[must_use]
    pub fn builder() -> DoubleBuilder {
        DoubleBuilder::default()
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

    /// Where it is, and its key, for S3 clients.
    #[must_use]
    pub fn access(&self) -> S3Access {
        S3Access {
            endpoint: self.endpoint(),
            key: Double::ACCESS_KEY.to_owned(),
            secret: Double::SECRET_KEY.to_owned(),
            region: Double::REGION.to_owned(),
        }
    }

    /// Puts an object, and returns its ETag without quotes.
    pub fn put(&self, key: &str, object: impl Into<StoredObject>) -> String {
        self.put_in(Double::BUCKET, key, object)
    }

    /// Puts an object into a bucket, which is made if it is not there.
    pub fn put_in(&self, bucket: &str, key: &str, object: impl Into<StoredObject>) -> String {
        self.shared.store.lock().put(bucket, key, object.into()).etag.clone()
    }

    /// All bytes of an object.
    #[must_use]
    pub fn bytes(&self, key: &str) -> Option<Bytes> {
        let object = self.shared.store.lock().get(Double::BUCKET, key, None)?;
        object.body.read(0, object.body.len() as usize).ok()
    }

    /// An object's ETag without quotes.
    #[must_use]
    pub fn etag(&self, key: &str) -> Option<String> {
        Some(self.shared.store.lock().get(Double::BUCKET, key, None)?.etag.clone())
    }

    /// The keys that begin with `prefix`.
    #[must_use]
    pub fn keys(&self, prefix: &str) -> Vec<String> {
        let page = self.shared.store.lock().list(Double::BUCKET, prefix, "", "", usize::MAX);
        page.objects.into_iter().map(|(key, _)| key).collect()
    }

    /// Deletes an object; returns whether it existed.
    pub fn delete(&self, key: &str) -> bool {
        self.shared.store.lock().delete(Double::BUCKET, key)
    }

    /// Replaces an object's bytes by others of the same size, and returns the new ETag.
    pub fn replace(&self, key: &str) -> Option<String> {
        Some(self.shared.store.lock().replace(Double::BUCKET, key)?.etag.clone())
    }

    /// Uploads that are neither completed nor aborted.
    #[must_use]
    pub fn open_uploads(&self) -> usize {
        self.shared.store.lock().uploads.len()
    }

    /// Sets the faults from now on, and resets their counts.
    pub fn set_plan(&self, plan: FaultPlan) {
        *self.shared.play.lock() = FaultPlayer::of(plan);
    }

    /// The current faults.
    #[must_use]
    pub fn plan(&self) -> FaultPlan {
        self.shared.play.lock().plan()
    }

    /// Plays only these rules from now on.
    pub fn play(&self, rules: impl IntoIterator<Item = FaultRule>) {
        self.set_plan(FaultPlan { rules: rules.into_iter().collect(), seeded: None });
    }

    /// Plays a random fault with probability `rate` for each GET, the same ones for the same seed.
    pub fn seeded(&self, rate: f64, seed: u64) {
        self.set_plan(FaultPlan { rules: Vec::new(), seeded: Some(SeededFaults::new(rate, seed)) });
    }

    /// Plays no more faults.
    pub fn calm(&self) {
        self.set_plan(FaultPlan::default());
    }

    /// Sets the minimum delay of each response.
    pub fn set_latency(&self, latency: Duration) {
        self.shared.latency.store(latency.as_millis() as u64, Ordering::Relaxed);
    }

    /// Sets the bytes per second of a response; 0 for no limit. Does not affect responses under
    /// way.
    pub fn set_bandwidth(&self, bytes: u64) {
        self.shared.bandwidth.store(bytes, Ordering::Relaxed);
    }

    /// The counters so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.shared.stats.lock().clone()
    }

    /// Resets the counters.
    pub fn reset_stats(&self) {
        self.shared.stats.lock().reset();
    }
}

impl<T: Into<ObjectBody>> From<T> for StoredObject {
    fn from(body: T) -> StoredObject {
        StoredObject::new(body)
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
