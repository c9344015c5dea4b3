//! Transfers that end: whoever published one is told when it is not served any more (`transfer.expired`).
//!
//! A server knows of a transfer once somebody has asked for it. From then on it waits for its end; of one that ended before,
//! it tells at the next request. The ledger tells everybody but once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use outflow_content::UnixTime;
use outflow_ledger::Ledger;
use tokio::task::AbortHandle;

/// Transfers that are waited for. Of further ones it is told when they are asked for after their end.
const MOST: usize = 10_000;
/// The clock is looked at again after so long, in case that it was set.
const LONGEST: Duration = Duration::from_secs(3_600);

/// The ends of transfers.
pub(crate) struct Expiries {
    ledger: Option<Ledger>,
    /// When they end, in nanoseconds since 1970, and who waits for it.
    awaited: Arc<Mutex<HashMap<String, (i64, AbortHandle)>>>,
}

impl Expiries {
    pub(crate) fn new(ledger: Option<Ledger>) -> Expiries {
        Expiries { ledger, awaited: Arc::default() }
    }

    /// The transfer `id` ends at `expires`, in nanoseconds since 1970. Called on a runtime.
    pub(crate) fn note(&self, id: &str, expires: i64) {
        let Some(ledger) = &self.ledger else { return };
        let mut awaited = self.awaited.lock().unwrap_or_else(PoisonError::into_inner);
        if awaited.get(id).is_some_and(|(when, _)| *when == expires) {
            return;
        }
        if awaited.len() >= MOST {
            awaited.retain(|_, (_, task)| !task.is_finished());
        }
        if awaited.len() >= MOST && !awaited.contains_key(id) {
            return;
        }
        let (ledger, transfer, all) = (ledger.clone(), id.to_owned(), Arc::clone(&self.awaited));
        let task = tokio::spawn(async move {
            loop {
                let left = expires.saturating_sub(UnixTime::now().nanos());
                let Ok(left @ 1..) = u64::try_from(left) else { break };
                tokio::time::sleep(Duration::from_nanos(left).min(LONGEST)).await;
            }
            match ledger.transfer_expired(&transfer).await {
                Ok(()) => tracing::info!(transfer, "a transfer has expired"),
                Err(error) => {
                    tracing::warn!(transfer, %error, "the end of a transfer could not be noted; the next request for it tries again");
                    all.lock().unwrap_or_else(PoisonError::into_inner).remove(&transfer);
                }
            }
        });
        if let Some((_, before)) = awaited.insert(id.to_owned(), (expires, task.abort_handle())) {
            before.abort();
        }
    }
}
