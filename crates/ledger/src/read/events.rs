//! Events and their sends.

use crate::db::connection::Row;
use crate::db::database::Database;
use crate::db::download_row::time;
use crate::db::event_row::{EventSelection, SelectedEvent, event_with_id};
use crate::db::statement::{Statement, statements};
use crate::model::{
    EventDetail, EventQuery, EventSend, LedgerError, LedgerEvent, SendAttempt, SendState, result_limit,
};

statements! {
    SENDS = Statement::new(
        "SELECT endpoint, state, attempts, log, due FROM sends WHERE event = $1 ORDER BY endpoint",
    );
    ENDPOINT_IS_KNOWN = Statement::new(
        "SELECT 1 WHERE EXISTS (SELECT 1 FROM endpoints WHERE id = $1) \
         OR EXISTS (SELECT 1 FROM sends WHERE endpoint = $1)",
    );
}

pub(crate) async fn events(database: &Database, query: &EventQuery) -> Result<Vec<LedgerEvent>, LedgerError> {
    let selection = EventSelection {
        after: query.after,
        since: None,
        kinds: &query.kinds,
        download: query.download.as_deref(),
        last: query.last,
        limit: usize::try_from(result_limit(query.limit)).expect("a limit is positive"),
    };
    Ok(selection.read(database).await?.into_iter().map(|selected| selected.event).collect())
}

pub(crate) async fn event(database: &Database, id: &str) -> Result<Option<EventDetail>, LedgerError> {
    let failed = |error: sqlx::Error| database.address.error(&error);
    let Some(SelectedEvent { event, .. }) = event_with_id(database, id).await? else { return Ok(None) };
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
