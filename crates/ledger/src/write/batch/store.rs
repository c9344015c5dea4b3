//! Stores the result of a batch. One statement writes all rows of a table, because each statement
//! costs two switches of threads (SQLite) or a round trip (PostgreSQL).

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use jiff::Timestamp;
use serde::Serialize;

use super::{Batch, BatchedDownload, CommittedBatch, CutDelivery};
use crate::db::connection::{Arg, Conn};
use crate::db::download_row::{INSERT_DOWNLOADS, UPDATE_DOWNLOADS, clean};
use crate::db::event_row::{NewEvent, insert_events};
use crate::db::id;
use crate::db::rows::Rows;
use crate::db::statement::{Statement, statements};
use crate::model::{ContentKey, EventKind, ranges};
use crate::write::delivery::{DeliveryRows, TrackedDelivery};

statements! {
    UPSERT_INSTANCE = Statement::new(
        "INSERT INTO instances (id, beat, batch) VALUES ($1, {{now}}, $2) \
         ON CONFLICT (id) DO UPDATE SET beat = excluded.beat, batch = excluded.batch",
    );
    DELETE_ALL_FRAGMENTS = Statement::new(
        "DELETE FROM fragments WHERE download IN (SELECT {{text 0}} FROM {{rows $1}})",
    );
    DELETE_FRAGMENTS = Statement::new(
        "DELETE FROM fragments WHERE (download, first) IN (SELECT {{text 0}}, {{int 1}} FROM {{rows $1}})",
    );
    INSERT_FRAGMENTS = Statement::new(
        "INSERT INTO fragments (download, first, past) \
         {{insert $1}} {{text 0}}, {{int 1}}, {{int 2}} {{end}}",
    );
    UPSERT_DELIVERIES = Statement::new(
        "INSERT INTO deliveries (id, download, instance, first, reached, past, sent, updated) \
         {{insert $1}} {{text 0}}, {{text 1}}, {{text 2}}, {{int 3}}, {{int 4}}, {{int 5}}, {{int 6}}, {{int 7}} {{end}} \
         ON CONFLICT (id) DO UPDATE SET instance = excluded.instance, reached = excluded.reached, \
             sent = excluded.sent, updated = excluded.updated",
    );
    DELETE_DELIVERIES = Statement::new(
        "DELETE FROM deliveries WHERE id IN (SELECT {{text 0}} FROM {{rows $1}})",
    );
    /// Deletes the tails of downloads.
    DELETE_TAILS = Statement::new(
        "DELETE FROM deliveries WHERE instance IS NULL \
         AND download IN (SELECT {{text 0}} FROM {{rows $1}})",
    );
    COUNT_RECEIPTS = Statement::new(
        "INSERT INTO links (id, receipts, exhausted) \
         SELECT {{text 0}}, {{int 1}}, 0 FROM {{rows $1}} WHERE true \
         ON CONFLICT (id) DO UPDATE SET receipts = links.receipts + excluded.receipts \
         RETURNING id, receipts, exhausted",
    );
    MARK_EXHAUSTED = Statement::new(
        "UPDATE links SET exhausted = 1 WHERE id IN (SELECT {{text 0}} FROM {{rows $1}})",
    );
    INSERT_CONTENTS = Statement::new(
        "INSERT INTO contents (content, parts) SELECT {{text 0}}, {{text 1}} FROM {{rows $1}} WHERE true \
         ON CONFLICT (content) DO NOTHING",
    );
    /// $1 has each content once.
    ADD_COUNTS = Statement::new(
        "INSERT INTO counts (day, content, path, deliveries, completed, broken, bytes) \
         SELECT {{int 0}}, {{text 1}}, {{text 2}}, {{int 3}}, {{int 4}}, {{int 5}}, {{int 6}} \
         FROM {{rows $1}} WHERE true \
         ON CONFLICT (day, content) DO UPDATE SET path = excluded.path, \
             deliveries = counts.deliveries + excluded.deliveries, \
             completed = counts.completed + excluded.completed, \
             broken = counts.broken + excluded.broken, bytes = counts.bytes + excluded.bytes",
    );
}

/// Number of downloads that are written by one call: each is 2 KB of memory until then.
const DOWNLOADS_AT_ONCE: usize = 512;

/// The data of `link.exhausted`.
#[derive(Serialize)]
struct ExhaustedLink<'a> {
    id: &'a str,
    recipient: Option<&'a str>,
    receipts: i64,
    max_downloads: Option<u32>,
}

impl Batch<'_> {
    pub(super) async fn store(mut self, conn: &mut Conn, number: i64) -> Result<CommittedBatch, sqlx::Error> {
        self.store_downloads(conn).await?;
        self.store_fragments(conn).await?;
        let begun = self.store_deliveries(conn).await?;
        let links = self.store_receipts(conn).await?;
        self.store_contents(conn).await?;
        self.store_counts(conn).await?;
        let instance = self.context.presence.instance.as_str();
        conn.run(&UPSERT_INSTANCE, &[instance.into(), Arg::Int(number)]).await?;
        let has_sends = insert_events(conn, &self.events).await?;
        let changed = self.downloads.into_iter().filter(|batched| batched.changed);
        Ok(CommittedBatch {
            begun,
            checkpoints: self.checkpoints,
            changed: changed.map(|batched| batched.row.download).collect(),
            links,
            has_sends,
            events: self.kinds,
            contents: self.contents.into_keys().collect(),
        })
    }

    async fn store_downloads(&mut self, conn: &mut Conn) -> Result<(), sqlx::Error> {
        // Those that exist come first: a recipient has one incomplete download of a content.
        for (exists, statement) in [(true, UPDATE_DOWNLOADS), (false, INSERT_DOWNLOADS)] {
            let mut rows = Rows::default();
            for batched in self.downloads.iter_mut().filter(|of| of.changed && of.exists == exists) {
                let complete = batched.row.download.completed.is_some();
                batched.row.fragments = if complete { 0 } else { batched.fragment_count() };
                batched.row.write(&mut rows);
                if rows.len() >= DOWNLOADS_AT_ONCE {
                    conn.run(&statement, &[std::mem::take(&mut rows).into()]).await?;
                }
            }
            if !rows.is_empty() {
                conn.run(&statement, &[rows.into()]).await?;
            }
        }
        Ok(())
    }

    async fn store_fragments(&mut self, conn: &mut Conn) -> Result<(), sqlx::Error> {
        let (mut cleared, mut gone, mut new) = (Rows::default(), Rows::default(), Rows::default());
        for batched in self.downloads.iter().filter(|batched| batched.changed) {
            let BatchedDownload { row, exists, loaded, fragments, .. } = batched;
            let download = &row.download;
            if download.completed.is_some() {
                if *exists {
                    cleared.row().put(&download.id);
                }
                continue;
            }
            for range in loaded.iter().filter(|range| !fragments.contains(range)) {
                gone.row().put(&download.id).put(&range.start);
            }
            let before: HashSet<_> = loaded.iter().collect();
            for range in fragments.iter().filter(|range| !before.contains(range)) {
                new.row().put(&download.id).put(&range.start).put(&range.end);
            }
        }
        if !cleared.is_empty() {
            conn.run(&DELETE_ALL_FRAGMENTS, &[cleared.into()]).await?;
        }
        if !gone.is_empty() {
            conn.run(&DELETE_FRAGMENTS, &[gone.into()]).await?;
        }
        if !new.is_empty() {
            conn.run(&INSERT_FRAGMENTS, &[new.into()]).await?;
        }
        Ok(())
    }

    /// Stores the deliveries that are under way after this batch, and the tails of those that were
    /// cut short. Returns the rows of the former.
    async fn store_deliveries(
        &mut self,
        conn: &mut Conn,
    ) -> Result<Vec<(Arc<TrackedDelivery>, DeliveryRows)>, sqlx::Error> {
        let checkpoints: HashMap<u64, usize> =
            self.checkpoints.iter().enumerate().map(|(at, (delivery, _))| (delivery.number, at)).collect();
        let (mut rows, mut begun) = (Rows::default(), Vec::new());
        let now = Self::now().as_microsecond();
        for (number, delivery) in &self.under_way {
            let Some(index) = self.download_of(delivery) else { continue };
            let download = &self.downloads[index].row.download;
            let id = delivery.rows().delivery.clone().unwrap_or_else(|| id::new("", delivery.began).into());
            let first = delivery.carries.first().map_or(0, |range| range.start);
            let acked = checkpoints.get(number).map_or(&[][..], |at| &self.checkpoints[*at].1);
            let end = match &delivery.carries[..] {
                [range] => Some(range.end),
                _ => None,
            };
            rows.row().put(&*id).put(&download.id).put(&self.context.presence.instance).put(&first);
            rows.put(&ranges::reached(&delivery.carries, acked)).put(&end).put(&delivery.progress().sent);
            rows.put(&now);
            let stored = DeliveryRows { download: Some(download.id.as_str().into()), delivery: Some(id) };
            begun.push((Arc::clone(delivery), stored));
        }
        for CutDelivery { tail, download, first, sent } in &self.cut {
            let download = &self.downloads[*download].row.download;
            if download.completed.is_none() {
                rows.row().put(&tail.id).put(&download.id).put(&None::<String>).put(first);
                rows.put(&tail.reached).put(&tail.end).put(sent).put(&now);
            }
        }
        if !rows.is_empty() {
            conn.run(&UPSERT_DELIVERIES, &[rows.into()]).await?;
        }
        let deleted = ids(&self.deleted_deliveries);
        if !deleted.is_empty() {
            conn.run(&DELETE_DELIVERIES, &[deleted.into()]).await?;
        }
        let completed = ids(&self.completed);
        if !completed.is_empty() {
            conn.run(&DELETE_TAILS, &[completed.into()]).await?;
        }
        Ok(begun)
    }

    /// Counts receipts of links, and emits an event for each link that has reached its maximum. The
    /// node that counts the last receipt emits it.
    async fn store_receipts(&mut self, conn: &mut Conn) -> Result<Vec<(String, u32)>, sqlx::Error> {
        if self.receipts.is_empty() {
            return Ok(Vec::new());
        }
        let mut rows = Rows::default();
        let mut sorted: Vec<_> = self.receipts.iter().collect();
        // All nodes lock rows in the same order.
        sorted.sort_unstable();
        for (link, (count, _)) in sorted {
            rows.row().put(link).put(count);
        }
        let mut links = Vec::new();
        let mut exhausted = Rows::default();
        for row in conn.rows(&COUNT_RECEIPTS, &[rows.into()]).await? {
            let (link, receipts, reported) = (row.text(0)?, row.int(1)?, row.int(2)? != 0);
            let max = self.receipts.get(&link).and_then(|(_, max)| *max);
            if !reported && max.is_some_and(|max| receipts >= i64::from(max)) {
                exhausted.row().put(&link);
                let recipient = self
                    .changes
                    .iter()
                    .map(|change| &change.delivery().info)
                    .find(|info| info.link.as_ref().is_some_and(|used| used.id == link))
                    .map(|info| info.recipient.id.as_str());
                let data = ExhaustedLink { id: &link, recipient, receipts, max_downloads: max };
                let endpoints = &self.context.options.endpoints;
                let kind = EventKind::LinkExhausted;
                let seq = self.sequence.as_mut().expect("it is locked before rows are stored").take();
                self.events.push(NewEvent::about_other(seq, kind, &data, Self::now(), endpoints));
                self.kinds.push(kind);
            }
            links.push((link, u32::try_from(receipts).unwrap_or(u32::MAX)));
        }
        if !exhausted.is_empty() {
            conn.run(&MARK_EXHAUSTED, &[exhausted.into()]).await?;
        }
        Ok(links)
    }

    async fn store_contents(&mut self, conn: &mut Conn) -> Result<(), sqlx::Error> {
        let mut rows = Rows::default();
        for (content, parts) in &self.contents {
            rows.row().put(&ContentKey(*content).to_string()).put(parts);
        }
        if !rows.is_empty() {
            conn.run(&INSERT_CONTENTS, &[rows.into()]).await?;
        }
        Ok(())
    }

    async fn store_counts(&mut self, conn: &mut Conn) -> Result<(), sqlx::Error> {
        if self.counts.is_empty() {
            return Ok(());
        }
        let (mut rows, day) = (Rows::default(), day_number(Self::now()));
        let mut sorted: Vec<_> = self.counts.iter().collect();
        // All nodes lock rows in the same order.
        sorted.sort_unstable_by_key(|(content, _)| content.0);
        for (content, count) in sorted {
            let path = count.content.as_ref().map_or("".into(), |content| clean(&content.path, 4096));
            rows.row().put(&day).put(&content.to_string()).put(&path);
            rows.put(&count.deliveries).put(&count.completed).put(&count.broken).put(&count.bytes);
        }
        conn.run(&ADD_COUNTS, &[rows.into()]).await.map(drop)
    }
}

/// The number of a day in `counts`.
pub(crate) fn day_number(at: Timestamp) -> i64 {
    at.as_second().div_euclid(24 * 3600)
}

fn ids(ids: &[String]) -> Rows {
    let mut rows = Rows::default();
    for id in ids {
        rows.row().put(id);
    }
    rows
}
