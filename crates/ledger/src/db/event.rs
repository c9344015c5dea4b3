//! Events, as they are made together with what they tell.

use std::ops::Range;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::json;
use serde_json::value::RawValue;

use crate::db::download_row::time;
use crate::db::id;
use crate::db::sql::{Conn, Dialect, Row, Rows};
use crate::model::{Download, Endpoint, Event, Kind, Transport};

/// A receiver may refuse more than 20 kB, so no event has more: this is left for its data.
const MOST: usize = 19_000;

/// An event that is about to be written.
pub(crate) struct Told {
    id: String,
    kind: Kind,
    download: Option<String>,
    at: Timestamp,
    data: String,
    /// To whom it goes.
    endpoints: Vec<String>,
}

/// What an event says of the last delivery.
#[derive(Default, Serialize)]
pub(crate) struct About {
    /// What it carried of the content; the first ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ranges: Option<Vec<Range<u64>>>,
    /// The first byte of the content that was missing of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) at: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) sent: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) transport: Option<Transport>,
}

#[derive(Serialize)]
struct Data<'a> {
    download: &'a Download,
    #[serde(skip_serializing_if = "Option::is_none")]
    delivery: Option<&'a About>,
}

impl About {
    fn is_empty(&self) -> bool {
        self.reason.is_none() && self.transport.is_none()
    }
}

impl Told {
    /// About a download. It starts and completes once: these events have ids that are made of its own, so that no second
    /// one can be written.
    pub(crate) fn new(
        kind: Kind,
        download: &Download,
        at: Timestamp,
        about: &About,
        endpoints: &[Endpoint],
    ) -> Told {
        let of = download.id.trim_start_matches("dl_");
        let more = || id::new("", at)[10..].to_owned();
        let id = match kind {
            Kind::Started => format!("evt_{of}s"),
            Kind::Completed => format!("evt_{of}c"),
            Kind::Progress => format!("evt_{of}p{}", more()),
            Kind::Failed => format!("evt_{of}f{}", more()),
            _ => format!("evt_{of}a{}", more()),
        };
        let data = Data { download, delivery: (!about.is_empty()).then_some(about) };
        Told {
            id,
            kind,
            download: Some(download.id.clone()),
            at,
            data: serde_json::to_string(&data).expect("plain values, into memory"),
            endpoints: fitting(endpoints, kind, Some(download)),
        }
    }
}

/// The endpoints that want an event.
fn fitting(endpoints: &[Endpoint], kind: Kind, download: Option<&Download>) -> Vec<String> {
    endpoints
        .iter()
        .filter(|endpoint| endpoint.filter.fits(kind, download))
        .map(|endpoint| endpoint.id.clone())
        .collect()
}

/// An event that is not about a download, with `data` as its only member, called `of`.
pub(crate) fn other_event(
    kind: Kind,
    of: &str,
    data: &impl Serialize,
    at: Timestamp,
    endpoints: &[Endpoint],
) -> Told {
    Told {
        id: id::new("evt_", at),
        kind,
        download: None,
        at,
        data: json!({ of: data }).to_string(),
        endpoints: fitting(endpoints, kind, None),
    }
}

/// An aborted download that a crashed server left.
///
/// `left` is where its delivery began, how far it came, and where its range ends.
pub(crate) fn crashed(
    download: &Download,
    left: (u64, u64, Option<u64>),
    sent: u64,
    at: Timestamp,
    endpoints: &[Endpoint],
) -> Told {
    let (first, reached, past) = left;
    let about = About {
        ranges: past.map(|past| std::iter::once(first..past).collect()),
        at: Some(reached),
        sent: Some(sent),
        reason: Some("the server crashed".into()),
        transport: None,
    };
    Told::new(Kind::Aborted, download, at, &about, endpoints)
}

/// A download of which nothing was missing when its server crashed.
pub(crate) fn completed(download: &Download, at: Timestamp, endpoints: &[Endpoint]) -> Told {
    Told::new(Kind::Completed, download, at, &About::default(), endpoints)
}

/// Writes events and the sends that tell them, and wakes who tells. Returns whether there are any sends.
pub(crate) async fn insert_events(conn: &mut Conn, events: &[Told]) -> Result<bool, sqlx::Error> {
    if events.is_empty() {
        return Ok(false);
    }
    let (mut rows, mut sends) = (Rows::default(), Rows::default());
    for event in events {
        // All strings in it are short, so it cannot be longer; if it is, only the essential is told.
        let data = if event.data.len() <= MOST {
            event.data.as_str().into()
        } else {
            std::borrow::Cow::Owned(json!({ "download": { "id": event.download } }).to_string())
        };
        let at = event.at.as_microsecond();
        rows.row().put(&event.id).put(event.kind.name()).put(&event.download).put(&at).put(&*data);
        for endpoint in &event.endpoints {
            sends.row().put(&event.id).put(endpoint).put(&at);
        }
    }
    if conn.dialect() == Dialect::Postgres {
        // Numbers of events become visible in their order only if one transaction at a time takes some and commits.
        // The last lock of all, so nobody waits for us while we wait for it.
        conn.run("SELECT pg_advisory_xact_lock(7237954630903951734)", &[]).await?;
    }
    let sql = "INSERT INTO events (id, kind, download, at, data) \
               SELECT k.value->>0, k.value->>1, k.value->>2, CAST(k.value->>3 AS bigint), k.value->>4 FROM EACH($1)";
    conn.run(sql, &[rows.arg()]).await?;
    if sends.is_empty() {
        return Ok(false);
    }
    let sql = "INSERT INTO sends (event, endpoint, state, due, since, attempts, leased, log) \
               SELECT k.value->>0, k.value->>1, 0, CAST(k.value->>2 AS bigint), CAST(k.value->>2 AS bigint), 0, 0, '[]' \
               FROM EACH($1)";
    conn.run(sql, &[sends.arg()]).await?;
    wake(conn).await?;
    Ok(true)
}

/// Wakes those who tell, on all nodes, when the transaction is committed.
pub(crate) async fn wake(conn: &mut Conn) -> Result<(), sqlx::Error> {
    if conn.dialect() == Dialect::Postgres {
        conn.rows("SELECT pg_notify('outflow_events', '')::text", &[]).await?;
    }
    Ok(())
}

pub(crate) const EVENT: &str = "e.seq, e.id, e.kind, e.at, e.data";

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
