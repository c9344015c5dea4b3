//! Removes old records, in small steps, so that other transactions do not wait for long.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::db::connection::Arg;
use crate::db::database::{Database, in_transaction};
use crate::db::id;
use crate::db::rows::Rows;
use crate::db::statement::{Statement, statements};
use crate::model::LedgerError;
use crate::write::batch::day_number;

/// Time between two searches for old records.
const INTERVAL: Duration = Duration::from_secs(600);
/// Time between two steps.
const STEP_PAUSE: Duration = Duration::from_millis(50);
/// Maximum number of rows in one transaction: the `LIMIT` of the statements.
const STEP: usize = 500;

statements! {
    /// Downloads that began between two ids.
    DOWNLOADS_BETWEEN = Statement::new(
        "SELECT id, updated FROM downloads WHERE id > $1 AND id < $2 ORDER BY id LIMIT 500",
    );
    DELETE_DOWNLOADS = Statement::new(
        "DELETE FROM downloads WHERE id IN (SELECT {{text 0}} FROM {{rows $1}}) AND updated < $2",
    );
    /// Events are in the order of their time.
    DELETE_EVENTS = Statement::new(
        "DELETE FROM events WHERE seq IN (\
             SELECT seq FROM (SELECT seq, at FROM events ORDER BY seq LIMIT 500) AS o WHERE at < $1)",
    );
    DELETE_OLD_TAILS = Statement::new(
        "DELETE FROM deliveries WHERE id IN (\
             SELECT id FROM deliveries WHERE instance IS NULL AND updated < $1 LIMIT 500)",
    );
    DELETE_UNUSED_CONTENTS = Statement::new(
        "DELETE FROM contents WHERE content IN (SELECT content FROM contents c WHERE NOT EXISTS (\
             SELECT 1 FROM downloads d WHERE d.content = c.content) LIMIT 500)",
    );
    DELETE_COUNTS = Statement::new("DELETE FROM counts WHERE day < $1");
    /// A process looks up its last batch for as long as it may try to commit it again: 30 days.
    DELETE_INSTANCES = Statement::new("DELETE FROM instances WHERE beat < {{now}} - 2592000000000");
}

/// Removes what is older than `keep`, again and again.
pub(super) async fn run(database: Arc<Database>, keep: Duration) {
    loop {
        if let Err(error) = prune(&database, keep).await {
            tracing::debug!("old records of the ledger could not be removed: {error}");
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

async fn prune(database: &Database, keep: Duration) -> Result<(), LedgerError> {
    let Ok(cut) = Timestamp::now().checked_sub(keep) else { return Ok(()) };
    prune_downloads(database, cut).await?;
    let day = [Arg::Int(day_number(cut))];
    in_transaction!(database, |conn| conn.run(&DELETE_COUNTS, &day).await.map(drop))?;
    let cut = Arg::Int(cut.as_microsecond());
    let steps =
        [(DELETE_EVENTS, Some(cut.clone())), (DELETE_OLD_TAILS, Some(cut)), (DELETE_UNUSED_CONTENTS, None)];
    for (statement, cut) in steps {
        let args: Vec<_> = cut.into_iter().collect();
        while in_transaction!(database, |conn| conn.run(&statement, &args).await)? >= STEP as u64 {
            tokio::time::sleep(STEP_PAUSE).await;
        }
    }
    in_transaction!(database, |conn| conn.run(&DELETE_INSTANCES, &[]).await.map(drop))
}

async fn prune_downloads(database: &Database, cut: Timestamp) -> Result<(), LedgerError> {
    let failed = |error: sqlx::Error| database.address.error(&error);
    let (micros, end) = (cut.as_microsecond(), id::first_at("dl_", cut));
    let mut cursor = String::new();
    loop {
        let rows = database.rows(&DOWNLOADS_BETWEEN, &[cursor.as_str().into(), end.as_str().into()]).await?;
        let mut old = Rows::default();
        for row in &rows {
            cursor = row.text(0).map_err(failed)?;
            if row.int(1).map_err(failed)? < micros {
                old.row().put(&cursor);
            }
        }
        if !old.is_empty() {
            let args = [old.into(), Arg::Int(micros)];
            in_transaction!(database, |conn| conn.run(&DELETE_DOWNLOADS, &args).await.map(drop))?;
        }
        if rows.len() < STEP {
            return Ok(());
        }
        tokio::time::sleep(STEP_PAUSE).await;
    }
}
