//! Events as rows, and the sends that deliver them.
//!
//! An event is inserted in the transaction that makes what it reports, together with one send for
//! each endpoint whose filter matches. So an event exists exactly if it has happened. That a
//! download has started, and that it was completed in the same transaction, is told by its row as
//! well; such an event has a row of its own only for its sends.

use std::ops::Range;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::json;
use serde_json::value::RawValue;

use super::connection::{Arg, Conn, Row};
use super::database::Database;
use super::download_row::{DownloadRow, TELLS_COMPLETED, TELLS_STARTED, download_columns, time};
use super::id;
use super::rows::Rows;
use super::statement::{Dialect, Statement, statements};
use crate::model::{Download, Endpoint, EventIdForm, EventKind, LedgerError, LedgerEvent, TransportSummary};

/// Maximum size of an event's data in bytes. Receivers may reject more than 20 kB for a whole
/// event.
///
/// Bound: webhooks.
const MAX_EVENT_DATA: usize = 19_000;

/// The columns of a row `e` of `events`, in the order of [`read_event`].
macro_rules! event_columns {
    () => {
        "e.seq, e.id, e.kind, e.at, e.data"
    };
}

pub(crate) use event_columns;

statements! {
    INSERT_EVENTS = Statement::new(
        "INSERT INTO events (seq, id, kind, download, at, data) \
         {{insert $1}} {{int 0}}, {{text 1}}, {{text 2}}, {{text 3}}, {{int 4}}, {{text 5}} {{end}}",
    );
    /// Inserts events that rows of downloads tell, for their sends.
    INSERT_TOLD_EVENTS = Statement::new(
        "INSERT INTO events (seq, id, kind, download, at, data) \
         SELECT {{int 0}}, {{text 1}}, {{text 2}}, {{text 3}}, {{int 4}}, {{text 5}} FROM {{rows $1}} WHERE true \
         ON CONFLICT (id) DO NOTHING",
    );
    EVENT = Statement::new(concat!("SELECT ", event_columns!(), " FROM events e WHERE e.id = $1"));
    /// The downloads $1.
    TELLING_DOWNLOADS = Statement::new(concat!(
        "SELECT ", download_columns!(), " FROM downloads d WHERE d.id IN (SELECT {{text 0}} FROM {{rows $1}})",
    ));
    INSERT_SENDS = Statement::new(
        "INSERT INTO sends (event, endpoint, state, due, since, attempts, leased, log) \
         {{insert $1}} {{text 0}}, {{text 1}}, 0, {{int 2}}, {{int 2}}, 0, 0, '[]' {{end}}",
    );
    NOTIFY_EVENTS = Statement::only(Dialect::Postgres, "SELECT pg_notify('outflow_events', '')::text");
}

/// An event that is about to be inserted.
pub(crate) struct NewEvent {
    seq: i64,
    id: String,
    kind: EventKind,
    download: Option<String>,
    at: Timestamp,
    data: String,
    /// Ids of the endpoints that receive it.
    endpoints: Vec<String>,
}

/// What an event reports about the last delivery of a download.
#[derive(Default, Serialize)]
pub(crate) struct DeliveryFacts {
    /// The first ranges of the content that it carried.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ranges: Option<Vec<Range<u64>>>,
    /// The first byte of them that was not acknowledged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) at: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) sent: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) transport: Option<TransportSummary>,
}

#[derive(Serialize)]
struct DownloadEventData<'a> {
    download: &'a Download,
    #[serde(skip_serializing_if = "Option::is_none")]
    delivery: Option<&'a DeliveryFacts>,
}

impl DeliveryFacts {
    fn is_empty(&self) -> bool {
        self.reason.is_none() && self.transport.is_none()
    }
}

impl NewEvent {
    /// An event about a download.
    pub(crate) fn about_download(
        seq: i64,
        kind: EventKind,
        download: &Download,
        at: Timestamp,
        delivery: &DeliveryFacts,
        endpoints: &[Endpoint],
    ) -> NewEvent {
        NewEvent {
            seq,
            id: id_about(kind, download, at),
            kind,
            download: Some(download.id.clone()),
            at,
            data: data_about(download, delivery),
            endpoints: matching_endpoints(endpoints, kind, Some(download)),
        }
    }

    /// The same if it has a receiver. The row of the download tells the event to everybody else.
    pub(crate) fn for_endpoints(
        seq: i64,
        kind: EventKind,
        download: &Download,
        at: Timestamp,
        delivery: &DeliveryFacts,
        endpoints: &[Endpoint],
    ) -> Option<NewEvent> {
        let has_receiver = endpoints.iter().any(|endpoint| endpoint.filter.matches(kind, Some(download)));
        has_receiver.then(|| NewEvent::about_download(seq, kind, download, at, delivery, endpoints))
    }

    /// An event about something else, which `data` describes.
    pub(crate) fn about_other(
        seq: i64,
        kind: EventKind,
        data: &impl Serialize,
        at: Timestamp,
        endpoints: &[Endpoint],
    ) -> NewEvent {
        NewEvent {
            seq,
            id: id::new("evt_", at),
            kind,
            download: None,
            at,
            data: json!({ kind.subject().name(): data }).to_string(),
            endpoints: matching_endpoints(endpoints, kind, None),
        }
    }
}

fn id_about(kind: EventKind, download: &Download, at: Timestamp) -> String {
    let of = download.id.trim_start_matches("dl_");
    match kind.id_form() {
        EventIdForm::OncePerDownload(letter) => format!("evt_{of}{letter}"),
        EventIdForm::Repeated(letter) => format!("evt_{of}{letter}{}", &id::new("", at)[10..]),
        EventIdForm::Unrelated => id::new("evt_", at),
    }
}

fn data_about(download: &Download, delivery: &DeliveryFacts) -> String {
    let data = DownloadEventData { download, delivery: (!delivery.is_empty()).then_some(delivery) };
    let data = serde_json::to_string(&data).expect("plain values, into memory");
    // The strings in it are short, so it is not longer; if it is, the essential part.
    if data.len() <= MAX_EVENT_DATA { data } else { json!({ "download": { "id": download.id } }).to_string() }
}

/// The events that the row of a download tells, in their order.
pub(crate) fn told_by(row: &DownloadRow) -> Vec<LedgerEvent> {
    let Some(seq) = id::sequence_of("dl_", &row.download.id) else { return Vec::new() };
    let event = |seq: i64, kind, download: &Download, at, facts: &DeliveryFacts| LedgerEvent {
        seq,
        id: id_about(kind, download, at),
        kind,
        timestamp: at,
        data: RawValue::from_string(data_about(download, facts)).expect("it was made by the serializer"),
    };
    let mut events = Vec::new();
    if row.tells & TELLS_STARTED != 0 {
        let begun = row.as_begun();
        events.push(event(seq, EventKind::Started, &begun, begun.started, &DeliveryFacts::default()));
    }
    if let (true, Some(at)) = (row.tells & TELLS_COMPLETED != 0, row.download.completed) {
        let facts = DeliveryFacts { transport: row.transport, ..DeliveryFacts::default() };
        events.push(event(seq + 1, EventKind::Completed, &row.download, at, &facts));
    }
    events
}

/// Inserts events that rows of downloads tell, unless they are there, so that they can have sends.
pub(crate) async fn insert_told_events(conn: &mut Conn, events: &[SelectedEvent]) -> Result<(), sqlx::Error> {
    let mut rows = Rows::default();
    for SelectedEvent { event, told_by } in events {
        let Some(download) = told_by else { continue };
        rows.row().put(&event.seq).put(&event.id).put(event.kind.name()).put(download);
        rows.put(&event.timestamp.as_microsecond()).put(event.data.get());
    }
    if rows.is_empty() { Ok(()) } else { conn.run(&INSERT_TOLD_EVENTS, &[rows.into()]).await.map(drop) }
}

fn matching_endpoints(endpoints: &[Endpoint], kind: EventKind, download: Option<&Download>) -> Vec<String> {
    endpoints
        .iter()
        .filter(|endpoint| endpoint.filter.matches(kind, download))
        .map(|endpoint| endpoint.id.clone())
        .collect()
}

/// Selects events, stored or told by rows of downloads: those that match each condition that is
/// set.
#[derive(Default)]
pub(crate) struct EventSelection<'a> {
    /// Events behind this place in their order.
    pub(crate) after: Option<i64>,
    /// Events that happened at this time or later.
    pub(crate) since: Option<Timestamp>,
    /// Events of these kinds; empty: of all.
    pub(crate) kinds: &'a [EventKind],
    /// Events about this download.
    pub(crate) download: Option<&'a str>,
    /// Whether the last `limit` events are selected instead of the first.
    pub(crate) last: bool,
    pub(crate) limit: usize,
}

/// An event that was selected.
pub(crate) struct SelectedEvent {
    pub(crate) event: LedgerEvent,
    /// The download whose row tells it.
    pub(crate) told_by: Option<String>,
}

impl EventSelection<'_> {
    /// The events, in their order.
    pub(crate) async fn read(&self, database: &Database) -> Result<Vec<SelectedEvent>, LedgerError> {
        let (statement, args) = self.statement();
        let failed = |error: sqlx::Error| database.address.error(&error);
        let (mut selected, mut downloads) = (Vec::new(), Rows::default());
        for row in database.rows(&statement, &args).await? {
            match row.maybe_text(5).map_err(failed)? {
                Some(download) => drop(downloads.row().put(&download)),
                None => {
                    let event = read_event(&row, 0).map_err(failed)?;
                    selected.push(SelectedEvent { event, told_by: None });
                }
            }
        }
        if !downloads.is_empty() {
            for row in database.rows(&TELLING_DOWNLOADS, &[downloads.into()]).await? {
                let row = DownloadRow::read(&row).map_err(failed)?;
                let told = told_by(&row).into_iter().filter(|event| self.selects(event));
                let told_by = || Some(row.download.id.clone());
                selected.extend(told.map(|event| SelectedEvent { event, told_by: told_by() }));
            }
        }
        // An event that is told may be stored as well.
        selected.sort_by_key(|selected| selected.event.seq);
        selected.dedup_by_key(|selected| selected.event.seq);
        let others = selected.len().saturating_sub(self.limit);
        if self.last {
            selected.drain(..others);
        } else {
            selected.truncate(self.limit);
        }
        Ok(selected)
    }

    /// Whether an event of a download that was selected is selected.
    fn selects(&self, event: &LedgerEvent) -> bool {
        self.after.is_none_or(|after| event.seq > after)
            && self.since.is_none_or(|since| event.timestamp >= since)
            && (self.kinds.is_empty() || self.kinds.contains(&event.kind))
    }

    /// Stored events, and the ids of downloads that tell events, in one statement: both of the same
    /// moment. Each part has as many rows as events are wanted; the first of the downloads may have
    /// told all of its events before.
    fn statement(&self) -> (Statement, Vec<Arg>) {
        let (mut stored, mut told, mut args) = (vec!["1 = 1".to_owned()], Vec::new(), Vec::new());
        let wants = |kind| self.kinds.is_empty() || self.kinds.contains(&kind);
        let mask = if wants(EventKind::Started) { TELLS_STARTED } else { 0 }
            | if wants(EventKind::Completed) { TELLS_COMPLETED } else { 0 };
        told.push(format!("(d.tells & {mask}) <> 0"));
        if !self.kinds.is_empty() {
            let kinds: Vec<_> = self.kinds.iter().map(|kind| format!("'{}'", kind.name())).collect();
            stored.push(format!("e.kind IN ({})", kinds.join(", ")));
        }
        let mut arg = |value: Arg| {
            args.push(value);
            format!("${}", args.len())
        };
        if let Some(download) = self.download {
            // Ids of events about a download begin with its own.
            let prefix = format!("evt_{}", download.trim_start_matches("dl_"));
            stored.push(format!("e.id >= {}", arg(prefix.as_str().into())));
            stored.push(format!("e.id < {}", arg(format!("{prefix}~").as_str().into())));
            let download = arg(download.into());
            stored.push(format!("e.download = {download}"));
            told.push(format!("d.id = {download}"));
        }
        if let Some(after) = self.after {
            stored.push(format!("e.seq > {}", arg(after.into())));
            let first = id::first_at_sequence("dl_", after.saturating_add(after & 1));
            told.push(format!("d.id >= {}", arg(first.as_str().into())));
        }
        if let Some(since) = self.since {
            let since = arg(since.as_microsecond().into());
            stored.push(format!("e.at >= {since}"));
            told.push(format!(
                "((d.tells & {TELLS_STARTED}) <> 0 AND d.started >= {since} \
                 OR (d.tells & {TELLS_COMPLETED}) <> 0 AND d.updated >= {since})"
            ));
        }
        let (order, limit, stored) =
            (if self.last { "DESC" } else { "ASC" }, self.limit, stored.join(" AND "));
        let mut sql = format!(
            "SELECT s.seq, s.id, s.kind, s.at, s.data, s.download FROM (\
                 SELECT {}, CAST(NULL AS text) AS download FROM events e \
                 WHERE {stored} ORDER BY e.seq {order} LIMIT {limit}) AS s",
            event_columns!()
        );
        if mask != 0 {
            sql.push_str(&format!(
                " UNION ALL SELECT CAST(NULL AS bigint), CAST(NULL AS text), CAST(NULL AS text), \
                     CAST(NULL AS bigint), CAST(NULL AS text), t.id FROM (\
                     SELECT d.id FROM downloads d WHERE {} ORDER BY d.id {order} LIMIT {}) AS t",
                told.join(" AND "),
                limit + 1
            ));
        }
        (Statement::assembled(sql), args)
    }
}

/// The event with this id.
pub(crate) async fn event_with_id(
    database: &Database,
    id: &str,
) -> Result<Option<SelectedEvent>, LedgerError> {
    let failed = |error: sqlx::Error| database.address.error(&error);
    if let Some(row) = database.rows(&EVENT, &[id.into()]).await?.first() {
        return Ok(Some(SelectedEvent { event: read_event(row, 0).map_err(failed)?, told_by: None }));
    }
    // Its id is its download's, and a letter.
    let Some((download, _)) = id.strip_prefix("evt_").and_then(|rest| rest.split_at_checked(ulid::ULID_LEN))
    else {
        return Ok(None);
    };
    let mut ids = Rows::default();
    ids.row().put(&format!("dl_{download}"));
    let rows = database.rows(&TELLING_DOWNLOADS, &[ids.into()]).await?;
    let Some(row) = rows.first().map(DownloadRow::read).transpose().map_err(failed)? else { return Ok(None) };
    let event = told_by(&row).into_iter().find(|event| event.id == id);
    Ok(event.map(|event| SelectedEvent { event, told_by: Some(row.download.id) }))
}

/// Inserts events and their sends, and wakes the endpoints' workers of all nodes once the
/// transaction is committed. Returns whether there are any sends.
pub(crate) async fn insert_events(conn: &mut Conn, events: &[NewEvent]) -> Result<bool, sqlx::Error> {
    if events.is_empty() {
        return Ok(false);
    }
    let (mut rows, mut sends) = (Rows::default(), Rows::default());
    for event in events {
        let at = event.at.as_microsecond();
        rows.row().put(&event.seq).put(&event.id).put(event.kind.name()).put(&event.download);
        rows.put(&at).put(&event.data);
        for endpoint in &event.endpoints {
            sends.row().put(&event.id).put(endpoint).put(&at);
        }
    }
    conn.run(&INSERT_EVENTS, &[rows.into()]).await?;
    if sends.is_empty() {
        return Ok(false);
    }
    conn.run(&INSERT_SENDS, &[sends.into()]).await?;
    notify_workers(conn).await?;
    Ok(true)
}

/// Wakes the endpoints' workers of all nodes once the transaction is committed.
pub(crate) async fn notify_workers(conn: &mut Conn) -> Result<(), sqlx::Error> {
    if conn.dialect() == Dialect::Postgres {
        conn.rows(&NOTIFY_EVENTS, &[]).await?;
    }
    Ok(())
}

/// Reads `event_columns!`, which begin at column `at`.
pub(crate) fn read_event(row: &Row, at: usize) -> Result<LedgerEvent, sqlx::Error> {
    let kind = row.text(at + 2)?;
    let data = row.maybe_text(at + 4)?.unwrap_or_else(|| "{}".into());
    Ok(LedgerEvent {
        seq: row.int(at)?,
        id: row.text(at + 1)?,
        kind: EventKind::from_name(&kind)
            .ok_or_else(|| sqlx::Error::Decode(format!("there is no event kind {kind}").into()))?,
        timestamp: time(row.int(at + 3)?),
        data: RawValue::from_string(data).map_err(|error| sqlx::Error::Decode(error.into()))?,
    })
}
