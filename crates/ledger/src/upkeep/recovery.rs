//! Takes care of what crashed servers left.

use jiff::Timestamp;
use tokio::sync::Notify;

use crate::db::context::Context;
use crate::db::download_row::{COLUMNS, Stored};
use crate::db::event::{completed, crashed, insert_events};
use crate::db::sql::{Arg, Conn, Rows};
use crate::db::store::{Store, written};
use crate::model::{Error, State};
use crate::read::progress::Live;

/// Takes care of the deliveries of servers that have ended, or were not heard of for `lapse` microseconds (`i64::MAX`: of
/// all others): nobody's they are from then on, kept because their recipients may go on where they were; and their
/// downloads are aborted, if nobody else is at it.
pub(super) async fn reap(
    store: &Store,
    context: &Context,
    live: &Live,
    sends: &Notify,
    lapse: i64,
) -> Result<(), Error> {
    let told = written!(store, |conn| {
        let since = if lapse == i64::MAX {
            "$2 = $2"
        } else if context.presence.knows_who_is_gone() {
            "(i.beat < CLOCK - $2 OR GONE)"
        } else {
            "i.beat < CLOCK - $2"
        };
        let left = format!("d.instance <> $1 AND d.instance IN (SELECT i.id FROM instances i WHERE {since})");
        // Downloads are locked before their deliveries, as batches do it. Those that are being changed come next time.
        let sql = format!(
            "SELECT o.id FROM downloads o \
                 WHERE o.id IN (SELECT d.download FROM deliveries d WHERE {left} ORDER BY d.id LIMIT 10000) \
             ORDER BY o.id FOR UPDATE SKIP LOCKED"
        );
        let args = [context.presence.instance.as_str().into(), Arg::Int(lapse)];
        let rows = conn.rows(&sql, &args).await?;
        if rows.is_empty() {
            return Ok(false);
        }
        let mut locked = Rows::default();
        for row in &rows {
            locked.row().put(&row.text(0)?);
        }
        let sql = format!(
            "SELECT d.id, d.download, d.first, d.reached, d.past, d.sent FROM deliveries d \
                 WHERE {left} AND d.download IN (SELECT k.value->>0 FROM EACH($3)) \
                 ORDER BY d.id FOR UPDATE"
        );
        let [instance, lapse] = args;
        let rows = conn.rows(&sql, &[instance, lapse, locked.arg()]).await?;
        if rows.is_empty() {
            return Ok(false);
        }
        let (mut ids, mut downloads) = (Rows::default(), Rows::default());
        let mut left = std::collections::BTreeMap::new();
        for row in &rows {
            ids.row().put(&row.text(0)?);
            let download = row.text(1)?;
            downloads.row().put(&download);
            left.insert(download, (row.int(2)?, row.int(3)?, row.maybe_int(4)?, row.int(5)?));
        }
        let sql = "UPDATE deliveries SET instance = NULL WHERE id IN (SELECT k.value->>0 FROM EACH($1))";
        conn.run(sql, &[ids.arg()]).await?;
        abort(conn, context, downloads, &left).await
    })?;
    if told {
        sends.notify_one();
        live.changed_unheard();
    }
    Ok(())
}

/// Where a delivery was left: first, reached, past, sent.
pub(super) type Left = (i64, i64, Option<i64>, i64);

pub(super) async fn abort(
    conn: &mut Conn,
    context: &Context,
    downloads: Rows,
    left: &std::collections::BTreeMap<String, Left>,
) -> Result<bool, sqlx::Error> {
    let now = Timestamp::now();
    let sql = format!(
        "SELECT {COLUMNS} FROM downloads d WHERE d.id IN (SELECT k.value->>0 FROM EACH($1)) AND d.state <> 3 \
             AND NOT EXISTS (SELECT 1 FROM deliveries o WHERE o.download = d.id AND o.instance IS NOT NULL) \
         ORDER BY d.id FOR UPDATE"
    );
    let mut rows = Rows::default();
    let mut events = Vec::new();
    for row in conn.rows(&sql, &[downloads.arg()]).await? {
        let mut stored = Stored::read(&row)?;
        let download = &mut stored.download;
        let Some((first, reached, past, sent)) = left.get(&download.id) else { continue };
        let bytes = |value: i64| u64::try_from(value).unwrap_or(0);
        download.updated = now;
        let endpoints = &context.options.endpoints;
        if download.acked >= download.total && download.total > 0 {
            // Nothing was missing any more; only its end was not written.
            download.state = State::Completed;
            download.completed = Some(now);
            download.files_done = download.files;
            events.push(completed(download, now, endpoints));
        } else {
            download.state = State::Aborted;
            let past = past.map(bytes);
            events.push(crashed(
                download,
                (bytes(*first), bytes(*reached), past),
                bytes(*sent),
                now,
                endpoints,
            ));
        }
        stored.write(&mut rows);
    }
    if rows.is_empty() {
        return Ok(false);
    }
    conn.run(crate::db::download_row::UPSERT, &[rows.arg()]).await?;
    insert_events(conn, &events).await
}
