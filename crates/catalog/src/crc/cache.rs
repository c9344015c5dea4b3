//! The CRC-32s of files, by fingerprint.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use outflow_content::SpanError;
use outflow_metrics::MetricRegistry;
use parking_lot::Mutex;
use tokio::sync::{Semaphore, watch};

use crate::crc::memo::Memo;
use crate::crc::metrics::{CrcMetrics, CrcReason};
use crate::fingerprint::Fingerprint;
use crate::tree::{OpenerFuture, Tree};

/// Remembers the CRC-32 of files in a [`Memo`], and computes it where it is missing.
#[derive(Debug)]
pub struct CrcCache {
    memo: Memo,
    running: Mutex<HashMap<Fingerprint, watch::Sender<Computation>>>,
    /// Permits for reading files only to compute their CRC-32.
    ///
    /// Bound: archives. one for each processor, at most 4
    readers: Arc<Semaphore>,
    metrics: Arc<CrcMetrics>,
}

#[derive(Clone, Copy, Debug)]
enum Computation {
    Running,
    Done(u32),
    Failed,
}

impl CrcCache {
    /// A cache that stores CRC-32s in `memo`, and counts in `registry` those that are computed.
    #[must_use]
    pub fn new(memo: Memo, registry: &MetricRegistry) -> CrcCache {
        let readers = std::thread::available_parallelism().map_or(1, usize::from).min(4);
        CrcCache {
            memo,
            running: Mutex::default(),
            readers: Arc::new(Semaphore::new(readers)),
            metrics: registry.set(),
        }
    }

    /// Maximum number of files.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.memo.capacity()
    }

    /// The CRC-32 of a file, if known.
    #[must_use]
    pub fn get(&self, key: Fingerprint) -> Option<u32> {
        self.memo.get(key)
    }

    /// Counts a CRC-32 that was computed.
    pub(super) fn computed(&self, reason: CrcReason) {
        self.metrics.computed.of(reason).inc();
    }

    /// Remembers the CRC-32 of a file.
    pub fn insert(&self, key: Fingerprint, crc: u32) {
        self.memo.insert(key, crc);
    }

    /// A number that grows with each CRC-32 that is added or changed.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.memo.version()
    }

    /// The CRC-32 of the file `key`: remembered, or computed by `computing`. Callers of the same
    /// file share one computation; it ends when none of them waits any more.
    ///
    /// # Errors
    /// [`SpanError`] when the file cannot be read, or was changed meanwhile.
    pub async fn compute(
        self: Arc<Self>,
        key: Fingerprint,
        computing: OpenerFuture,
    ) -> Result<u32, SpanError> {
        loop {
            if let Some(crc) = self.get(key) {
                return Ok(crc);
            }
            let (leader, mut waiting) = self.join(key);
            if let Some(leader) = leader {
                let answer = leader.compute(computing).await;
                // Until here this receiver counts as one that waits.
                drop(waiting);
                return answer;
            }
            // Closed without a result, or failed: the next caller computes by itself, and has an
            // error of its own if there is one.
            let ended = waiting.wait_for(|state| !matches!(state, Computation::Running)).await;
            if let Ok(state) = ended
                && let Computation::Done(crc) = *state
            {
                return Ok(crc);
            }
        }
    }

    /// Joins the computation that runs for `key` already, or leads a new one.
    fn join(self: &Arc<Self>, key: Fingerprint) -> (Option<Leader>, watch::Receiver<Computation>) {
        let mut running = self.running.lock();
        if let Some(computation) = running.get(&key) {
            return (None, computation.subscribe());
        }
        let (sender, receiver) = watch::channel(Computation::Running);
        running.insert(key, sender.clone());
        (Some(Leader { cache: Arc::clone(self), key, sender }), receiver)
    }
}

/// The caller that computes. Dropping it without a result lets the next caller try.
struct Leader {
    cache: Arc<CrcCache>,
    key: Fingerprint,
    sender: watch::Sender<Computation>,
}

impl Leader {
    async fn compute(self, computing: OpenerFuture) -> Result<u32, SpanError> {
        let permit = match Arc::clone(&self.cache.readers).acquire_owned().await {
            Ok(permit) => permit,
            Err(closed) => return Err(failed(closed)),
        };
        // In a task of its own: the first caller may go away while others wait.
        let task = tokio::spawn(async move {
            let _permit = permit;
            let computed = tokio::select! {
                computed = computing => computed?,
                () = self.sender.closed() => {
                    return Err(failed(io::Error::new(io::ErrorKind::Interrupted, "reading was given up")));
                }
            };
            self.cache.computed(CrcReason::Request);
            self.cache.insert(computed.fingerprint, computed.crc32);
            self.cache.insert(self.key, computed.crc32);
            self.sender.send_replace(Computation::Done(computed.crc32));
            Ok(computed.crc32)
        });
        task.await.map_err(failed)?
    }
}

fn failed(source: impl std::error::Error + Send + Sync + 'static) -> SpanError {
    SpanError::Other { name: "a file".to_owned(), source: Box::new(source) }
}

impl Drop for Leader {
    fn drop(&mut self) {
        self.cache.running.lock().remove(&self.key);
        self.sender.send_if_modified(|state| {
            let failed = matches!(state, Computation::Running);
            if failed {
                *state = Computation::Failed;
            }
            failed
        });
    }
}

impl Tree {
    /// The CRC-32 of a file, if it came with it or `cache` knows it. Does not wait.
    ///
    /// # Panics
    /// If this tree has no such entry.
    #[must_use]
    pub fn crc32(&self, index: usize, cache: &CrcCache) -> Option<u32> {
        self.opener().crc32(self.file(index)).or_else(|| cache.get(self.fingerprint(index)))
    }

    /// The CRC-32 of a file: known, or computed by reading it.
    ///
    /// # Panics
    /// If this tree has no such entry.
    ///
    /// # Errors
    /// [`SpanError`] when it cannot be read, or was changed meanwhile.
    pub fn compute_crc32(
        &self,
        index: usize,
        cache: &Arc<CrcCache>,
    ) -> impl Future<Output = Result<u32, SpanError>> + Send + 'static {
        let known = self.crc32(index, cache);
        let (cache, key) = (Arc::clone(cache), self.fingerprint(index));
        let computing = self.opener().compute_crc32(self.file(index));
        async move {
            match known {
                Some(crc) => Ok(crc),
                None => cache.compute(key, computing).await,
            }
        }
    }
}
