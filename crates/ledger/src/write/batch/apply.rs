//! One change after the other, in memory.

use std::ops::Range;
use std::sync::Arc;

use jiff::Timestamp;

use super::{Batch, HELD_BACK, Left, MOST_FRAGMENTS, MOST_ORPHANS, MOST_PARTS, Orphan, Work};
use crate::db::download_row::{Stored, clean};
use crate::db::event::{About, Told};
use crate::db::id;
use crate::model::{Assurance, Closing, ContentInfo, Download, Kind, Outcome, State, ranges};
use crate::write::delivery::Delivery;
use crate::write::queue::Change;

impl Orphan {
    /// What the recipient vouches for by going on where `delivery` begins: it has what was sent to it until then.
    pub(super) fn gap(&self, delivery: &Delivery) -> Option<Range<u64>> {
        match &delivery.carries[..] {
            [range] if self.reached < range.start && range.start <= self.past => {
                Some(self.reached..range.start)
            }
            _ => None,
        }
    }
}

impl<'a> Batch<'a> {
    pub(super) fn apply(&mut self, change: &'a Change) {
        match change {
            Change::Begin(delivery) => self.begin(delivery),
            Change::Checkpoint(delivery) => self.checkpoint(delivery),
            Change::End(delivery, closing, at) => self.end(delivery, closing, *at),
        }
    }

    fn begin(&mut self, delivery: &'a Arc<Delivery>) {
        let index = match self.by_key.get(&Self::key(delivery)).and_then(|generations| generations.open) {
            Some(open) => open,
            None => self.next_generation(delivery),
        };
        self.places.insert(Self::here(delivery), index);
        self.rows.insert(Self::here(delivery), delivery);
        let work = &mut self.works[index];
        work.under_way.insert(Self::name(delivery));
        let download = &mut work.stored.download;
        if download.state != State::Open {
            download.state = State::Open;
            download.updated = delivery.began;
            work.dirty = true;
        }
        if delivery.opening.assurance == Assurance::Proxy && download.assurance == Assurance::Peer {
            download.assurance = Assurance::Proxy;
            work.dirty = true;
        }
        let (vouched, kept) = work.orphans.drain(..).partition(|orphan| orphan.gap(delivery).is_some());
        work.orphans = kept;
        for orphan in Vec::<Orphan>::from_iter(vouched) {
            let gap = orphan.gap(delivery).expect("it was chosen for it");
            let before = work.stored.download.acked;
            work.merge(&delivery.opening.content, &[gap]);
            work.stored.download.inferred += work.stored.download.acked - before;
            work.stored.download.updated = delivery.began;
            self.gone.push(orphan.id);
        }
    }

    /// Makes the next download of the delivery's key.
    fn next_generation(&mut self, delivery: &'a Delivery) -> usize {
        let index = self.works.len();
        let generations = self.by_key.entry(Self::key(delivery)).or_default();
        generations.last += 1;
        generations.open = Some(index);
        let stored = Stored::first(delivery, generations.last);
        self.by_id.insert(stored.download.id.clone(), index);
        self.tell(Kind::Started, &stored.download, delivery.began, About::default());
        self.works.push(Work::new(stored, false));
        index
    }

    fn checkpoint(&mut self, delivery: &'a Arc<Delivery>) {
        let acked = delivery.note();
        let Some(index) = self.work_of(delivery) else { return };
        let work = &mut self.works[index];
        // It is not completed by this, even if nothing is missing any more: that says the end, which comes soon.
        if work.stored.download.state != State::Completed {
            let before = work.stored.download.acked;
            work.merge(&delivery.opening.content, &acked);
            work.stored.download.updated = Self::now();
            work.dirty = true;
            self.progressed(index, before);
        }
        self.rows.insert(Self::here(delivery), delivery);
        self.noted.push((Arc::clone(delivery), acked));
    }

    fn end(&mut self, delivery: &'a Arc<Delivery>, closing: &Closing, at: Timestamp) {
        let Some(index) = self.work_of(delivery) else { return };
        let acked = delivery.progress().acked.clone();
        if let Some(row) = &delivery.place().row {
            self.gone.push(row.to_string());
        }
        self.rows.remove(&Self::here(delivery));
        self.remember_parts(&delivery.opening.content);
        let length = delivery.opening.content.length;
        let whole = length == 0 || matches!(&acked[..], [all] if all.start == 0 && all.end == length);
        let alone = whole && matches!(closing.outcome, Outcome::Completed { .. });
        let work = &mut self.works[index];
        work.under_way.remove(&Self::name(delivery));
        if work.stored.download.state == State::Completed {
            // It has been closed meanwhile by somebody else. A delivery that carried everything is another download;
            // unless its bytes were counted for that one already.
            if alone && (work.stored.alone || delivery.progress().noted_bytes == 0) {
                let open = self.by_key.get(&Self::key(delivery)).and_then(|generations| generations.open);
                let index = self.next_generation(delivery);
                self.by_key.entry(Self::key(delivery)).or_default().open = open;
                self.close(index, delivery, closing, at, true);
            }
            return;
        }
        let before = work.stored.download.acked;
        work.dirty = true;
        work.stored.download.deliveries += 1;
        work.stored.download.updated = at;
        work.merge(&delivery.opening.content, &acked);
        let download = &mut work.stored.download;
        if download.acked >= length && (length > 0 || alone) {
            self.close(index, delivery, closing, at, alone);
            return;
        }
        let (kind, state, reason) = match &closing.outcome {
            // One part has come to its end, others are missing: nothing to tell.
            Outcome::Completed { .. } => return self.progressed(index, before),
            Outcome::Aborted(reason) => (Kind::Aborted, State::Aborted, reason),
            Outcome::Failed(reason) => (Kind::Failed, State::Failed, reason),
        };
        self.progressed(index, before);
        self.leave(index, delivery, closing, &acked);
        let work = &mut self.works[index];
        if !work.under_way.is_empty() {
            return;
        }
        work.stored.download.state = state;
        let about = About {
            ranges: Some(delivery.carries.iter().take(16).cloned().collect()),
            at: Some(ranges::reached(&delivery.carries, &acked)),
            sent: Some(closing.sent),
            reason: Some(clean(reason, 512).into_owned()),
            transport: closing.transport,
        };
        let download = work.stored.download.clone();
        self.tell(kind, &download, at, about);
    }

    /// Keeps how far a delivery got that was cut short, in case that its recipient has read on and goes on there.
    fn leave(&mut self, index: usize, delivery: &'a Delivery, closing: &Closing, acked: &[Range<u64>]) {
        let [range] = &delivery.carries[..] else { return };
        let reached = ranges::reached(&delivery.carries, acked);
        let past = range.end.min(range.start.saturating_add(closing.sent)).min(reached + HELD_BACK);
        if past <= reached {
            return;
        }
        let work = &mut self.works[index];
        if work.orphans.len() >= MOST_ORPHANS {
            self.gone.push(work.orphans.remove(0).id);
        }
        let orphan = Orphan { id: id::new("", delivery.began), reached, past };
        work.orphans.push(orphan.clone());
        self.left.push(Left { orphan, work: index, first: range.start, sent: closing.sent });
    }

    /// Makes a receipt of a download.
    fn close(&mut self, index: usize, delivery: &'a Delivery, closing: &Closing, at: Timestamp, alone: bool) {
        let work = &mut self.works[index];
        work.now.clear();
        work.stored.alone = alone;
        work.dirty = true;
        let download = &mut work.stored.download;
        download.deliveries = download.deliveries.max(1);
        download.state = State::Completed;
        download.acked = download.total;
        download.files_done = download.files;
        download.confirmed = matches!(closing.outcome, Outcome::Completed { confirmed: true });
        download.updated = at;
        download.completed = Some(at);
        if work.known {
            self.closed.push(download.id.clone());
        }
        let link = delivery.opening.link.as_ref();
        let of_link = link.map(|link| (clean(&link.id, 128).into_owned(), link.max_downloads));
        if let Some((link, most)) = of_link.or_else(|| Some((download.link.clone()?, None))) {
            let entry = self.receipts.entry(link).or_insert((0, most));
            entry.0 += 1;
            entry.1 = most.or(entry.1);
        }
        let generations = self.by_key.entry(Self::key(delivery)).or_default();
        if generations.open == Some(index) {
            generations.open = None;
        }
        let download = download.clone();
        self.tell(Kind::Completed, &download, at, About { transport: closing.transport, ..About::default() });
    }

    /// Tells that another tenth has arrived, if anybody wants to know.
    fn progressed(&mut self, index: usize, before: u64) {
        let download = &self.works[index].stored.download;
        let tenth = |bytes: u64| u128::from(bytes) * 10 / u128::from(download.total.max(1));
        let (before, now) = (tenth(before), tenth(download.acked));
        if self.context.options.progress && now > before && now < 10 {
            let download = download.clone();
            self.tell(Kind::Progress, &download, download.updated, About::default());
        }
    }

    fn tell(&mut self, kind: Kind, download: &Download, at: Timestamp, about: About) {
        self.events.push(Told::new(kind, download, at, &about, &self.context.options.endpoints));
    }

    /// Keeps the names of an archive's files, once.
    fn remember_parts(&mut self, content: &ContentInfo) {
        let Some(parts) = &content.parts else { return };
        let key = content.key.0;
        if parts.count() > MOST_PARTS
            || self.known_contents.contains(&key)
            || self.contents.contains_key(&key)
        {
            return;
        }
        let list: Vec<_> = (0..parts.count())
            .map(|index| parts.part(index))
            .map(|part| (clean(&part.name, 4096).into_owned(), part.size, part.range.start, part.range.end))
            .collect();
        let json = serde_json::to_string(&list).expect("plain values, into memory");
        self.contents.insert(key, json);
    }
}

impl Work {
    /// Merges `ranges`, which lie within the content.
    fn merge(&mut self, content: &ContentInfo, ranges: &[Range<u64>]) {
        let parts = content.parts.as_deref();
        for range in ranges {
            let fragments = self.stored.fragments + self.now.len() - self.loaded.len();
            if fragments >= MOST_FRAGMENTS && !self.now.touches(range) {
                continue;
            }
            let merged = self.now.merge(range);
            let download = &mut self.stored.download;
            if merged.gained == 0 {
                continue;
            }
            download.acked += merged.gained;
            if let (Some(parts), Some(done)) = (parts, &mut download.files_done) {
                let before: u64 = merged.absorbed.iter().map(|range| parts.within(range)).sum();
                *done += parts.within(&merged.union).saturating_sub(before);
            }
            self.dirty = true;
        }
    }
}

impl Stored {
    /// A download that has just begun.
    fn first(delivery: &Delivery, generation: u32) -> Stored {
        let opening = &delivery.opening;
        let content = &opening.content;
        let text = |text: &str, most| clean(text, most).into_owned();
        let files = content.parts.as_ref().map(|parts| parts.count());
        let download = Download {
            id: id::new("dl_", delivery.began),
            generation,
            state: State::Open,
            content: content.key.to_string(),
            etag: text(&content.etag, 256),
            name: text(&content.name, 1024),
            path: text(&content.path, 4096),
            transfer: content.transfer.as_deref().map(|transfer| text(transfer, 256)),
            // As the key has it: it was made clean when the delivery began.
            recipient: opening.recipient.id.clone(),
            weak: opening.recipient.weak,
            link: opening.link.as_ref().map(|link| text(&link.id, 128)),
            client: opening.client.map(|client| client.to_string()),
            user_agent: opening.user_agent.as_deref().map(|agent| text(agent, 256)),
            total: content.length,
            acked: 0,
            inferred: 0,
            files_done: files.map(|_| 0),
            files,
            deliveries: 0,
            assurance: opening.assurance,
            confirmed: false,
            started: delivery.began,
            updated: delivery.began,
            completed: None,
        };
        Stored { download, alone: false, fragments: 0 }
    }
}
