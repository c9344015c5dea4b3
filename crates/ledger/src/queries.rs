//! Questions, and the few things that are written one by one.

use jiff::Timestamp;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::batch::{insert_events, other_event, wake};
use crate::report::{
    DownloadQuery, EventDetail, EventQuery, EventSend, FileState, Replay, ReplayEvents, SendAttempt,
    SendState, limit,
};
use crate::sql::{Arg, Row};
use crate::store::{Store, written};
use crate::stored::{COLUMNS, Stored, clean, state_number, time};
use crate::{ContentKey, Download, Endpoint, Error, Event, Kind, LinkState};

/// Conditions and their arguments.
#[derive(Default)]
struct Where {
    conditions: Vec<String>,
    args: Vec<Arg>,
}

impl Where {
    /// Adds a condition in which `?` is the argument.
    fn and(&mut self, condition: &'static str, arg: impl Into<Arg>) {
        self.args.push(arg.into());
        self.conditions.push(condition.replace('?', &format!("${}", self.args.len())));
    }

    fn text(&self) -> String {
        if self.conditions.is_empty() {
            String::new()
        } else {
            format!("WHERE {}", self.conditions.join(" AND "))
        }
    }
}

pub(crate) async fn download(store: &Store, id: &str) -> Result<Option<Download>, Error> {
    let sql = format!("SELECT {COLUMNS} FROM downloads d WHERE d.id = $1");
    let rows = store.rows(&sql, &[id.into()]).await?;
    Ok(list(store, &rows)?.pop())
}

pub(crate) async fn downloads(store: &Store, query: &DownloadQuery) -> Result<Vec<Download>, Error> {
    let mut filter = Where::default();
    if let Some(content) = &query.content {
        filter.and("d.content = ?", content.to_string().as_str());
    }
    if let Some(recipient) = &query.recipient {
        filter.and("d.recipient = ?", &*clean(recipient, 1024));
    }
    if let Some(link) = &query.link {
        filter.and("d.link = ?", link.as_str());
    }
    if let Some(transfer) = &query.transfer {
        filter.and("d.transfer = ?", transfer.as_str());
    }
    if let Some(path) = &query.path {
        filter.and("substr(d.path, 1, length(?)) = ?", path.as_str());
    }
    if let Some(address) = &query.address {
        filter.and("d.path = ?", &*clean(address, 4096));
    }
    if !query.states.is_empty() {
        // Numbers of our own, not arguments, so that the index of open downloads can be chosen.
        let states: Vec<_> = query.states.iter().map(|state| state_number(*state).to_string()).collect();
        let open = if states.iter().any(|state| state == "3") { "" } else { " AND d.state <> 3" };
        filter.conditions.push(format!("d.state IN ({}){open}", states.join(", ")));
    }
    if let Some(before) = &query.before {
        filter.and("d.id < ?", before.as_str());
    }
    let sql = format!(
        "SELECT {COLUMNS} FROM downloads d {} ORDER BY d.id DESC LIMIT {}",
        filter.text(),
        limit(query.limit)
    );
    list(store, &store.rows(&sql, &filter.args).await?)
}

fn list(store: &Store, rows: &[Row]) -> Result<Vec<Download>, Error> {
    let downloads: Result<Vec<_>, _> = rows.iter().map(|row| Ok(Stored::read(row)?.download)).collect();
    downloads.map_err(|error: sqlx::Error| store.address.error(&error))
}

pub(crate) async fn files(store: &Store, id: &str) -> Result<Option<Vec<FileState>>, Error> {
    let Some(download) = download(store, id).await? else { return Ok(None) };
    let complete = download.completed.is_some();
    if download.files.is_none() {
        return Ok(Some(vec![FileState { name: download.name, size: download.total, done: complete }]));
    }
    let failed = |error: sqlx::Error| store.address.error(&error);
    let rows = store
        .rows("SELECT parts FROM contents WHERE content = $1", &[download.content.as_str().into()])
        .await?;
    let Some(row) = rows.first() else { return Ok(None) };
    let parts: Vec<(String, u64, u64, u64)> =
        serde_json::from_str(&row.text(0).map_err(failed)?).unwrap_or_default();
    let sql = "SELECT first, past FROM fragments WHERE download = $1 ORDER BY first";
    let mut fragments = Vec::new();
    for row in store.rows(sql, &[id.into()]).await? {
        let edge = |at| row.int(at).map(|value| u64::try_from(value).unwrap_or(0));
        fragments.push(edge(0).map_err(failed)?..edge(1).map_err(failed)?);
    }
    let whole = |first: u64, past: u64| {
        let behind = fragments.partition_point(|fragment| fragment.start <= first);
        first == past || (behind > 0 && fragments[behind - 1].end >= past)
    };
    let state = |(name, size, first, past)| FileState { name, size, done: complete || whole(first, past) };
    Ok(Some(parts.into_iter().map(state).collect()))
}

const EVENT: &str = "e.seq, e.id, e.kind, e.at, e.data";

/// From a row of [`EVENT`], which begins at column `at`.
pub(crate) fn read_event(row: &Row, at: usize) -> Result<Event, sqlx::Error> {
    let kind = row.text(at + 2)?;
    let data = row.maybe_text(at + 4)?.unwrap_or_else(|| "{}".into());
    Ok(Event {
        seq: row.int(at)?,
        id: row.text(at + 1)?,
        kind: Kind::of(&kind)
            .ok_or_else(|| sqlx::Error::Decode(format!("no kind of event is called {kind}").into()))?,
        timestamp: time(row.int(at + 3)?),
        data: RawValue::from_string(data).map_err(|error| sqlx::Error::Decode(error.into()))?,
    })
}

pub(crate) async fn events(store: &Store, query: &EventQuery) -> Result<Vec<Event>, Error> {
    let mut filter = Where::default();
    if !query.kinds.is_empty() {
        let kinds: Vec<_> = query.kinds.iter().map(|kind| format!("'{}'", kind.name())).collect();
        filter.conditions.push(format!("e.kind IN ({})", kinds.join(", ")));
    }
    if let Some(download) = &query.download {
        // Ids of events about a download begin with its own.
        let of = format!("evt_{}", download.trim_start_matches("dl_"));
        filter.and("e.id >= ?", of.as_str());
        filter.and("e.id < ?", format!("{of}~").as_str());
        filter.and("e.download = ?", download.as_str());
    }
    if let Some(after) = query.after {
        filter.and("e.seq > ?", after);
    }
    let order = if query.last { "DESC" } else { "ASC" };
    let sql = format!(
        "SELECT {EVENT} FROM events e {} ORDER BY e.seq {order} LIMIT {}",
        filter.text(),
        limit(query.limit)
    );
    let rows = store.rows(&sql, &filter.args).await?;
    let events: Result<Vec<_>, _> = rows.iter().map(|row| read_event(row, 0)).collect();
    let mut events = events.map_err(|error| store.address.error(&error))?;
    if query.last {
        events.reverse();
    }
    Ok(events)
}

pub(crate) async fn event(store: &Store, id: &str) -> Result<Option<EventDetail>, Error> {
    let failed = |error: sqlx::Error| store.address.error(&error);
    let rows = store.rows(&format!("SELECT {EVENT} FROM events e WHERE e.id = $1"), &[id.into()]).await?;
    let Some(row) = rows.first() else { return Ok(None) };
    let event = read_event(row, 0).map_err(failed)?;
    let sql = "SELECT endpoint, state, attempts, log, due FROM sends WHERE event = $1 ORDER BY endpoint";
    let rows = store.rows(sql, &[id.into()]).await?;
    let sends: Result<Vec<_>, _> = rows.iter().map(read_send).collect();
    Ok(Some(EventDetail { event, sends: sends.map_err(failed)? }))
}

fn read_send(row: &Row) -> Result<EventSend, sqlx::Error> {
    let state = match row.int(1)? {
        0 => SendState::Waiting,
        1 => SendState::Delivered,
        _ => SendState::GivenUp,
    };
    let log: Vec<SendAttempt> = serde_json::from_str(&row.text(3)?).unwrap_or_default();
    Ok(EventSend {
        endpoint: row.text(0)?,
        state,
        attempts: u32::try_from(row.int(2)?).unwrap_or(u32::MAX),
        log,
        next: if state == SendState::Waiting { Some(time(row.int(4)?)) } else { None },
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
        let mut sends = crate::sql::Rows::default();
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

pub(crate) async fn link(store: &Store, id: &str) -> Result<LinkState, Error> {
    let rows = store.rows("SELECT receipts, revoked FROM links WHERE id = $1", &[id.into()]).await?;
    let Some(row) = rows.first() else { return Ok(LinkState::default()) };
    let read = || -> Result<LinkState, sqlx::Error> {
        Ok(LinkState {
            receipts: u32::try_from(row.int(0)?).unwrap_or(u32::MAX),
            revoked: row.maybe_int(1)?.map(time),
        })
    };
    read().map_err(|error| store.address.error(&error))
}

pub(crate) async fn has_open(store: &Store, link: &str, content: &ContentKey) -> Result<bool, Error> {
    let sql = "SELECT id FROM downloads WHERE link = $1 AND content = $2 AND state <> 3 LIMIT 1";
    let rows = store.rows(sql, &[link.into(), content.to_string().as_str().into()]).await?;
    Ok(!rows.is_empty())
}

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
