//! What a server does beside: shows that it is alive, takes care of what crashed ones left, removes what is too old, and
//! hears what other nodes say.

use std::fs::File;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sqlx::postgres::PgListener;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::batch::{Context, completed, crashed, insert_events};
use crate::live::Live;
use crate::presence::Presence;
use crate::report::Progress;
use crate::sql::{Arg, Conn, Pool, Rows};
use crate::store::{Store, written};
use crate::stored::{COLUMNS, Stored};
use crate::{Error, State, id};

/// Between two looks for what is too old.
const PRUNE: Duration = Duration::from_secs(600);
/// How many rows are looked at in one transaction.
const STEP: i64 = 500;

/// The tasks.
pub(crate) struct Upkeep {
    tasks: Vec<JoinHandle<()>>,
    /// Held while this server lives: the next one on this file sees by it that others have ended.
    _alive: Option<File>,
}

/// What nodes tell each other.
#[derive(Serialize, Deserialize)]
struct Said {
    node: String,
    /// `None`: something could not be said.
    progress: Option<Progress>,
}

impl Upkeep {
    pub(crate) async fn begin(
        store: &Arc<Store>,
        context: &Arc<Context>,
        live: &Arc<Live>,
        sends: &Arc<Notify>,
    ) -> Result<Upkeep, Error> {
        let mut tasks = Vec::new();
        if !context.options.tell {
            return Ok(Upkeep { tasks, _alive: None });
        }
        let alive = alive(store);
        let sole = alive.is_some();
        // A server that cannot write says so when it is started.
        heartbeat(store, context, live, sends, sole).await?;
        if sole {
            reap(store, context, live, sends, i64::MAX).await?;
        }
        let beat = context.options.lapse / 6;
        tasks.push(tokio::spawn({
            let (store, context, live, sends) =
                (Arc::clone(store), Arc::clone(context), Arc::clone(live), Arc::clone(sends));
            async move {
                loop {
                    if let Err(error) = heartbeat(&store, &context, &live, &sends, sole).await {
                        tracing::debug!("the ledger's heartbeat failed: {error}");
                    }
                    tokio::time::sleep(beat).await;
                }
            }
        }));
        if let Some(keep) = context.options.keep {
            let store = Arc::clone(store);
            tasks.push(tokio::spawn(async move {
                loop {
                    if let Err(error) = prune(&store, keep).await {
                        tracing::debug!("what is too old in the ledger could not be removed: {error}");
                    }
                    tokio::time::sleep(PRUNE).await;
                }
            }));
        }
        if let Pool::Postgres(_) = store.pool() {
            tasks.push(tokio::spawn(hear(
                Arc::clone(store),
                Arc::clone(&context.presence),
                Arc::clone(live),
                Arc::clone(sends),
            )));
            tasks.push(tokio::spawn(say(
                Arc::clone(store),
                context.presence.instance.clone(),
                Arc::clone(live),
            )));
        }
        Ok(Upkeep { tasks, _alive: alive })
    }

    pub(crate) async fn end(self) {
        for task in self.tasks {
            task.abort();
            let _ = task.await;
        }
    }
}

/// A lock beside the file that only one server has. `None`: there is another one, or this is PostgreSQL.
fn alive(store: &Store) -> Option<File> {
    let mut name = store.address.path()?.as_os_str().to_owned();
    name.push("-server");
    let file = File::options().create(true).truncate(false).write(true).open(name).ok()?;
    file.try_lock().is_ok().then_some(file)
}

/// Says that this node is alive; looks who is not any more, and whether there are others.
async fn heartbeat(
    store: &Store,
    context: &Context,
    live: &Live,
    sends: &Notify,
    sole: bool,
) -> Result<(), Error> {
    let rows = written!(store, |conn| {
        let sql = "INSERT INTO instances (id, beat, batch) VALUES ($1, CLOCK, 0) \
                       ON CONFLICT (id) DO UPDATE SET beat = excluded.beat";
        conn.run(sql, &[context.presence.instance.as_str().into()]).await?;
        let sql = "SELECT count(*) FROM instances WHERE id <> $1 AND beat > CLOCK - $2";
        conn.rows(sql, &[context.presence.instance.as_str().into(), micros(context.options.lapse)]).await
    })?;
    let others = rows.first().and_then(|row| row.int(0).ok()).unwrap_or(0) > 0;
    live.others(others && matches!(store.pool(), Pool::Postgres(_)));
    // On a file of our own there is nobody else who could crash.
    if sole {
        return Ok(());
    }
    let Arg::Int(lapse) = micros(context.options.lapse) else { return Ok(()) };
    reap(store, context, live, sends, lapse).await
}

fn micros(duration: Duration) -> Arg {
    Arg::Int(i64::try_from(duration.as_micros()).unwrap_or(i64::MAX / 4))
}

/// Takes care of the deliveries of servers that have ended, or were not heard of for `lapse` microseconds (`i64::MAX`: of
/// all others): nobody's they are from then on, kept because their recipients may go on where they were; and their
/// downloads are aborted, if nobody else is at it.
async fn reap(
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
type Left = (i64, i64, Option<i64>, i64);

async fn abort(
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
    conn.run(crate::stored::UPSERT, &[rows.arg()]).await?;
    insert_events(conn, &events).await
}

/// Removes what is older than `keep`, in small steps, so that nobody waits for long.
async fn prune(store: &Store, keep: Duration) -> Result<(), Error> {
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

/// Hears what other nodes say: that there are events, and how downloads stand.
async fn hear(store: Arc<Store>, presence: Arc<Presence>, live: Arc<Live>, sends: Arc<Notify>) {
    let Pool::Postgres(pool) = store.pool() else { return };
    loop {
        let listening = async {
            let mut listener = PgListener::connect_with(pool).await?;
            presence.hold(&mut listener).await?;
            listener.listen_all(["outflow_events", "outflow_progress"]).await?;
            live.missed();
            loop {
                // What was said while the connection was lost is not heard: so look.
                let Some(notification) = listener.try_recv().await? else {
                    presence.hold(&mut listener).await?;
                    sends.notify_one();
                    live.missed();
                    continue;
                };
                if notification.channel() == "outflow_events" {
                    sends.notify_one();
                } else if let Ok(said) = serde_json::from_str::<Said>(notification.payload())
                    && said.node != presence.instance
                {
                    said.progress.map_or_else(|| live.missed(), |progress| live.pass_on(progress));
                }
            }
        };
        let result: Result<(), sqlx::Error> = listening.await;
        if let Err(error) = result {
            tracing::debug!("other nodes of the ledger cannot be heard: {error}");
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        sends.notify_one();
    }
}

/// Says how downloads stand here.
async fn say(store: Arc<Store>, instance: String, live: Arc<Live>) {
    loop {
        live.outgoing_wake.notified().await;
        let mut rows = Rows::default();
        let mut put = |progress: Option<Progress>| {
            let said = Said { node: instance.clone(), progress };
            let text = serde_json::to_string(&said).expect("plain values, into memory");
            // A notification has less than 8,000 bytes.
            if text.len() < 8000 {
                rows.row().put(&text);
            }
        };
        let outgoing = live.outgoing();
        for progress in outgoing.progress.into_values() {
            let mut progress = (*progress).clone();
            for text in [&mut progress.path, &mut progress.recipient] {
                *text = crate::stored::clean(text, 1500).into_owned();
            }
            put(Some(progress));
        }
        if outgoing.missed {
            put(None);
        }
        if rows.is_empty() {
            continue;
        }
        let sql = "SELECT count(pg_notify('outflow_progress', k.value->>0)) FROM EACH($1)";
        if let Err(error) = store.rows(sql, &[rows.arg()]).await {
            tracing::debug!("other nodes of the ledger could not be told of progress: {error}");
            tokio::time::sleep(Duration::from_secs(1)).await;
            live.unsaid();
        }
    }
}
