//! How links are used, cached for [`LINK_CACHE_AGE`].

use std::collections::HashMap;
use std::time::Instant;

use parking_lot::Mutex;

use crate::model::{LINK_CACHE_AGE, LinkState};
use crate::write::batch::CommittedBatch;
use crate::write::queue::DeliveryChange;
use crate::write::writer::CommitObserver;

/// Maximum number of links in the cache.
///
/// Bound: ledger.
const MAX_CACHED_LINKS: usize = 10_000;

/// States of links.
#[derive(Default)]
pub(crate) struct LinkCache(Mutex<CachedLinks>);

#[derive(Default)]
struct CachedLinks {
    /// When each was read, and what was read.
    links: HashMap<String, (Instant, LinkState)>,
    /// Grows with every change by this process. A query that began before a change may be outdated.
    version: u64,
}

impl LinkCache {
    pub(crate) fn get(&self, id: &str) -> Option<LinkState> {
        let cached = self.0.lock();
        let (at, state) = cached.links.get(id)?;
        (at.elapsed() <= LINK_CACHE_AGE).then(|| state.clone())
    }

    /// To be called before a query, for [`LinkCache::put`].
    pub(crate) fn version(&self) -> u64 {
        self.0.lock().version
    }

    /// Caches the result of a query that began at `version` and `at`.
    pub(crate) fn put(&self, id: &str, state: LinkState, version: u64, at: Instant) {
        let mut cached = self.0.lock();
        if cached.version != version {
            return;
        }
        if cached.links.len() >= MAX_CACHED_LINKS {
            cached.links.retain(|_, (at, _)| at.elapsed() <= LINK_CACHE_AGE);
            if cached.links.len() >= MAX_CACHED_LINKS {
                cached.links.clear();
            }
        }
        cached.links.insert(id.to_owned(), (at, state));
    }

    /// Drops a link that this process has revoked.
    pub(crate) fn invalidate(&self, id: &str) {
        let mut cached = self.0.lock();
        cached.version += 1;
        cached.links.remove(id);
    }
}

impl CommitObserver for LinkCache {
    fn committed(&self, _: &[DeliveryChange], batch: &CommittedBatch) {
        if batch.links.is_empty() {
            return;
        }
        let mut cached = self.0.lock();
        cached.version += 1;
        for (id, receipts) in &batch.links {
            if let Some((_, state)) = cached.links.get_mut(id) {
                state.receipts = *receipts;
            }
        }
    }
}
