//! What one connection takes from the server's limits, given back when it ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::OwnedSemaphorePermit;

use crate::counters::ServerCounters;

/// Counts one connection against `ServerOptions::max_connections` until it is dropped. It goes
/// along with the connection when a service takes that over.
#[must_use = "the connection stops counting when this is dropped"]
pub struct ConnectionPermit {
    _permit: OwnedSemaphorePermit,
    _load: Option<ThreadLoad>,
    counters: Arc<ServerCounters>,
}

impl ConnectionPermit {
    /// `load` is the connection's share of its thread's load, if there are several threads.
    pub(crate) fn new(
        permit: OwnedSemaphorePermit,
        load: Option<ThreadLoad>,
        counters: &Arc<ServerCounters>,
    ) -> ConnectionPermit {
        counters.open.inc();
        ConnectionPermit { _permit: permit, _load: load, counters: Arc::clone(counters) }
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        self.counters.open.dec();
    }
}

/// Counts one connection in its thread.
pub(crate) struct ThreadLoad(Arc<AtomicUsize>);

impl ThreadLoad {
    pub(crate) fn new(count: &Arc<AtomicUsize>) -> ThreadLoad {
        count.fetch_add(1, Ordering::Relaxed);
        ThreadLoad(Arc::clone(count))
    }
}

impl Drop for ThreadLoad {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
