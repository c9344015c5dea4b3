//! What came out of a batch, written: one statement for all rows of a kind, because each statement costs two changes of
//! threads (SQLite) or a round trip (PostgreSQL).

use std::collections::HashMap;
use std::sync::Arc;

use serde::Serialize;

use super::{Batch, Done, Left, Work};
use crate::db::download_row::UPSERT;
use crate::db::event::{insert_events, other_event};
use crate::db::id;
use crate::db::sql::{Arg, Conn, Rows};
use crate::model::{ContentKey, Kind, ranges};
use crate::write::delivery::Place;

/// A link, as its event tells of it.
#[derive(Serialize)]
struct LinkData<'a> {
    id: &'a str,
    recipient: Option<&'a str>,
    receipts: i64,
    max_downloads: Option<u32>,
}

impl Batch<'_> {
    pub(super) async fn store(mut self, conn: &mut Conn, number: i64) -> Result<Done, sqlx::Error> {
        self.store_downloads(conn).await?;
        self.store_fragments(conn).await?;
        let begun = self.store_deliveries(conn).await?;
        let links = self.store_receipts(conn).await?;
        self.store_contents(conn).await?;
        let sql = "INSERT INTO instances (id, beat, batch) VALUES ($1, CLOCK, $2) \
                   ON CONFLICT (id) DO UPDATE SET beat = excluded.beat, batch = excluded.batch";
        conn.run(sql, &[self.context.presence.instance.as_str().into(), Arg::Int(number)]).await?;
        let sends = insert_events(conn, &self.events).await?;
        Ok(Done {
            begun,
            noted: self.noted,
            changed: self
                .works
                .into_iter()
                .filter(|work| work.dirty)
                .map(|work| work.stored.download)
                .collect(),
            links,
            sends,
            contents: self.contents.into_keys().collect(),
        })
    }

    async fn store_downloads(&mut self, conn: &mut Conn) -> Result<(), sqlx::Error> {
        let mut rows = Rows::default();
        for work in self.works.iter_mut().filter(|work| work.dirty) {
            work.stored.fragments = if work.stored.download.completed.is_some() {
                0
            } else {
                work.stored.fragments + work.now.len() - work.loaded.len()
            };
            work.stored.write(&mut rows);
        }
        if !rows.is_empty() {
            conn.run(UPSERT, &[rows.arg()]).await?;
        }
        Ok(())
    }

    async fn store_fragments(&mut self, conn: &mut Conn) -> Result<(), sqlx::Error> {
        let (mut cleared, mut gone, mut new) = (Rows::default(), Rows::default(), Rows::default());
        for Work { stored, known, loaded, now, .. } in self.works.iter().filter(|work| work.dirty) {
            let download = &stored.download;
            if download.completed.is_some() {
                if *known {
                    cleared.row().put(&download.id);
                }
                continue;
            }
            for range in loaded.iter().filter(|range| !now.has(range)) {
                gone.row().put(&download.id).int(range.start);
            }
            let before: std::collections::HashSet<_> = loaded.iter().collect();
            for range in now.iter().filter(|range| !before.contains(range)) {
                new.row().put(&download.id).int(range.start).int(range.end);
            }
        }
        if !cleared.is_empty() {
            let sql = "DELETE FROM fragments WHERE download IN (SELECT k.value->>0 FROM EACH($1))";
            conn.run(sql, &[cleared.arg()]).await?;
        }
        if !gone.is_empty() {
            let sql = "DELETE FROM fragments WHERE (download, first) IN \
                       (SELECT k.value->>0, CAST(k.value->>1 AS bigint) FROM EACH($1))";
            conn.run(sql, &[gone.arg()]).await?;
        }
        if !new.is_empty() {
            let sql = "INSERT INTO fragments (download, first, past) \
                       SELECT k.value->>0, CAST(k.value->>1 AS bigint), CAST(k.value->>2 AS bigint) FROM EACH($1)";
            conn.run(sql, &[new.arg()]).await?;
        }
        Ok(())
    }

    /// Rows of those deliveries that began or went on, and did not end in this batch.
    async fn store_deliveries(
        &mut self,
        conn: &mut Conn,
    ) -> Result<Vec<(Arc<crate::write::delivery::Delivery>, Place)>, sqlx::Error> {
        let noted: HashMap<usize, usize> =
            self.noted.iter().enumerate().map(|(at, (delivery, _))| (Self::here(delivery), at)).collect();
        let (mut rows, mut begun) = (Rows::default(), Vec::new());
        for (here, delivery) in &self.rows {
            let Some(work) = self.work_of(delivery) else { continue };
            let download = &self.works[work].stored.download;
            let row = delivery.place().row.clone().unwrap_or_else(|| id::new("", delivery.began).into());
            let first = delivery.carries.first().map_or(0, |range| range.start);
            let acked = noted.get(here).map_or(&[][..], |at| &self.noted[*at].1);
            let past = match &delivery.carries[..] {
                [range] => Some(range.end),
                _ => None,
            };
            rows.row().put(&*row).put(&download.id).put(&self.context.presence.instance).int(first);
            rows.int(ranges::reached(&delivery.carries, acked)).put(&past).int(delivery.progress().sent);
            rows.put(&Self::now().as_microsecond());
            let place = Place { download: Some(download.id.as_str().into()), row: Some(row) };
            begun.push((Arc::clone(delivery), place));
        }
        for Left { orphan, work, first, sent } in &self.left {
            let download = &self.works[*work].stored.download;
            if download.completed.is_none() {
                rows.row().put(&orphan.id).put(&download.id).put(&None::<String>).int(*first);
                rows.int(orphan.reached)
                    .put(&Some(orphan.past))
                    .int(*sent)
                    .put(&Self::now().as_microsecond());
            }
        }
        if !rows.is_empty() {
            let sql = "INSERT INTO deliveries (id, download, instance, first, reached, past, sent, updated) \
                       SELECT k.value->>0, k.value->>1, k.value->>2, CAST(k.value->>3 AS bigint), \
                           CAST(k.value->>4 AS bigint), CAST(k.value->>5 AS bigint), CAST(k.value->>6 AS bigint), \
                           CAST(k.value->>7 AS bigint) \
                       FROM EACH($1) WHERE true \
                       ON CONFLICT (id) DO UPDATE SET instance = excluded.instance, reached = excluded.reached, \
                           sent = excluded.sent, updated = excluded.updated";
            conn.run(sql, &[rows.arg()]).await?;
        }
        let mut gone = Rows::default();
        for id in &self.gone {
            gone.row().put(id);
        }
        if !gone.is_empty() {
            let sql = "DELETE FROM deliveries WHERE id IN (SELECT k.value->>0 FROM EACH($1))";
            conn.run(sql, &[gone.arg()]).await?;
        }
        let mut closed = Rows::default();
        for id in &self.closed {
            closed.row().put(id);
        }
        if !closed.is_empty() {
            let sql = "DELETE FROM deliveries WHERE instance IS NULL \
                       AND download IN (SELECT k.value->>0 FROM EACH($1))";
            conn.run(sql, &[closed.arg()]).await?;
        }
        Ok(begun)
    }

    /// Counts receipts of links; whoever makes a link's last one tells so.
    async fn store_receipts(&mut self, conn: &mut Conn) -> Result<Vec<(String, u32)>, sqlx::Error> {
        if self.receipts.is_empty() {
            return Ok(Vec::new());
        }
        let mut rows = Rows::default();
        let mut sorted: Vec<_> = self.receipts.iter().collect();
        // Locked in one order by all nodes.
        sorted.sort_unstable();
        for (link, (count, _)) in sorted {
            rows.row().put(link).put(count);
        }
        let sql = "INSERT INTO links (id, receipts, exhausted) \
                   SELECT k.value->>0, CAST(k.value->>1 AS bigint), 0 FROM EACH($1) WHERE true \
                   ON CONFLICT (id) DO UPDATE SET receipts = links.receipts + excluded.receipts \
                   RETURNING id, receipts, exhausted";
        let mut links = Vec::new();
        let mut exhausted = Rows::default();
        for row in conn.rows(sql, &[rows.arg()]).await? {
            let (link, receipts, told) = (row.text(0)?, row.int(1)?, row.int(2)? != 0);
            let most = self.receipts.get(&link).and_then(|(_, most)| *most);
            if !told && most.is_some_and(|most| receipts >= i64::from(most)) {
                exhausted.row().put(&link);
                let recipient = self
                    .changes
                    .iter()
                    .map(|change| &change.delivery().opening)
                    .find(|opening| opening.link.as_ref().is_some_and(|used| used.id == link))
                    .map(|opening| opening.recipient.id.as_str());
                let data = LinkData { id: &link, recipient, receipts, max_downloads: most };
                let endpoints = &self.context.options.endpoints;
                self.events.push(other_event(Kind::LinkExhausted, "link", &data, Self::now(), endpoints));
            }
            links.push((link, u32::try_from(receipts).unwrap_or(u32::MAX)));
        }
        if !exhausted.is_empty() {
            let sql = "UPDATE links SET exhausted = 1 WHERE id IN (SELECT k.value->>0 FROM EACH($1))";
            conn.run(sql, &[exhausted.arg()]).await?;
        }
        Ok(links)
    }

    async fn store_contents(&mut self, conn: &mut Conn) -> Result<(), sqlx::Error> {
        let mut rows = Rows::default();
        for (content, parts) in &self.contents {
            rows.row().put(&ContentKey(*content).to_string()).put(parts);
        }
        if !rows.is_empty() {
            let sql = "INSERT INTO contents (content, parts) SELECT k.value->>0, k.value->>1 FROM EACH($1) WHERE true \
                       ON CONFLICT (content) DO NOTHING";
            conn.run(sql, &[rows.arg()]).await?;
        }
        Ok(())
    }
}
