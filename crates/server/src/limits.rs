//! Limits that several kinds of requests share: memory for large pages and forms, folders that are
//! walked.

use std::sync::Arc;

use outflow_texts::text;
use outflow_web::Problem;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::metrics::DownloadMetrics;

/// Maximum memory of all large forms and pages together, in bytes. One that is larger takes all of
/// it.
///
/// Bound: pages and forms.
const MAX_MEMORY: usize = 64 << 20;
/// Maximum size of a form or page that does not count against the budget, in bytes: each connection
/// may have one.
///
/// Bound: pages and forms.
pub(crate) const FREE_SIZE: usize = 16 << 10;
/// Maximum number of folders that are walked or listed at the same time.
///
/// Bound: pages and forms.
const MAX_WALKS: usize = 4;

/// The memory that large forms and pages share, however slowly their clients read or send. Clones
/// share it.
#[derive(Clone)]
pub(crate) struct MemoryBudget {
    budget: Arc<Semaphore>,
    metrics: Arc<DownloadMetrics>,
}

impl MemoryBudget {
    pub(crate) fn new(metrics: Arc<DownloadMetrics>) -> MemoryBudget {
        MemoryBudget { budget: Arc::new(Semaphore::new(MAX_MEMORY >> 10)), metrics }
    }

    /// Takes `bytes` from the budget without waiting. `None` if so few bytes need no permit.
    pub(crate) fn take(&self, bytes: usize) -> Result<Option<OwnedSemaphorePermit>, Problem> {
        if bytes <= FREE_SIZE {
            return Ok(None);
        }
        // At most 2^16 KiB.
        let share = (bytes.min(MAX_MEMORY) >> 10) as u32;
        match Arc::clone(&self.budget).try_acquire_many_owned(share) {
            Ok(permit) => Ok(Some(permit)),
            Err(_) => {
                self.metrics.pages_refused.inc();
                Err(Problem::busy(text!(server_busy_memory)))
            }
        }
    }
}

/// Permits to walk or list a folder, which takes much more memory than its result. Clones share
/// them.
#[derive(Clone)]
pub(crate) struct WalkPermits {
    permits: Arc<Semaphore>,
    metrics: Arc<DownloadMetrics>,
}

impl WalkPermits {
    pub(crate) fn new(metrics: Arc<DownloadMetrics>) -> WalkPermits {
        WalkPermits { permits: Arc::new(Semaphore::new(MAX_WALKS)), metrics }
    }

    /// Waits for a permit.
    pub(crate) async fn acquire(&self) -> Result<OwnedSemaphorePermit, Problem> {
        let _waiting = self.metrics.walks_waiting.hold();
        // The semaphore is never closed.
        Arc::clone(&self.permits).acquire_owned().await.map_err(|_| Problem::task_lost())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_ones_share_and_small_ones_do_not_count() {
        let budget = MemoryBudget::new(Arc::default());
        let huge = budget.take(MAX_MEMORY * 10).unwrap();
        assert!(budget.take(FREE_SIZE + 1024).is_err());
        assert!(budget.take(FREE_SIZE).unwrap().is_none());
        drop(huge);
        let eight: Vec<_> = (0..8).map(|_| budget.take(MAX_MEMORY / 8).unwrap()).collect();
        assert!(budget.take(MAX_MEMORY / 8).is_err());
        drop(eight);
        assert!(budget.take(MAX_MEMORY).is_ok());
    }
}
