//! What a batch touches: its downloads, their fragments around the new ranges, their deliveries under way.

use std::collections::{HashMap, HashSet};

use super::{Batch, HELD_BACK, Orphan, SINCE_CHECKPOINT, UnderWay, Work};
use crate::db::download_row::{COLUMNS, Stored};
use crate::db::sql::{Arg, Conn, Rows};
use crate::model::ranges::Fragments;
use crate::model::{Outcome, ranges};
use crate::write::queue::Change;

impl<'a> Batch<'a> {
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
            if self.by_key.insert(key, super::Generations::default()).is_none() {
                keys.row().put(key.recipient).put(&delivery.opening.content.key.to_string());
            }
            if let Some(id) = delivery.place().download.clone()
                && seen.insert(id.clone())
            {
                ids.row().put(&*id);
            }
        }
        let keys = keys.arg();
        // Rows are locked in the order of their ids, so that two nodes wait for each other only in one direction.
        let sql = format!(
            "SELECT {COLUMNS} FROM downloads d WHERE d.id IN (\
                SELECT k.value->>0 FROM EACH($1) \
                UNION SELECT o.id FROM EACH($2) JOIN downloads o \
                    ON o.recipient = k.value->>0 AND o.content = k.value->>1 AND o.state <> 3) \
             ORDER BY d.id FOR UPDATE"
        );
        let rows = conn.rows(&sql, &[ids.arg(), keys.clone()]).await?;
        let mut open = HashMap::new();
        for row in &rows {
            let stored = Stored::read(row)?;
            let index = self.works.len();
            if stored.download.completed.is_none() {
                open.insert((stored.download.recipient.clone(), stored.download.content.clone()), index);
            }
            self.by_id.insert(stored.download.id.clone(), index);
            self.works.push(Work::new(stored, true));
        }
        let last = "SELECT k.value->>0, k.value->>1, coalesce((SELECT max(d.generation) FROM downloads d \
                WHERE d.recipient = k.value->>0 AND d.content = k.value->>1), 0) \
             FROM EACH($1)";
        let mut lasts = HashMap::new();
        for row in conn.rows(last, &[keys]).await? {
            lasts.insert((row.text(0)?, row.text(1)?), u32::try_from(row.int(2)?).unwrap_or(u32::MAX));
        }
        for (key, generations) in &mut self.by_key {
            let name = (key.recipient.to_owned(), crate::model::ContentKey(key.content).to_string());
            generations.open = open.get(&name).copied();
            generations.last = lasts.get(&name).copied().unwrap_or(0);
        }
        Ok(())
    }

    /// The downloads with rows that a delivery may belong to: its own, or the one that is open.
    fn candidate(&self, change: &Change) -> Option<usize> {
        let delivery = change.delivery();
        self.work_of(delivery).or_else(|| self.by_key.get(&Self::key(delivery))?.open)
    }

    /// Who else is under way matters when a delivery breaks off; what crashed servers left, when one begins in the
    /// middle.
    async fn load_deliveries(&mut self, conn: &mut Conn) -> Result<(), sqlx::Error> {
        let mut wanted = HashSet::new();
        for change in self.changes {
            let matters = match change {
                Change::Begin(delivery) => matches!(&delivery.carries[..], [range] if range.start > 0),
                Change::Checkpoint(_) => false,
                Change::End(_, closing, _) => !matches!(closing.outcome, Outcome::Completed { .. }),
            };
            if matters && let Some(work) = self.candidate(change) {
                wanted.insert(work);
            }
        }
        if wanted.is_empty() {
            return Ok(());
        }
        let mut rows = Rows::default();
        for work in wanted {
            rows.row().put(&self.works[work].stored.download.id);
        }
        // Rows of processes that have ended are nobody's.
        let sql = "SELECT d.id, d.download, d.instance, d.reached, d.past, CAST(CASE \
                       WHEN d.instance <> $2 AND $3 = 1 \
                           AND EXISTS (SELECT 1 FROM instances i WHERE i.id = d.instance AND GONE) \
                       THEN 1 ELSE 0 END AS bigint) FROM deliveries d \
                   WHERE d.download IN (SELECT k.value->>0 FROM EACH($1))";
        let presence = &self.context.presence;
        let knows = i64::from(presence.knows_who_is_gone());
        let args = [rows.arg(), presence.instance.as_str().into(), Arg::Int(knows)];
        let mut left = Rows::default();
        for row in conn.rows(sql, &args).await? {
            let (id, download) = (row.text(0)?, row.text(1)?);
            let Some(work) = self.by_id.get(&download).map(|work| &mut self.works[*work]) else { continue };
            let gone = row.int(5)? != 0;
            if gone {
                left.row().put(&id);
            }
            if row.maybe_text(2)?.is_some() && !gone {
                work.under_way.insert(UnderWay::Row(id));
            } else if let Some(past) = row.maybe_int(4)? {
                let reached = u64::try_from(row.int(3)?).unwrap_or(0);
                let past = u64::try_from(past).unwrap_or(0).min(reached.saturating_add(SINCE_CHECKPOINT));
                work.orphans.push(Orphan { id, reached, past });
            }
        }
        if !left.is_empty() {
            let sql = "UPDATE deliveries SET instance = NULL WHERE id IN (SELECT k.value->>0 FROM EACH($1))";
            conn.run(sql, &[left.arg()]).await?;
        }
        Ok(())
    }

    /// The fragments that new ranges touch: the one before each, and those that begin within it.
    async fn load_fragments(&mut self, conn: &mut Conn) -> Result<(), sqlx::Error> {
        let mut wanted: HashMap<usize, Vec<_>> = HashMap::new();
        for change in self.changes {
            let Some(work) = self.candidate(change) else { continue };
            if self.works[work].stored.fragments == 0 {
                continue;
            }
            let delivery = change.delivery();
            let ranges = wanted.entry(work).or_default();
            match change {
                Change::Begin(_) => {
                    let orphans = &self.works[work].orphans;
                    ranges.extend(orphans.iter().filter_map(|orphan| orphan.gap(delivery)));
                }
                Change::Checkpoint(_) | Change::End(..) => {
                    let acked = &delivery.progress().acked;
                    ranges.extend(acked.iter().cloned());
                    // What the recipient may vouch for within this batch.
                    if let [carried] = &delivery.carries[..] {
                        let reached = ranges::reached(&delivery.carries, acked);
                        let past = carried.end.min(reached + HELD_BACK);
                        ranges.extend((reached < past).then_some(reached..past));
                    }
                }
            }
        }
        let mut rows = Rows::default();
        for (work, ranges) in wanted {
            let download = &self.works[work].stored.download;
            for range in ranges::tidy(ranges, download.total) {
                rows.row().put(&download.id).int(range.start).int(range.end);
            }
        }
        if rows.is_empty() {
            return Ok(());
        }
        let sql = "SELECT DISTINCT f.download, f.first, f.past FROM EACH($1) JOIN fragments f \
                     ON f.download = k.value->>0 \
                    AND f.first >= coalesce((SELECT max(b.first) FROM fragments b \
                            WHERE b.download = k.value->>0 AND b.first <= CAST(k.value->>1 AS bigint)), 0) \
                    AND f.first <= CAST(k.value->>2 AS bigint)";
        for row in conn.rows(sql, &[rows.arg()]).await? {
            let Some(work) = self.by_id.get(&row.text(0)?).map(|work| &mut self.works[*work]) else {
                continue;
            };
            let range = u64::try_from(row.int(1)?).unwrap_or(0)..u64::try_from(row.int(2)?).unwrap_or(0);
            work.now.insert_as_is(&range);
            work.loaded.push(range);
        }
        Ok(())
    }
}

impl Work {
    pub(super) fn new(stored: Stored, known: bool) -> Work {
        Work {
            stored,
            known,
            dirty: !known,
            loaded: Vec::new(),
            now: Fragments::default(),
            under_way: HashSet::new(),
            orphans: Vec::new(),
        }
    }
}
