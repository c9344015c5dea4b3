//! The few things that are written one by one.

use jiff::Timestamp;
use serde::Serialize;

use crate::db::download_row::clean;
use crate::db::event::{EVENT, insert_events, other_event, read_event, wake};
use crate::db::sql::Arg;
use crate::db::store::{Store, written};
use crate::model::{Download, Endpoint, Error, Event, Kind, Replay, ReplayEvents};

pub(crate) async fn revoke(store: &Store, link: &str) -> Result<(), Error> {
    let sql = "INSERT INTO links (id, receipts, exhausted, revoked) VALUES ($1, 0, 0, $2) \
               ON CONFLICT (id) DO UPDATE SET revoked = coalesce(links.revoked, excluded.revoked)";
    let args = [link.into(), Arg::Int(Timestamp::now().as_microsecond())];
    written!(store, |conn| conn.run(sql, &args).await.map(drop))
}

/// A transfer, as its event tells of it.
#[derive(Serialize)]
struct TransferData<'a> {
    id: &'a str,
}

pub(crate) async fn transfer_expired(
    store: &Store,
    endpoints: &[Endpoint],
    transfer: &str,
) -> Result<(), Error> {
    let now = Timestamp::now();
    let transfer = &*clean(transfer, 256);
    let sql = "INSERT INTO transfers (id, expired) VALUES ($1, $2) ON CONFLICT (id) DO NOTHING";
    let args = [transfer.into(), Arg::Int(now.as_microsecond())];
    written!(store, |conn| {
        if conn.run(sql, &args).await? == 1 {
            let data = TransferData { id: transfer };
            let event = other_event(Kind::TransferExpired, "transfer", &data, now, endpoints);
            insert_events(conn, &[event]).await?;
        }
        Ok(())
    })
}

/// How many events are taken together in a replay.
const REPLAYED: i64 = 500;

pub(crate) async fn replay(store: &Store, endpoints: &[Endpoint], what: &Replay) -> Result<u64, Error> {
    let (mut after, mut count) = (0, 0);
    loop {
        let (condition, arg) = match &what.events {
            ReplayEvents::One(id) => ("e.id = $2", Arg::from(id.as_str())),
            ReplayEvents::Since(since) => ("e.at >= $2", Arg::Int(since.as_microsecond())),
        };
        let sql = format!(
            "SELECT {EVENT} FROM events e WHERE e.seq > $1 AND {condition} ORDER BY e.seq LIMIT {REPLAYED}"
        );
        let rows = store.rows(&sql, &[Arg::Int(after), arg]).await?;
        let mut sends = crate::db::sql::Rows::default();
        for row in &rows {
            let event = read_event(row, 0).map_err(|error| store.address.error(&error))?;
            after = event.seq;
            for endpoint in receivers(&event, endpoints, what.endpoint.as_deref()) {
                sends.row().put(&event.id).put(endpoint);
            }
        }
        if !sends.is_empty() {
            count += u64::try_from(sends.len()).unwrap_or(u64::MAX);
            let args = [sends.arg(), Arg::Int(Timestamp::now().as_microsecond())];
            let sql = "INSERT INTO sends (event, endpoint, state, due, since, attempts, leased, log) \
                       SELECT k.value->>0, k.value->>1, 0, $2, $2, 0, 0, '[]' FROM EACH($1) WHERE true \
                       ON CONFLICT (event, endpoint) DO UPDATE \
                       SET state = 0, due = excluded.due, since = excluded.since, attempts = 0, leased = 0";
            written!(store, |conn| {
                conn.run(sql, &args).await?;
                wake(conn).await
            })?;
        }
        if i64::try_from(rows.len()).unwrap_or(0) < REPLAYED {
            return Ok(count);
        }
    }
}

/// Who is told of `event`.
fn receivers<'a>(event: &Event, endpoints: &'a [Endpoint], one: Option<&'a str>) -> Vec<&'a str> {
    if let Some(one) = one {
        return vec![one];
    }
    #[derive(serde::Deserialize)]
    struct Data {
        download: Option<Download>,
    }
    let download = serde_json::from_str::<Data>(event.data.get()).ok().and_then(|data| data.download);
    let fit = endpoints.iter().filter(|endpoint| endpoint.filter.fits(event.kind, download.as_ref()));
    fit.map(|endpoint| endpoint.id.as_str()).collect()
}
