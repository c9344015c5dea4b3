//! What the handle, the server and its responses share.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use parking_lot::Mutex;

use crate::s3::plan::{FaultPlayer, Op};
use crate::s3::stats::Stats;
use crate::s3::store::Buckets;

/// Shared by the handle, the server and its responses.
pub(crate) struct DoubleState {
    pub(crate) store: Arc<Mutex<Buckets>>,
    pub(crate) play: Mutex<FaultPlayer>,
    pub(crate) stats: Mutex<Stats>,
    /// Minimum delay of each response, in milliseconds.
    pub(crate) latency: AtomicU64,
    /// Bytes per second of a response; 0 for no limit.
    pub(crate) bandwidth: AtomicU64,
    pub(crate) anonymous: bool,
    /// The one access key, and its secret.
    pub(crate) credentials: (&'static str, &'static str),
}

/// Counts a connection as long as it is open.
pub(crate) struct OpenConnection(Arc<DoubleState>);

impl OpenConnection {
    pub(crate) fn new(shared: Arc<DoubleState>) -> OpenConnection {
        shared.stats.lock().opened();
        OpenConnection(shared)
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.stats.lock().connections -= 1;
    }
}

/// Counts a request until its response has ended.
pub(crate) struct ActiveRequest {
    shared: Arc<DoubleState>,
    /// The object that is read.
    key: Option<String>,
}

impl ActiveRequest {
    pub(crate) fn new(shared: Arc<DoubleState>, op: Op, key: &str) -> ActiveRequest {
        shared.stats.lock().asked(op, key);
        ActiveRequest { shared, key: (op == Op::GetObject).then(|| key.to_owned()) }
    }

    /// The body is an error's, not the object's bytes.
    pub(crate) fn forget_key(&mut self) {
        self.key = None;
    }

    pub(crate) fn sent(&self, bytes: u64) {
        if let Some(key) = &self.key {
            self.shared.stats.lock().sent(key, bytes);
        }
    }
}

impl Drop for ActiveRequest {
    fn drop(&mut self) {
        self.shared.stats.lock().active -= 1;
    }
}
