//! Shows that this node is alive, and looks who is not any more.

use std::fs::File;
use std::time::Duration;

use tokio::sync::Notify;

use super::recovery::reap;
use crate::db::context::Context;
use crate::db::sql::{Arg, Pool};
use crate::db::store::{Store, written};
use crate::model::Error;
use crate::read::progress::Live;

/// A lock beside the file that only one server has. `None`: there is another one, or this is PostgreSQL.
pub(super) fn alive(store: &Store) -> Option<File> {
    let mut name = store.address.path()?.as_os_str().to_owned();
    name.push("-server");
    let file = File::options().create(true).truncate(false).write(true).open(name).ok()?;
    file.try_lock().is_ok().then_some(file)
}

/// Says that this node is alive; looks who is not any more, and whether there are others.
pub(super) async fn heartbeat(
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

pub(super) fn micros(duration: Duration) -> Arg {
    Arg::Int(i64::try_from(duration.as_micros()).unwrap_or(i64::MAX / 4))
}
