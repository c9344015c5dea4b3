//! Commits the changes that wait, batch by batch, and retries for as long as it takes.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::batch::{Batch, CommittedBatch};
use super::queue::{ChangeQueue, DeliveryChange, TakenChanges};
use crate::db::connection::Conn;
use crate::db::context::NodeContext;
use crate::db::database::Database;
use crate::db::is_transient;
use crate::db::statement::{Statement, statements};
use crate::model::{DatabaseOutage, LedgerError};

/// The first pause after a failure.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest pause after failures in a row.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// How often a batch that met another transaction is repeated without a pause.
const MAX_CONFLICTS: u32 = 20;
/// Time without a batch after which the writer frees memory.
const IDLE_TIME: Duration = Duration::from_secs(5);
/// Maximum number of contents whose files are known to be written. Beyond it they are written
/// again.
///
/// Bound: ledger.
const MAX_KNOWN_CONTENTS: usize = 10_000;

statements! {
    LAST_BATCH = Statement::new("SELECT batch FROM instances WHERE id = $1");
}

/// The one task that writes the changes of deliveries.
pub(crate) struct LedgerWriter {
    pub(crate) database: Arc<Database>,
    pub(crate) queue: Arc<ChangeQueue>,
    pub(crate) context: Arc<NodeContext>,
    /// Notified of each batch, in their order, once it is committed.
    pub(crate) observers: Vec<Arc<dyn CommitObserver>>,
    pub(crate) health: Arc<DatabaseHealth>,
    /// Notified when there are events to send.
    pub(crate) new_sends: Arc<Notify>,
}

/// A part of the ledger that is notified of committed batches.
pub(crate) trait CommitObserver: Send + Sync {
    /// `changes` were committed, with the result `batch`.
    fn committed(&self, changes: &[DeliveryChange], batch: &CommittedBatch);
}

/// Whether the database can be written.
#[derive(Default)]
pub(crate) struct DatabaseHealth(Mutex<Option<DatabaseOutage>>);

impl DatabaseHealth {
    pub(crate) fn outage(&self) -> Option<DatabaseOutage> {
        self.0.lock().clone()
    }

    /// Records a failure; logs the first of an outage.
    fn failed(&self, reason: String) {
        let mut outage = self.0.lock();
        match &mut *outage {
            Some(outage) => outage.reason = reason,
            None => {
                tracing::error!("receipts wait in memory: {reason}");
                *outage = Some(DatabaseOutage { since: Timestamp::now(), reason });
            }
        }
    }

    /// Records a success; logs the end of an outage.
    fn succeeded(&self) {
        let ended = self.0.lock().take();
        if let Some(outage) = ended {
            let seconds = Timestamp::now().duration_since(outage.since).as_secs();
            tracing::info!("the ledger is written again, after {seconds} s; nothing was lost");
        }
    }
}

impl LedgerWriter {
    /// Runs until the queue is closed and empty.
    pub(crate) async fn run(self) {
        let mut known_contents = HashSet::new();
        let mut number = 0;
        loop {
            let taken = match tokio::time::timeout(IDLE_TIME, self.queue.take()).await {
                Ok(taken) => taken,
                Err(_) => {
                    self.database.shrink_memory().await;
                    self.queue.take().await
                }
            };
            let changes = &taken.changes;
            if changes.is_empty() && taken.counts.is_empty() {
                return;
            }
            number += 1;
            let began = Instant::now();
            let batch = self.commit(&taken, number, &known_contents).await;
            self.count(changes, &batch, began.elapsed());
            for (delivery, rows) in &batch.begun {
                *delivery.rows() = rows.clone();
            }
            for (delivery, acked) in &batch.checkpoints {
                delivery.checkpoint_committed(acked);
            }
            if known_contents.len() + batch.contents.len() > MAX_KNOWN_CONTENTS {
                known_contents.clear();
            }
            known_contents.extend(&batch.contents);
            for observer in &self.observers {
                observer.committed(changes, &batch);
            }
            self.queue.committed(changes);
            if batch.has_sends {
                self.new_sends.notify_one();
            }
        }
    }

    fn count(&self, changes: &[DeliveryChange], batch: &CommittedBatch, took: Duration) {
        let metrics = &self.context.metrics;
        metrics.commits.inc();
        metrics.changes.add(changes.len() as u64);
        metrics.commit_time.add(took);
        for event in &batch.events {
            metrics.events.of(*event).inc();
        }
    }

    /// Commits what was `taken`, however long it takes, and only once.
    async fn commit(
        &self,
        taken: &TakenChanges,
        number: i64,
        known_contents: &HashSet<[u8; 16]>,
    ) -> CommittedBatch {
        let mut pause = FIRST_PAUSE;
        let mut conflicts = 0;
        // The result of an attempt whose commit failed: the database may have committed it all the
        // same.
        let mut unsure: Option<CommittedBatch> = None;
        loop {
            let mut last = None;
            let attempt = async {
                let mut transaction = self.database.begin().await?;
                let work = async {
                    let conn = transaction.conn();
                    if unsure.is_some() && self.last_committed(conn).await? == Some(number) {
                        return Ok(true);
                    }
                    last = Some(Batch::new(&self.context, known_contents, taken).run(conn, number).await?);
                    Ok(false)
                };
                let result = work.await;
                transaction.finish(result).await
            };
            match attempt.await {
                Ok(already_committed) => {
                    self.health.succeeded();
                    let batch = if already_committed { unsure.take() } else { last };
                    return batch.expect("one of the attempts has a result");
                }
                Err(error) => {
                    if last.is_some() {
                        unsure = last;
                    }
                    if is_transient(&error) && conflicts < MAX_CONFLICTS {
                        conflicts += 1;
                        self.context.metrics.conflicts.inc();
                        continue;
                    }
                    let LedgerError::Database(reason) = self.database.address.error(&error);
                    self.context.metrics.failures.inc();
                    self.health.failed(reason);
                }
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// The number of the last batch that this process has committed.
    async fn last_committed(&self, conn: &mut Conn) -> Result<Option<i64>, sqlx::Error> {
        let rows = conn.rows(&LAST_BATCH, &[self.context.presence.instance.as_str().into()]).await?;
        rows.first().map(|row| row.int(0)).transpose()
    }
}
