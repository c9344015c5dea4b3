//! Writes what waits, group by group; and goes on trying for as long as it takes.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::Notify;

use crate::db::context::Context;
use crate::db::sql::{Conn, passes};
use crate::db::store::Store;
use crate::model::Trouble;
use crate::write::batch::{Batch, Done};
use crate::write::queue::{Change, Queue};

/// How long the first pause after a failure is, and the longest one.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// Contents whose parts are known to be written; when there are more, they are written again.
const CONTENTS: usize = 10_000;

/// The one task that writes what happens to deliveries.
pub(crate) struct Writer {
    pub(crate) store: Arc<Store>,
    pub(crate) queue: Arc<Queue>,
    pub(crate) context: Arc<Context>,
    /// Learn of each batch in their order, once it is committed.
    pub(crate) observers: Vec<Arc<dyn CommitObserver>>,
    pub(crate) health: Arc<Health>,
    /// Told when there is something to send.
    pub(crate) sends: Arc<Notify>,
}

/// What learns of batches that were committed.
pub(crate) trait CommitObserver: Send + Sync {
    /// `changes` were committed; `done` is what they did.
    fn committed(&self, changes: &[Change], done: &Done);
}

/// Whether the database can be written.
#[derive(Default)]
pub(crate) struct Health(Mutex<Option<Trouble>>);

impl Health {
    pub(crate) fn trouble(&self) -> Option<Trouble> {
        self.0.lock().expect("nothing panics while it is held").clone()
    }

    /// Notes a failure; says so when it is the first.
    fn failed(&self, reason: String) {
        let mut trouble = self.0.lock().expect("nothing panics while it is held");
        match &mut *trouble {
            Some(trouble) => trouble.reason = reason,
            None => {
                tracing::error!("receipts wait in memory: {reason}");
                *trouble = Some(Trouble { since: Timestamp::now(), reason });
            }
        }
    }

    /// Notes a success; says so when it ends a failure.
    fn works(&self) {
        let ended = self.0.lock().expect("nothing panics while it is held").take();
        if let Some(trouble) = ended {
            let seconds = Timestamp::now().duration_since(trouble.since).as_secs();
            tracing::info!("the ledger is written again, after {seconds} s; nothing was lost");
        }
    }
}

impl Writer {
    /// Until the queue is closed and empty.
    pub(crate) async fn run(self) {
        let mut contents = HashSet::new();
        let mut number = 0;
        loop {
            let changes = self.queue.take().await;
            if changes.is_empty() {
                return;
            }
            number += 1;
            let done = self.insist(&changes, number, &contents).await;
            for (delivery, place) in &done.begun {
                *delivery.place() = place.clone();
            }
            for (delivery, acked) in &done.noted {
                delivery.noted(acked);
            }
            if contents.len() + done.contents.len() > CONTENTS {
                contents.clear();
            }
            contents.extend(&done.contents);
            for observer in &self.observers {
                observer.committed(&changes, &done);
            }
            self.queue.settled(&changes);
            if done.sends {
                self.sends.notify_one();
            }
            // Deliveries are told apart by their addresses while the changes hold them.
            drop(changes);
        }
    }

    /// Commits `changes`, however long it takes, and only once.
    async fn insist(&self, changes: &[Change], number: i64, contents: &HashSet<[u8; 16]>) -> Done {
        let mut pause = PAUSES.0;
        let mut met = 0;
        // What the last attempt wanted to write: it may have been committed without our hearing of it.
        let mut unsure: Option<Done> = None;
        loop {
            let mut last = None;
            let attempt = async {
                let mut transaction = self.store.begin().await?;
                let work = async {
                    let conn = transaction.conn();
                    if unsure.is_some() && self.committed(conn).await? == Some(number) {
                        return Ok(true);
                    }
                    last = Some(Batch::new(&self.context, contents, changes).run(conn, number).await?);
                    Ok(false)
                };
                let done = work.await;
                transaction.finish(done).await
            };
            match attempt.await {
                Ok(already) => {
                    self.health.works();
                    let done = if already { unsure.take() } else { last };
                    return done.expect("one of them was done");
                }
                Err(error) => {
                    if last.is_some() {
                        unsure = last;
                    }
                    if passes(&error) && met < 20 {
                        met += 1;
                        continue;
                    }
                    let crate::model::Error::Database(reason) = self.store.address.error(&error);
                    self.health.failed(reason);
                }
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSES.1);
        }
    }

    /// The last batch of this instance that was committed.
    async fn committed(&self, conn: &mut Conn) -> Result<Option<i64>, sqlx::Error> {
        let sql = "SELECT batch FROM instances WHERE id = $1";
        let rows = conn.rows(sql, &[self.context.presence.instance.as_str().into()]).await?;
        rows.first().map(|row| row.int(0)).transpose()
    }
}
