//! Shows that this process is alive, and looks for processes that are not.

use std::fs::File;

use super::context::UpkeepContext;
use super::recovery::{Crashed, recover};
use crate::db::connection::Arg;
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
    /// Whether this is the only server on its file, so that no other one can crash.
    pub(super) only_server: bool,
}

impl Heartbeat {
    pub(super) async fn run(self) {
        let interval = self.shared.context.options.crash_timeout / 6;
        loop {
            if let Err(error) = self.beat().await {
                tracing::debug!("the ledger's heartbeat failed: {error}");
            }
            tokio::time::sleep(interval).await;
        }
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
        let waiting = sends.first().and_then(|row| row.int(0).ok()).unwrap_or(0);
        context.metrics.webhook_waiting.set(waiting);
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
