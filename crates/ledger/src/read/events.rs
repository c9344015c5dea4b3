//! Events and their sends.

use super::conditions::Conditions;
use crate::db::connection::Row;
use crate::db::database::Database;
use crate::db::download_row::time;
use crate::db::event_row::{event_columns, read_event};
use crate::db::statement::{Statement, statements};
use crate::model::{
    EventDetail, EventQuery, EventSend, LedgerError, LedgerEvent, SendAttempt, SendState, result_limit,
};

statements! {
    EVENT = Statement::new(concat!("SELECT ", event_columns!(), " FROM events e WHERE e.id = $1"));
    SENDS = Statement::new(
        "SELECT endpoint, state, attempts, log, due FROM sends WHERE event = $1 ORDER BY endpoint",
    );
    ENDPOINT_IS_KNOWN = Statement::new(
        "SELECT 1 WHERE EXISTS (SELECT 1 FROM endpoints WHERE id = $1) \
         OR EXISTS (SELECT 1 FROM sends WHERE endpoint = $1)",
    );
}

pub(crate) async fn events(database: &Database, query: &EventQuery) -> Result<Vec<LedgerEvent>, LedgerError> {
    let mut filter = Conditions::default();
    if !query.kinds.is_empty() {
        let kinds: Vec<_> = query.kinds.iter().map(|kind| format!("'{}'", kind.name())).collect();
        filter.and_constant(format!("e.kind IN ({})", kinds.join(", ")));
    }
    if let Some(download) = &query.download {
        // Ids of events about a download begin with its own.
        let prefix = format!("evt_{}", download.trim_start_matches("dl_"));
        filter.and("e.id >= ?", prefix.as_str());
        filter.and("e.id < ?", format!("{prefix}~").as_str());
        filter.and("e.download = ?", download.as_str());
    }
    if let Some(after) = query.after {
        filter.and("e.seq > ?", after);
    }
    let order = if query.last { "DESC" } else { "ASC" };
    let select = concat!("SELECT ", event_columns!(), " FROM events e");
    let tail = format!("ORDER BY e.seq {order} LIMIT {}", result_limit(query.limit));
    let (statement, args) = filter.statement(select, &tail);
    let rows = database.rows(&statement, &args).await?;
    let events: Result<Vec<_>, _> = rows.iter().map(|row| read_event(row, 0)).collect();
    let mut events = events.map_err(|error| database.address.error(&error))?;
    if query.last {
        events.reverse();
    }
    Ok(events)
}

pub(crate) async fn event(database: &Database, id: &str) -> Result<Option<EventDetail>, LedgerError> {
    let failed = |error: sqlx::Error| database.address.error(&error);
    let rows = database.rows(&EVENT, &[id.into()]).await?;
    let Some(row) = rows.first() else { return Ok(None) };
    let event = read_event(row, 0).map_err(failed)?;
    let rows = database.rows(&SENDS, &[id.into()]).await?;
    let sends: Result<Vec<_>, _> = rows.iter().map(read_send).collect();
    Ok(Some(EventDetail { event, sends: sends.map_err(failed)? }))
}

/// Whether an event was ever for the endpoint.
pub(crate) async fn has_endpoint(database: &Database, id: &str) -> Result<bool, LedgerError> {
    Ok(!database.rows(&ENDPOINT_IS_KNOWN, &[id.into()]).await?.is_empty())
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
