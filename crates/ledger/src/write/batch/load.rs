//! Loads what a batch touches: downloads, their acknowledged ranges around the new ones, and their
//! deliveries under way.

use std::collections::{HashMap, HashSet};

use super::{
    ActiveDelivery, Batch, BatchedDownload, Generations, MAX_UNACKED, MAX_UNCHECKPOINTED, UnconfirmedTail,
};
use crate::db::connection::{Arg, Conn};
use crate::db::download_row::{DownloadRow, download_columns};
use crate::db::rows::Rows;
use crate::db::statement::{Statement, statements};
use crate::model::ranges::{self, Fragments};
use crate::model::{ContentKey, DeliveryOutcome};
use crate::write::queue::DeliveryChange;

statements! {
    /// Locks rows in the order of their ids, so that two nodes cannot deadlock. $1: ids; $2:
    /// recipients and contents whose incomplete download is wanted.
    LOCK_DOWNLOADS = Statement::new(concat!(
        "SELECT ", download_columns!(), " FROM downloads d WHERE d.id IN (\
             SELECT {{text 0}} FROM {{rows $1}} \
             UNION SELECT o.id FROM {{rows $2}} JOIN downloads o \
                 ON o.recipient = {{text 0}} AND o.content = {{text 1}} AND o.state <> 3) \
         ORDER BY d.id {{for update}}",
    ));
    LAST_GENERATIONS = Statement::new(
        "SELECT {{text 0}}, {{text 1}}, coalesce((SELECT max(d.generation) FROM downloads d \
             WHERE d.recipient = {{text 0}} AND d.content = {{text 1}}), 0) \
         FROM {{rows $1}}",
    );
    /// Deliveries of the downloads $1, and whether their process has ended. $2: this process; $3: 1
    /// if locks tell.
    DELIVERIES = Statement::new(
        "SELECT d.id, d.download, d.instance, d.reached, d.past, CAST(CASE \
             WHEN d.instance <> $2 AND $3 = 1 \
                 AND EXISTS (SELECT 1 FROM instances i WHERE i.id = d.instance AND {{gone i}}) \
             THEN 1 ELSE 0 END AS bigint) FROM deliveries d \
         WHERE d.download IN (SELECT {{text 0}} FROM {{rows $1}})",
    );
    /// Deliveries of a process that has ended belong to no process.
    pub(crate) DISOWN_DELIVERIES = Statement::new(
        "UPDATE deliveries SET instance = NULL WHERE id IN (SELECT {{text 0}} FROM {{rows $1}})",
    );
    /// The ranges that new ones touch: the one before each, and those that begin within it. Rows of
    /// $1: download, start, end.
    TOUCHED_FRAGMENTS = Statement::new(
        "SELECT DISTINCT f.download, f.first, f.past FROM {{rows $1}} JOIN fragments f \
             ON f.download = {{text 0}} \
             AND f.first >= coalesce((SELECT max(b.first) FROM fragments b \
                 WHERE b.download = {{text 0}} AND b.first <= {{int 1}}), 0) \
             AND f.first <= {{int 2}}",
    );
}

impl Batch<'_> {
    pub(super) async fn load(&mut self, conn: &mut Conn) -> Result<(), sqlx::Error> {
        self.load_downloads(conn).await?;
        self.load_deliveries(conn).await?;
        self.load_fragments(conn).await
    }

    async fn load_downloads(&mut self, conn: &mut Conn) -> Result<(), sqlx::Error> {
        let (mut ids, mut keys) = (Rows::default(), Rows::default());
        let mut seen = HashSet::new();
        for change in self.changes {
            let delivery = change.delivery();
            let key = Self::key(delivery);
            if self.by_key.insert(key, Generations::default()).is_none() {
                keys.row().put(key.recipient).put(&delivery.info.content.key.to_string());
            }
            if let Some(id) = delivery.rows().download.clone()
                && seen.insert(id.clone())
            {
                ids.row().put(&*id);
            }
        }
        let keys = Arg::from(keys);
        let rows = conn.rows(&LOCK_DOWNLOADS, &[ids.into(), keys.clone()]).await?;
        let mut incomplete = HashMap::new();
        for row in &rows {
            let row = DownloadRow::read(row)?;
            let download = &row.download;
            let index = self.downloads.len();
            if download.completed.is_none() {
                incomplete.insert((download.recipient.clone(), download.content.clone()), index);
            }
            self.by_id.insert(download.id.clone(), index);
            self.downloads.push(BatchedDownload::new(row, true));
        }
        let mut last = HashMap::new();
        for row in conn.rows(&LAST_GENERATIONS, &[keys]).await? {
            last.insert((row.text(0)?, row.text(1)?), u32::try_from(row.int(2)?).unwrap_or(u32::MAX));
        }
        for (key, generations) in &mut self.by_key {
            let key = (key.recipient.to_owned(), ContentKey(key.content).to_string());
            generations.incomplete = incomplete.get(&key).copied();
            generations.last = last.get(&key).copied().unwrap_or(0);
        }
        Ok(())
    }

    /// The loaded download that a change may belong to: its own, or the incomplete one of its key.
    fn candidate(&self, change: &DeliveryChange) -> Option<usize> {
        let delivery = change.delivery();
        self.download_of(delivery).or_else(|| self.by_key.get(&Self::key(delivery))?.incomplete)
    }

    /// Loads other deliveries where they matter: those under way, when a delivery breaks off;
    /// tails, when a delivery begins in the middle.
    async fn load_deliveries(&mut self, conn: &mut Conn) -> Result<(), sqlx::Error> {
        let mut wanted = HashSet::new();
        for change in self.changes {
            let matters = match change {
                DeliveryChange::Begin(delivery) => {
                    matches!(&delivery.carries[..], [range] if range.start > 0)
                }
                DeliveryChange::Checkpoint(_) => false,
                DeliveryChange::End(_, end, _) => !matches!(end.outcome, DeliveryOutcome::Completed { .. }),
            };
            if matters && let Some(index) = self.candidate(change) {
                wanted.insert(index);
            }
        }
        if wanted.is_empty() {
            return Ok(());
        }
        let mut rows = Rows::default();
        for index in wanted {
            rows.row().put(&self.downloads[index].row.download.id);
        }
        let presence = &self.context.presence;
        let reliable = i64::from(presence.locks_are_reliable());
        let args = [rows.into(), presence.instance.as_str().into(), Arg::Int(reliable)];
        let mut disowned = Rows::default();
        for row in conn.rows(&DELIVERIES, &args).await? {
            let (id, download) = (row.text(0)?, row.text(1)?);
            let Some(index) = self.by_id.get(&download) else { continue };
            let batched = &mut self.downloads[*index];
            let gone = row.int(5)? != 0;
            if gone {
                disowned.row().put(&id);
            }
            if row.maybe_text(2)?.is_some() && !gone {
                batched.active.insert(ActiveDelivery::Recorded(id));
            } else if let Some(end) = row.maybe_int(4)? {
                let reached = u64::try_from(row.int(3)?).unwrap_or(0);
                let end = u64::try_from(end).unwrap_or(0).min(reached.saturating_add(MAX_UNCHECKPOINTED));
                batched.tails.push(UnconfirmedTail { id, reached, end });
            }
        }
        if !disowned.is_empty() {
            conn.run(&DISOWN_DELIVERIES, &[disowned.into()]).await?;
        }
        Ok(())
    }

    async fn load_fragments(&mut self, conn: &mut Conn) -> Result<(), sqlx::Error> {
        let mut wanted: HashMap<usize, Vec<_>> = HashMap::new();
        for change in self.changes {
            let Some(index) = self.candidate(change) else { continue };
            let batched = &self.downloads[index];
            if batched.row.fragments == 0 {
                continue;
            }
            let delivery = change.delivery();
            let ranges = wanted.entry(index).or_default();
            match change {
                DeliveryChange::Begin(_) => {
                    ranges.extend(batched.tails.iter().filter_map(|tail| tail.confirmed_by(delivery)));
                }
                DeliveryChange::Checkpoint(_) | DeliveryChange::End(..) => {
                    let acked = &delivery.progress().acked;
                    ranges.extend(acked.iter().cloned());
                    // The tail that the recipient may confirm within this batch.
                    if let [carried] = &delivery.carries[..] {
                        let reached = ranges::reached(&delivery.carries, acked);
                        let end = carried.end.min(reached + MAX_UNACKED);
                        ranges.extend((reached < end).then_some(reached..end));
                    }
                }
            }
        }
        let mut rows = Rows::default();
        for (index, ranges) in wanted {
            let download = &self.downloads[index].row.download;
            for range in ranges::normalize(ranges, download.total) {
                rows.row().put(&download.id).put(&range.start).put(&range.end);
            }
        }
        if rows.is_empty() {
            return Ok(());
        }
        for row in conn.rows(&TOUCHED_FRAGMENTS, &[rows.into()]).await? {
            let Some(index) = self.by_id.get(&row.text(0)?) else { continue };
            let batched = &mut self.downloads[*index];
            let range = u64::try_from(row.int(1)?).unwrap_or(0)..u64::try_from(row.int(2)?).unwrap_or(0);
            batched.fragments.insert_disjoint(&range);
            batched.loaded.push(range);
        }
        Ok(())
    }
}

impl BatchedDownload {
    pub(super) fn new(row: DownloadRow, exists: bool) -> BatchedDownload {
        BatchedDownload {
            row,
            exists,
            changed: !exists,
            loaded: Vec::new(),
            fragments: Fragments::default(),
            active: HashSet::new(),
            tails: Vec::new(),
            has_event: false,
        }
    }
}
