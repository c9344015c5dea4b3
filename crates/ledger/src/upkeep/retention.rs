//! Removes what is too old.

use std::time::Duration;

use jiff::Timestamp;

use crate::db::id;
use crate::db::sql::{Arg, Rows};
use crate::db::store::{Store, written};
use crate::model::Error;

/// How many rows are looked at in one transaction.
const STEP: i64 = 500;

/// Removes what is older than `keep`, in small steps, so that nobody waits for long.
pub(super) async fn prune(store: &Store, keep: Duration) -> Result<(), Error> {
    let failed = |error: sqlx::Error| store.address.error(&error);
    let Ok(cut) = Timestamp::now().checked_sub(keep) else { return Ok(()) };
    let (micros, bound) = (cut.as_microsecond(), id::bound("dl_", cut));
    let mut cursor = String::new();
    loop {
        let sql = "SELECT id, updated FROM downloads WHERE id > $1 AND id < $2 ORDER BY id LIMIT 500";
        let rows = store.rows(sql, &[cursor.as_str().into(), bound.as_str().into()]).await?;
        let mut old = Rows::default();
        for row in &rows {
            cursor = row.text(0).map_err(failed)?;
            if row.int(1).map_err(failed)? < micros {
                old.row().put(&cursor);
            }
        }
        if !old.is_empty() {
            let args = [old.arg(), Arg::Int(micros)];
            let sql = "DELETE FROM downloads WHERE id IN (SELECT k.value->>0 FROM EACH($1)) AND updated < $2";
            written!(store, |conn| conn.run(sql, &args).await.map(drop))?;
        }
        if i64::try_from(rows.len()).unwrap_or(0) < STEP {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let steps = [
        // Events lie in the order of their time.
        "DELETE FROM events WHERE seq IN (\
             SELECT seq FROM (SELECT seq, at FROM events ORDER BY seq LIMIT 500) AS o WHERE at < $1)",
        "DELETE FROM deliveries WHERE id IN (\
             SELECT id FROM deliveries WHERE instance IS NULL AND updated < $1 LIMIT 500)",
        "DELETE FROM contents WHERE content IN (SELECT content FROM contents c WHERE NOT EXISTS (\
             SELECT 1 FROM downloads d WHERE d.content = c.content) AND $1 = $1 LIMIT 500)",
    ];
    for step in steps {
        let args = [Arg::Int(micros)];
        while written!(store, |conn| conn.run(step, &args).await)? >= 500 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    // What these committed last is asked for as long as they may try to commit it again.
    let sql = "DELETE FROM instances WHERE beat < CLOCK - 2592000000000";
    written!(store, |conn| conn.run(sql, &[]).await.map(drop))
}
