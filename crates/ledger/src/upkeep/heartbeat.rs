//! Shows that this process is alive, and looks for processes that are not.

use std::fs::File;

use super::context::UpkeepContext;
use super::recovery::{Crashed, recover};
use crate::db::connection::{Arg, Row};
use crate::db::database::{Database, in_transaction};
use crate::db::statement::{Dialect, Statement, statements};
use crate::model::LedgerError;

statements! {
    BEAT = Statement::new(
        "INSERT INTO instances (id, beat, batch) VALUES ($1, {{now}}, 0) \
         ON CONFLICT (id) DO UPDATE SET beat = excluded.beat",
    );
    /// $1: the limit.
    COUNT_SENDS = Statement::new(
        "SELECT count(*) FROM (SELECT 1 AS waits FROM sends WHERE state = 0 LIMIT $1) AS waiting",
    );
    COUNT_PEERS = Statement::new("SELECT count(*) FROM instances WHERE id <> $1 AND beat > {{now}} - $2");
}

/// Maximum number of waiting sends that are counted for the metrics.
///
/// Bound: webhooks.
const MAX_COUNTED: i64 = 10_000;

/// The heartbeat of a server.
pub(super) struct Heartbeat {
    pub(super) shared: UpkeepContext,
    /// Whether this is the only server on its file, so that no other one can crash. Never on
    /// PostgreSQL.
    pub(super) only_server: bool,
}

impl Heartbeat {
    pub(super) async fn run(self) {
        let interval = self.shared.context.options.crash_timeout / 6;
        loop {
            tokio::time::sleep(interval).await;
            self.keep_alive().await;
        }
    }

    async fn keep_alive(&self) {
        let result = if self.rests() { self.count_sends().await } else { self.beat().await };
        if let Err(error) = result {
            tracing::debug!("the ledger's heartbeat failed: {error}");
        }
    }

    /// Whether it does not matter to any process if this one is alive: no delivery is under way
    /// that another server on this file would have to end. The first batch of the next one writes
    /// that this process is alive, in any case.
    fn rests(&self) -> bool {
        self.only_server && self.shared.queue.taken() == 0
    }

    /// Counts the events that wait to be sent, for the metrics, without writing.
    async fn count_sends(&self) -> Result<(), LedgerError> {
        let rows = self.shared.database.rows(&COUNT_SENDS, &[Arg::Int(MAX_COUNTED)]).await?;
        self.show_sends(&rows);
        Ok(())
    }

    fn show_sends(&self, rows: &[Row]) {
        let waiting = rows.first().and_then(|row| row.int(0).ok()).unwrap_or(0);
        self.shared.context.metrics.webhook_waiting.set(waiting);
    }

    /// Writes that this process is alive, counts the others, and recovers those that have crashed.
    pub(super) async fn beat(&self) -> Result<(), LedgerError> {
        let UpkeepContext { database, context, progress, .. } = &self.shared;
        let timeout = i64::try_from(context.options.crash_timeout.as_micros()).unwrap_or(i64::MAX / 4);
        let instance = Arg::from(context.presence.instance.as_str());
        let (rows, sends) = in_transaction!(database, |conn| {
            conn.run(&BEAT, std::slice::from_ref(&instance)).await?;
            let peers = conn.rows(&COUNT_PEERS, &[instance.clone(), Arg::Int(timeout)]).await?;
            Ok((peers, conn.rows(&COUNT_SENDS, &[Arg::Int(MAX_COUNTED)]).await?))
        })?;
        self.show_sends(&sends);
        let has_peers = rows.first().and_then(|row| row.int(0).ok()).unwrap_or(0) > 0;
        progress.set_has_peers(has_peers && database.pool().dialect() == Dialect::Postgres);
        if self.only_server {
            return Ok(());
        }
        recover(&self.shared, Crashed::Silent { timeout }).await
    }
}

/// Takes the lock beside an SQLite file, which one server at a time holds. `None` if another server
/// holds it, or on PostgreSQL.
pub(super) fn lock_file(database: &Database) -> Option<File> {
    let mut name = database.address.path()?.as_os_str().to_owned();
    name.push("-server");
    let file = File::options().create(true).truncate(false).write(true).open(name).ok()?;
    file.try_lock().is_ok().then_some(file)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::db::address::DatabaseAddress;
    use crate::db::context::NodeContext;
    use crate::db::presence::Presence;
    use crate::model::LedgerOptions;
    use crate::read::progress::ProgressHub;
    use crate::write::queue::ChangeQueue;

    async fn heartbeat(address: &str, only_server: bool) -> Heartbeat {
        let address = DatabaseAddress::parse(address).unwrap();
        let conn = address.prepare().await.unwrap();
        let presence = Arc::new(Presence::new("node_1".to_owned()));
        let context = Arc::new(NodeContext::new(Arc::clone(&presence), LedgerOptions::default()));
        let options = &context.options;
        let queue = ChangeQueue::new(options, Arc::clone(&context.metrics), || false);
        let shared = UpkeepContext {
            database: Arc::new(Database::new(address, conn, presence).await.unwrap()),
            progress: Arc::new(ProgressHub::new()),
            queue: Arc::new(queue),
            new_sends: Arc::default(),
            context,
        };
        Heartbeat { shared, only_server }
    }

    /// When the process was last heard of.
    async fn last_beat(heartbeat: &Heartbeat) -> i64 {
        const LAST_BEAT: Statement = Statement::new("SELECT max(beat) FROM instances");
        heartbeat.shared.database.rows(&LAST_BEAT, &[]).await.unwrap()[0].int(0).unwrap()
    }

    #[tokio::test]
    async fn the_only_server_writes_nothing_while_no_delivery_is_under_way() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ledger.sqlite");
        let log = folder.path().join("ledger.sqlite-wal");
        let heartbeat = heartbeat(file.to_str().unwrap(), true).await;
        heartbeat.beat().await.unwrap();
        let (first, written) = (last_beat(&heartbeat).await, std::fs::read(&log).unwrap());
        heartbeat.keep_alive().await;
        assert_eq!(last_beat(&heartbeat).await, first);
        assert!(std::fs::read(&log).unwrap() == written, "something was written");
        heartbeat.shared.queue.reserve().unwrap();
        heartbeat.keep_alive().await;
        assert!(last_beat(&heartbeat).await > first);
    }

    #[tokio::test]
    async fn one_of_several_servers_always_says_that_it_is_alive() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ledger.sqlite");
        let heartbeat = heartbeat(file.to_str().unwrap(), false).await;
        heartbeat.beat().await.unwrap();
        let first = last_beat(&heartbeat).await;
        heartbeat.keep_alive().await;
        assert!(last_beat(&heartbeat).await > first);
    }
}
