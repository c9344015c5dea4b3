//! Events as rows, and the sends that deliver them.
//!
//! An event is inserted in the transaction that makes what it reports, together with one send for
//! each endpoint whose filter matches. So an event exists exactly if it has happened.

use std::borrow::Cow;
use std::ops::Range;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::json;
use serde_json::value::RawValue;

use super::connection::{Conn, Row};
use super::download_row::time;
use super::id;
use super::rows::Rows;
use super::statement::{Dialect, Statement, statements};
use crate::model::{Download, Endpoint, EventIdForm, EventKind, LedgerEvent, TransportSummary};

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
    /// Event numbers become visible in their order only if transactions take numbers and commit one
    /// at a time. This is the last lock that a transaction takes, so it cannot deadlock.
    LOCK_EVENTS = Statement::only(Dialect::Postgres, "SELECT pg_advisory_xact_lock(7237954630903951734)");
    INSERT_EVENTS = Statement::new(
        "INSERT INTO events (id, kind, download, at, data) \
         SELECT {{text 0}}, {{text 1}}, {{text 2}}, {{int 3}}, {{text 4}} FROM {{rows $1}}",
    );
    INSERT_SENDS = Statement::new(
        "INSERT INTO sends (event, endpoint, state, due, since, attempts, leased, log) \
         SELECT {{text 0}}, {{text 1}}, 0, {{int 2}}, {{int 2}}, 0, 0, '[]' FROM {{rows $1}}",
    );
    NOTIFY_EVENTS = Statement::only(Dialect::Postgres, "SELECT pg_notify('outflow_events', '')::text");
}

/// An event that is about to be inserted.
pub(crate) struct NewEvent {
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
    pub(crate) fn kind(&self) -> EventKind {
        self.kind
    }

    /// An event about a download.
    pub(crate) fn about_download(
        kind: EventKind,
        download: &Download,
        at: Timestamp,
        delivery: &DeliveryFacts,
        endpoints: &[Endpoint],
    ) -> NewEvent {
        let of = download.id.trim_start_matches("dl_");
        let id = match kind.id_form() {
            EventIdForm::OncePerDownload(letter) => format!("evt_{of}{letter}"),
            EventIdForm::Repeated(letter) => format!("evt_{of}{letter}{}", &id::new("", at)[10..]),
            EventIdForm::Unrelated => id::new("evt_", at),
        };
        let data = DownloadEventData { download, delivery: (!delivery.is_empty()).then_some(delivery) };
        NewEvent {
            id,
            kind,
            download: Some(download.id.clone()),
            at,
            data: serde_json::to_string(&data).expect("plain values, into memory"),
            endpoints: matching_endpoints(endpoints, kind, Some(download)),
        }
    }

    /// An event about something else, which `data` describes.
    pub(crate) fn about_other(
        kind: EventKind,
        data: &impl Serialize,
        at: Timestamp,
        endpoints: &[Endpoint],
    ) -> NewEvent {
        NewEvent {
            id: id::new("evt_", at),
            kind,
            download: None,
            at,
            data: json!({ kind.subject().name(): data }).to_string(),
            endpoints: matching_endpoints(endpoints, kind, None),
        }
    }
}

fn matching_endpoints(endpoints: &[Endpoint], kind: EventKind, download: Option<&Download>) -> Vec<String> {
    endpoints
        .iter()
        .filter(|endpoint| endpoint.filter.matches(kind, download))
        .map(|endpoint| endpoint.id.clone())
        .collect()
}

/// Inserts events and their sends, and wakes the endpoints' workers of all nodes once the
/// transaction is committed. Returns whether there are any sends.
pub(crate) async fn insert_events(conn: &mut Conn, events: &[NewEvent]) -> Result<bool, sqlx::Error> {
    if events.is_empty() {
        return Ok(false);
    }
    let (mut rows, mut sends) = (Rows::default(), Rows::default());
    for event in events {
        // The strings in it are short, so it is not longer; if it is, send the essential part.
        let data = if event.data.len() <= MAX_EVENT_DATA {
            Cow::Borrowed(&*event.data)
        } else {
            Cow::Owned(json!({ "download": { "id": event.download } }).to_string())
        };
        let at = event.at.as_microsecond();
        rows.row().put(&event.id).put(event.kind.name()).put(&event.download).put(&at).put(&*data);
        for endpoint in &event.endpoints {
            sends.row().put(&event.id).put(endpoint).put(&at);
        }
    }
    if conn.dialect() == Dialect::Postgres {
        conn.run(&LOCK_EVENTS, &[]).await?;
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
