//! The expiry of transfers, which becomes the event `transfer.expired`.
//!
//! A server knows of a transfer after the first request for it. From then on a task waits for its
//! expiry; if it has expired already, the next request emits the event. The ledger emits it only
//! once.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use outflow_content::UnixTime;
use outflow_ledger::Ledger;
use parking_lot::Mutex;
use tokio::task::AbortHandle;

/// Maximum number of transfers whose expiry is awaited. The event of others comes with the first
/// request after it.
///
/// Bound: transfers.
const MAX_AWAITED: usize = 10_000;
/// How long a task sleeps before it checks the clock again, which may have been set.
const CLOCK_CHECK: Duration = Duration::from_secs(3_600);

/// Waits for transfers to expire.
pub(super) struct Expiries {
    ledger: Option<Ledger>,
    /// When each expires, in nanoseconds since 1970, and the task that waits.
    awaited: Arc<Mutex<HashMap<String, (i64, AbortHandle)>>>,
}

impl Expiries {
    pub(super) fn new(ledger: Option<Ledger>) -> Expiries {
        Expiries { ledger, awaited: Arc::default() }
    }

    /// Waits until the transfer `id` expires at `expires`, in nanoseconds since 1970. Called on a
    /// runtime.
    pub(super) fn watch(&self, id: &str, expires: i64) {
        let Some(ledger) = &self.ledger else { return };
        let mut awaited = self.awaited.lock();
        if awaited.get(id).is_some_and(|(when, _)| *when == expires) {
            return;
        }
        if awaited.len() >= MAX_AWAITED {
            awaited.retain(|_, (_, task)| !task.is_finished());
        }
        if awaited.len() >= MAX_AWAITED && !awaited.contains_key(id) {
            return;
        }
        let (ledger, transfer, all) = (ledger.clone(), id.to_owned(), Arc::clone(&self.awaited));
        let task = tokio::spawn(async move {
            loop {
                let left = expires.saturating_sub(UnixTime::now().nanos());
                let Ok(left @ 1..) = u64::try_from(left) else { break };
                tokio::time::sleep(Duration::from_nanos(left).min(CLOCK_CHECK)).await;
            }
            match ledger.transfer_expired(&transfer).await {
                Ok(()) => tracing::info!(transfer, "a transfer has expired"),
                Err(error) => {
                    tracing::warn!(transfer, %error, "cannot record that a transfer has expired; the next request for it retries");
                    all.lock().remove(&transfer);
                }
            }
        });
        if let Some((_, before)) = awaited.insert(id.to_owned(), (expires, task.abort_handle())) {
            before.abort();
        }
    }
}
