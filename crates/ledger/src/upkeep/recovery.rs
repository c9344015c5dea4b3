//! Ends the deliveries of crashed processes.
//!
//! The deliveries belong to no process from then on; they are kept because their recipients may
//! resume where they were. A download that no other process delivers becomes Aborted, or Completed
//! if no byte is missing: `write/batch/apply.rs` draws the states.

use std::collections::BTreeMap;

use super::context::UpkeepContext;
use crate::db::connection::{Arg, Conn};
use crate::db::context::NodeContext;
use crate::db::database::in_transaction;
use crate::db::download_row::{DownloadRow, UPDATE_DOWNLOADS, download_columns, now};
use crate::db::event_row::{DeliveryFacts, NewEvent, insert_events};
use crate::db::rows::Rows;
use crate::db::sequence::Sequence;
use crate::db::statement::{Statement, statements};
use crate::model::{DownloadState, EventKind, LedgerError};

/// Deliveries `d` of crashed processes. $1: this process; $2: 1 if all others have crashed; $3:
/// microseconds of silence after which one has; $4: 1 if a missing lock tells as well.
macro_rules! lost {
    () => {
        "d.instance <> $1 AND d.instance IN (SELECT i.id FROM instances i \
             WHERE $2 = 1 OR i.beat < {{now}} - $3 OR ($4 = 1 AND {{gone i}}))"
    };
}

statements! {
    /// Locks downloads before their deliveries, as batches do. Those that another transaction
    /// changes are left to the next heartbeat.
    LOCK_LOST_DOWNLOADS = Statement::new(concat!(
        "SELECT o.id FROM downloads o WHERE o.id IN (\
             SELECT d.download FROM deliveries d WHERE ", lost!(), " ORDER BY d.id LIMIT 10000) \
         ORDER BY o.id {{for update skip locked}}",
    ));
    /// The lost deliveries of the downloads $5.
    LOCK_LOST_DELIVERIES = Statement::new(concat!(
        "SELECT d.id, d.download, d.first, d.reached, d.past, d.sent FROM deliveries d \
         WHERE ", lost!(), " AND d.download IN (SELECT {{text 0}} FROM {{rows $5}}) \
         ORDER BY d.id {{for update}}",
    ));
    DISOWN_LOST_DELIVERIES = Statement::new(
        "UPDATE deliveries SET instance = NULL WHERE id IN (SELECT {{text 0}} FROM {{rows $1}})",
    );
    /// Those of the downloads $1 that are incomplete and have no delivery under way.
    LOCK_IDLE_DOWNLOADS = Statement::new(concat!(
        "SELECT ", download_columns!(), " FROM downloads d \
         WHERE d.id IN (SELECT {{text 0}} FROM {{rows $1}}) AND d.state <> 3 \
             AND NOT EXISTS (SELECT 1 FROM deliveries o WHERE o.download = d.id AND o.instance IS NOT NULL) \
         ORDER BY d.id {{for update}}",
    ));
}

/// Which processes have crashed.
#[derive(Clone, Copy)]
pub(super) enum Crashed {
    /// All but this one.
    AllOthers,
    /// Those that were silent for `timeout` microseconds, or have lost their locks.
    Silent { timeout: i64 },
}

/// A delivery of a crashed process, as its row has it.
struct LostDelivery {
    first: u64,
    reached: u64,
    /// The end of its range; `None` if it has several.
    end: Option<u64>,
    sent: u64,
}

/// Ends the deliveries of the crashed processes.
pub(super) async fn recover(shared: &UpkeepContext, crashed: Crashed) -> Result<(), LedgerError> {
    let UpkeepContext { database, context, .. } = shared;
    let presence = &context.presence;
    let instance = Arg::from(presence.instance.as_str());
    let has_sends = in_transaction!(database, |conn| {
        let (all, timeout) = match crashed {
            Crashed::AllOthers => (1, 0),
            Crashed::Silent { timeout } => (0, timeout),
        };
        let reliable = i64::from(presence.locks_are_reliable());
        let mut args = vec![instance.clone(), Arg::Int(all), Arg::Int(timeout), Arg::Int(reliable)];
        let rows = conn.rows(&LOCK_LOST_DOWNLOADS, &args).await?;
        if rows.is_empty() {
            return Ok(false);
        }
        let mut locked = Rows::default();
        for row in &rows {
            locked.row().put(&row.text(0)?);
        }
        args.push(locked.into());
        let rows = conn.rows(&LOCK_LOST_DELIVERIES, &args).await?;
        if rows.is_empty() {
            return Ok(false);
        }
        let unsigned = |value: i64| u64::try_from(value).unwrap_or(0);
        let (mut ids, mut downloads) = (Rows::default(), Rows::default());
        let mut lost = BTreeMap::new();
        for row in &rows {
            ids.row().put(&row.text(0)?);
            let download = row.text(1)?;
            downloads.row().put(&download);
            let delivery = LostDelivery {
                first: unsigned(row.int(2)?),
                reached: unsigned(row.int(3)?),
                end: row.maybe_int(4)?.map(unsigned),
                sent: unsigned(row.int(5)?),
            };
            lost.insert(download, delivery);
        }
        conn.run(&DISOWN_LOST_DELIVERIES, &[ids.into()]).await?;
        end_downloads(conn, context, downloads, &lost).await
    })?;
    if has_sends {
        shared.new_sends.notify_one();
        shared.progress.changed_without_report();
    }
    Ok(())
}

/// Ends those of `downloads` that no process delivers. Returns whether there are events to send.
async fn end_downloads(
    conn: &mut Conn,
    context: &NodeContext,
    downloads: Rows,
    lost: &BTreeMap<String, LostDelivery>,
) -> Result<bool, sqlx::Error> {
    let now = now();
    let mut rows = Rows::default();
    let mut events = Vec::new();
    let idle = conn.rows(&LOCK_IDLE_DOWNLOADS, &[downloads.into()]).await?;
    let mut sequence = Sequence::lock(conn).await?;
    for row in idle {
        let mut row = DownloadRow::read(&row)?;
        let download = &mut row.download;
        let Some(delivery) = lost.get(&download.id) else { continue };
        download.updated = now;
        let (kind, facts) = if download.acked >= download.total && download.total > 0 {
            // Every byte has arrived; only the end of the delivery was not written.
            download.state = DownloadState::Completed;
            download.completed = Some(now);
            download.files_done = download.files;
            (EventKind::Completed, DeliveryFacts::default())
        } else {
            download.state = DownloadState::Aborted;
            (EventKind::Aborted, delivery.facts())
        };
        let endpoints = &context.options.endpoints;
        events.push(NewEvent::about_download(sequence.take(), kind, download, now, &facts, endpoints));
        row.write(&mut rows);
    }
    if rows.is_empty() {
        return Ok(false);
    }
    conn.run(&UPDATE_DOWNLOADS, &[rows.into()]).await?;
    insert_events(conn, &events).await
}

impl LostDelivery {
    fn facts(&self) -> DeliveryFacts {
        DeliveryFacts {
            ranges: self.end.map(|end| std::iter::once(self.first..end).collect()),
            at: Some(self.reached),
            sent: Some(self.sent),
            reason: Some("the server crashed".into()),
            transport: None,
        }
    }
}
