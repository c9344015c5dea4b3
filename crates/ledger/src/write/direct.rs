//! Writes that bypass the queue: revoked links, expired transfers, replays.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::db::connection::Arg;
use crate::db::database::{Database, in_transaction};
use crate::db::download_row::clean;
use crate::db::event_row::{
    EventSelection, NewEvent, event_with_id, insert_events, insert_told_events, notify_workers,
};
use crate::db::rows::Rows;
use crate::db::sequence::Sequence;
use crate::db::statement::{Statement, statements};
use crate::model::{Download, Endpoint, EventKind, LedgerError, LedgerEvent, Replay, ReplayEvents};

/// Maximum number of events of a replay in one transaction.
const REPLAY_STEP: usize = 500;

statements! {
    REVOKE_LINK = Statement::new(
        "INSERT INTO links (id, receipts, exhausted, revoked) VALUES ($1, 0, 0, $2) \
         ON CONFLICT (id) DO UPDATE SET revoked = coalesce(links.revoked, excluded.revoked)",
    );
    EXPIRE_TRANSFER = Statement::new(
        "INSERT INTO transfers (id, expired) VALUES ($1, $2) ON CONFLICT (id) DO NOTHING",
    );
    /// Makes sends $1 as if they were new at $2.
    RESET_SENDS = Statement::new(
        "INSERT INTO sends (event, endpoint, state, due, since, attempts, leased, log) \
         SELECT {{text 0}}, {{text 1}}, 0, $2, $2, 0, 0, '[]' FROM {{rows $1}} WHERE true \
         ON CONFLICT (event, endpoint) DO UPDATE \
         SET state = 0, due = excluded.due, since = excluded.since, attempts = 0, leased = 0",
    );
}

pub(crate) async fn revoke(database: &Database, link: &str) -> Result<(), LedgerError> {
    let args = [link.into(), Arg::Int(Timestamp::now().as_microsecond())];
    in_transaction!(database, |conn| conn.run(&REVOKE_LINK, &args).await.map(drop))
}

/// The data of `transfer.expired`.
#[derive(Serialize)]
struct ExpiredTransfer<'a> {
    id: &'a str,
}

pub(crate) async fn expire_transfer(
    database: &Database,
    endpoints: &[Endpoint],
    transfer: &str,
) -> Result<(), LedgerError> {
    let now = Timestamp::now();
    let transfer = &*clean(transfer, 256);
    let args = [transfer.into(), Arg::Int(now.as_microsecond())];
    in_transaction!(database, |conn| {
        if conn.run(&EXPIRE_TRANSFER, &args).await? == 1 {
            let data = ExpiredTransfer { id: transfer };
            let seq = Sequence::lock(conn).await?.take();
            let event = NewEvent::about_other(seq, EventKind::TransferExpired, &data, now, endpoints);
            insert_events(conn, &[event]).await?;
        }
        Ok(())
    })
}

/// Makes events due again. Returns the number of sends.
pub(crate) async fn replay(
    database: &Database,
    endpoints: &[Endpoint],
    replay: &Replay,
) -> Result<u64, LedgerError> {
    let (mut after, mut count) = (None, 0);
    loop {
        let selected = match &replay.events {
            ReplayEvents::One(id) => Vec::from_iter(event_with_id(database, id).await?),
            ReplayEvents::Since(since) => {
                let since = Some(*since);
                let selection =
                    EventSelection { after, since, limit: REPLAY_STEP, ..EventSelection::default() };
                selection.read(database).await?
            }
        };
        let (mut sends, mut sent) = (Rows::default(), Vec::new());
        let found = selected.len();
        for selected in selected {
            after = Some(selected.event.seq);
            let receivers = receivers(&selected.event, endpoints, replay.endpoint.as_deref());
            for endpoint in &receivers {
                sends.row().put(&selected.event.id).put(*endpoint);
            }
            if !receivers.is_empty() {
                sent.push(selected);
            }
        }
        if !sends.is_empty() {
            count += u64::try_from(sends.len()).unwrap_or(u64::MAX);
            let args = [sends.into(), Arg::Int(Timestamp::now().as_microsecond())];
            in_transaction!(database, |conn| {
                insert_told_events(conn, &sent).await?;
                conn.run(&RESET_SENDS, &args).await?;
                notify_workers(conn).await
            })?;
        }
        if found < REPLAY_STEP {
            return Ok(count);
        }
    }
}

/// The endpoints that receive `event` again: `only`, or all whose filter matches.
fn receivers<'a>(event: &LedgerEvent, endpoints: &'a [Endpoint], only: Option<&'a str>) -> Vec<&'a str> {
    if let Some(only) = only {
        return vec![only];
    }
    #[derive(Deserialize)]
    struct EventData {
        download: Option<Download>,
    }
    let download = serde_json::from_str::<EventData>(event.data.get()).ok().and_then(|data| data.download);
    let matching = endpoints.iter().filter(|endpoint| endpoint.filter.matches(event.kind, download.as_ref()));
    matching.map(|endpoint| endpoint.id.as_str()).collect()
}
