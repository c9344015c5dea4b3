//! Events, and to whom they were told.

use super::conditions::Where;
use crate::db::download_row::time;
use crate::db::event::{EVENT, read_event};
use crate::db::sql::Row;
use crate::db::store::Store;
use crate::model::{Error, Event, EventDetail, EventQuery, EventSend, SendAttempt, SendState, limit};

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
