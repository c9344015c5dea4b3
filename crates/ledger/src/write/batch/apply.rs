//! Applies changes of deliveries to downloads, one after the other, in memory.
//!
//! # The states of a download
//!
//! ```text
//!     begin     ┌────────┐   all bytes acknowledged    ┌───────────┐  begin
//!  ────────────▶│  Open  │────────────────────────────▶│ Completed │───────▶ the next generation
//!               └────────┘                             └───────────┘
//! end: aborted   │  ▲   │   end: failed
//!                ▼  │   ▼
//!      ┌─────────┐  │  ┌────────┐
//!      │ Aborted │──┴──│ Failed │   begin: back to Open
//!      └─────────┘     └────────┘
//! ```
//!
//! | state | change | next state | event |
//! |---|---|---|---|
//! | none, Completed | begin | Open, next generation | `download.started` |
//! | Aborted, Failed | begin | Open | |
//! | Open | end, all bytes acknowledged | Completed | `download.completed` |
//! | Open | end, aborted, no other under way | Aborted | `download.aborted` |
//! | Open | end, failed, no other under way | Failed | `download.failed` |
//! | Open | any other end, checkpoint | Open | `download.progress`, if enabled |
//! | Completed | end, whole content by itself | Completed, next generation | started, completed |
//! | Completed | any other end, checkpoint | Completed | |
//!
//! - A checkpoint never completes a download: the end of its delivery does, soon.
//! - When a server crashes, `upkeep::recovery` ends its deliveries: the download becomes Completed
//!   if no byte is missing, else Aborted.
//!
//! At most one generation of a key is not Completed; the index `downloads_open` enforces it.

use std::ops::Range;
use std::sync::Arc;

use jiff::Timestamp;

use super::{
    Batch, BatchedDownload, CutDelivery, MAX_FRAGMENTS, MAX_PARTS, MAX_TAILS, MAX_UNACKED, UnconfirmedTail,
};
use crate::db::download_row::{DownloadRow, TELLS_COMPLETED, TELLS_STARTED, clean};
use crate::db::event_row::{DeliveryFacts, NewEvent};
use crate::db::id;
use crate::model::ranges;
use crate::model::{
    Assurance, ContentInfo, DeliveryEnd, DeliveryOutcome, Download, DownloadState, EventKind,
};
use crate::write::delivery::TrackedDelivery;
use crate::write::queue::DeliveryChange;

/// Ranges of a delivery that its events list.
const EVENT_RANGES: usize = 16;

impl UnconfirmedTail {
    /// The bytes that the recipient confirms by resuming where `delivery` begins: it has received
    /// everything before that.
    pub(super) fn confirmed_by(&self, delivery: &TrackedDelivery) -> Option<Range<u64>> {
        match &delivery.carries[..] {
            [range] if self.reached < range.start && range.start <= self.end => {
                Some(self.reached..range.start)
            }
            _ => None,
        }
    }
}

impl<'a> Batch<'a> {
    pub(super) fn apply(&mut self, change: &'a DeliveryChange) {
        match change {
            DeliveryChange::Begin(delivery) => self.begin(delivery),
            DeliveryChange::Checkpoint(delivery) => self.checkpoint(delivery),
            DeliveryChange::End(delivery, end, at) => self.end(delivery, end, *at),
        }
    }

    fn begin(&mut self, delivery: &'a Arc<TrackedDelivery>) {
        let incomplete = self.by_key.get(&Self::key(delivery)).and_then(|generations| generations.incomplete);
        let index = incomplete.unwrap_or_else(|| self.begin_generation(delivery));
        self.begun.insert(delivery.number, index);
        self.under_way.insert(delivery.number, delivery);
        let batched = &mut self.downloads[index];
        batched.active.insert(Self::active(delivery));
        let download = &mut batched.row.download;
        if download.state != DownloadState::Open {
            download.state = DownloadState::Open;
            download.updated = delivery.began;
            batched.changed = true;
        }
        if delivery.info.assurance == Assurance::Proxy && download.assurance == Assurance::Peer {
            download.assurance = Assurance::Proxy;
            batched.row.began_direct = true;
            batched.changed = true;
        }
        let (confirmed, kept): (Vec<_>, Vec<_>) =
            batched.tails.drain(..).partition(|tail| tail.confirmed_by(delivery).is_some());
        batched.tails = kept;
        for tail in confirmed {
            let bytes = tail.confirmed_by(delivery).expect("the tail was selected for it");
            let before = batched.row.download.acked;
            batched.merge(&delivery.info.content, &[bytes]);
            batched.row.download.inferred += batched.row.download.acked - before;
            batched.row.download.updated = delivery.began;
            self.deleted_deliveries.push(tail.id);
        }
    }

    /// Begins the next download of the delivery's recipient and content.
    fn begin_generation(&mut self, delivery: &'a TrackedDelivery) -> usize {
        let index = self.downloads.len();
        let id = id::at_sequence("dl_", self.next_sequence());
        let generations = self.by_key.entry(Self::key(delivery)).or_default();
        generations.last += 1;
        generations.incomplete = Some(index);
        let row = new_download(id, delivery, generations.last);
        self.by_id.insert(row.download.id.clone(), index);
        self.downloads.push(BatchedDownload::new(row, false));
        self.emit(EventKind::Started, index, delivery.began, DeliveryFacts::default());
        index
    }

    fn checkpoint(&mut self, delivery: &'a Arc<TrackedDelivery>) {
        let acked = delivery.take_checkpoint();
        let Some(index) = self.download_of(delivery) else { return };
        let batched = &mut self.downloads[index];
        if batched.row.download.state != DownloadState::Completed {
            let before = batched.row.download.acked;
            batched.merge(&delivery.info.content, &acked);
            batched.row.download.updated = Self::now();
            batched.changed = true;
            self.emit_progress(index, before);
        }
        self.under_way.insert(delivery.number, delivery);
        self.checkpoints.push((Arc::clone(delivery), acked));
    }

    fn end(&mut self, delivery: &'a Arc<TrackedDelivery>, end: &DeliveryEnd, at: Timestamp) {
        let Some(index) = self.download_of(delivery) else { return };
        let acked = delivery.progress().acked.clone();
        if let Some(row) = &delivery.rows().delivery {
            self.deleted_deliveries.push(row.to_string());
        }
        self.under_way.remove(&delivery.number);
        self.keep_parts(&delivery.info.content);
        let length = delivery.info.content.length;
        let whole = length == 0 || matches!(&acked[..], [all] if all.start == 0 && all.end == length);
        let alone = whole && matches!(end.outcome, DeliveryOutcome::Completed { .. });
        let batched = &mut self.downloads[index];
        batched.active.remove(&Self::active(delivery));
        if batched.row.download.state == DownloadState::Completed {
            self.end_after_completion(index, delivery, end, at, alone);
            return;
        }
        let before = batched.row.download.acked;
        batched.changed = true;
        batched.row.download.deliveries += 1;
        batched.row.download.updated = at;
        batched.merge(&delivery.info.content, &acked);
        if batched.row.download.acked >= length && (length > 0 || alone) {
            self.complete(index, delivery, end, at, alone);
            return;
        }
        self.emit_progress(index, before);
        let (kind, state, reason) = match &end.outcome {
            // One range has arrived, others are missing.
            DeliveryOutcome::Completed { .. } => return,
            DeliveryOutcome::Aborted(reason) => (EventKind::Aborted, DownloadState::Aborted, reason),
            DeliveryOutcome::Failed(reason) => (EventKind::Failed, DownloadState::Failed, reason),
        };
        self.keep_tail(index, delivery, end, &acked);
        let batched = &mut self.downloads[index];
        if !batched.active.is_empty() {
            return;
        }
        batched.row.download.state = state;
        let facts = DeliveryFacts {
            ranges: Some(delivery.carries.iter().take(EVENT_RANGES).cloned().collect()),
            at: Some(ranges::reached(&delivery.carries, &acked)),
            sent: Some(end.sent),
            reason: Some(clean(reason, 512).into_owned()),
            transport: end.transport,
        };
        self.emit(kind, index, at, facts);
    }

    /// Ends a delivery whose download another one has completed. A delivery that carried the whole
    /// content is a download of its own, unless its bytes have counted for the other one.
    fn end_after_completion(
        &mut self,
        index: usize,
        delivery: &'a TrackedDelivery,
        end: &DeliveryEnd,
        at: Timestamp,
        alone: bool,
    ) {
        let uncounted = self.downloads[index].row.alone || delivery.progress().checkpoint_bytes == 0;
        if !(alone && uncounted) {
            return;
        }
        let key = Self::key(delivery);
        let incomplete = self.by_key.get(&key).and_then(|generations| generations.incomplete);
        let index = self.begin_generation(delivery);
        self.by_key.entry(key).or_default().incomplete = incomplete;
        self.complete(index, delivery, end, at, true);
    }

    /// Keeps how far a delivery got that was cut short: its recipient may have read on, and resume
    /// there.
    fn keep_tail(
        &mut self,
        index: usize,
        delivery: &'a TrackedDelivery,
        end: &DeliveryEnd,
        acked: &[Range<u64>],
    ) {
        let [range] = &delivery.carries[..] else { return };
        let reached = ranges::reached(&delivery.carries, acked);
        let sent_until = range.end.min(range.start.saturating_add(end.sent));
        let tail_end = sent_until.min(reached + MAX_UNACKED);
        if tail_end <= reached {
            return;
        }
        let batched = &mut self.downloads[index];
        if batched.tails.len() >= MAX_TAILS {
            self.deleted_deliveries.push(batched.tails.remove(0).id);
        }
        let tail = UnconfirmedTail { id: id::new("", delivery.began), reached, end: tail_end };
        batched.tails.push(tail.clone());
        self.cut.push(CutDelivery { tail, download: index, first: range.start, sent: end.sent });
    }

    /// Makes a download a receipt.
    fn complete(
        &mut self,
        index: usize,
        delivery: &'a TrackedDelivery,
        end: &DeliveryEnd,
        at: Timestamp,
        alone: bool,
    ) {
        let batched = &mut self.downloads[index];
        batched.fragments.clear();
        batched.row.alone = alone;
        batched.changed = true;
        let download = &mut batched.row.download;
        download.deliveries = download.deliveries.max(1);
        download.state = DownloadState::Completed;
        download.acked = download.total;
        download.files_done = download.files;
        download.confirmed = matches!(end.outcome, DeliveryOutcome::Completed { confirmed: true });
        download.updated = at;
        download.completed = Some(at);
        if batched.exists {
            self.completed.push(download.id.clone());
        }
        let link = delivery.info.link.as_ref();
        let of_link = link.map(|link| (clean(&link.id, 128).into_owned(), link.max_downloads));
        if let Some((link, max)) = of_link.or_else(|| Some((download.link.clone()?, None))) {
            let entry = self.receipts.entry(link).or_insert((0, max));
            entry.0 += 1;
            entry.1 = max.or(entry.1);
        }
        let generations = self.by_key.entry(Self::key(delivery)).or_default();
        if generations.incomplete == Some(index) {
            generations.incomplete = None;
        }
        let facts = DeliveryFacts { transport: end.transport, ..DeliveryFacts::default() };
        self.emit(EventKind::Completed, index, at, facts);
    }

    /// Emits an event if another tenth has arrived since `before`, and such events are wanted.
    fn emit_progress(&mut self, index: usize, before: u64) {
        let download = &self.downloads[index].row.download;
        let tenth = |bytes: u64| u128::from(bytes) * 10 / u128::from(download.total.max(1));
        let (before, now) = (tenth(before), tenth(download.acked));
        if self.context.options.progress_events && now > before && now < 10 {
            self.emit(EventKind::Progress, index, download.updated, DeliveryFacts::default());
        }
    }

    /// Emits an event about a download. Its row tells that it has started, and that it was
    /// completed if no other event about it comes in between.
    fn emit(&mut self, kind: EventKind, index: usize, at: Timestamp, facts: DeliveryFacts) {
        self.kinds.push(kind);
        let endpoints = &self.context.options.endpoints;
        let batched = &mut self.downloads[index];
        let tells = match kind {
            EventKind::Started => TELLS_STARTED,
            EventKind::Completed if !batched.exists && !batched.has_event => TELLS_COMPLETED,
            _ => 0,
        };
        let place = if tells == 0 { None } else { id::sequence_of("dl_", &batched.row.download.id) };
        if let Some(place) = place {
            batched.row.tells |= tells;
            batched.row.transport = facts.transport;
            let seq = if kind == EventKind::Started { place } else { place + 1 };
            let download = &batched.row.download;
            self.events.extend(NewEvent::for_endpoints(seq, kind, download, at, &facts, endpoints));
            return;
        }
        batched.has_event = true;
        let seq = self.next_sequence();
        let download = &self.downloads[index].row.download;
        self.events.push(NewEvent::about_download(seq, kind, download, at, &facts, endpoints));
    }

    /// Keeps the names of an archive's files, once.
    fn keep_parts(&mut self, content: &ContentInfo) {
        let Some(parts) = &content.parts else { return };
        let key = content.key.0;
        if parts.count() > MAX_PARTS || self.known_contents.contains(&key) || self.contents.contains_key(&key)
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

impl BatchedDownload {
    /// Number of acknowledged ranges, including those that were not loaded.
    pub(super) fn fragment_count(&self) -> usize {
        self.row.fragments + self.fragments.len() - self.loaded.len()
    }

    /// Merges `ranges`, which lie within the content.
    fn merge(&mut self, content: &ContentInfo, ranges: &[Range<u64>]) {
        let parts = content.parts.as_deref();
        for range in ranges {
            if self.fragment_count() >= MAX_FRAGMENTS && !self.fragments.touches(range) {
                continue;
            }
            let merged = self.fragments.merge(range);
            let download = &mut self.row.download;
            if merged.gained == 0 {
                continue;
            }
            download.acked += merged.gained;
            if let (Some(parts), Some(done)) = (parts, &mut download.files_done) {
                let before: u64 = merged.absorbed.iter().map(|range| parts.within(range)).sum();
                *done += parts.within(&merged.union).saturating_sub(before);
            }
            self.changed = true;
        }
    }
}

/// A download that begins with `delivery`.
fn new_download(id: String, delivery: &TrackedDelivery, generation: u32) -> DownloadRow {
    let info = &delivery.info;
    let content = &info.content;
    let text = |text: &str, max| clean(text, max).into_owned();
    let files = content.parts.as_ref().map(|parts| parts.count());
    let download = Download {
        id,
        generation,
        state: DownloadState::Open,
        content: content.key.to_string(),
        etag: text(&content.etag, 256),
        name: text(&content.name, 1024),
        path: text(&content.path, 4096),
        transfer: content.transfer.as_deref().map(|transfer| text(transfer, 256)),
        // As the key has it: `Ledger::track` has cleaned it.
        recipient: info.recipient.id.clone(),
        weak: info.recipient.weak,
        link: info.link.as_ref().map(|link| text(&link.id, 128)),
        client: info.client.map(|client| client.to_string()),
        user_agent: info.user_agent.as_deref().map(|agent| text(agent, 256)),
        total: content.length,
        acked: 0,
        inferred: 0,
        files_done: files.map(|_| 0),
        files,
        deliveries: 0,
        assurance: info.assurance,
        confirmed: false,
        started: delivery.began,
        updated: delivery.began,
        completed: None,
    };
    DownloadRow { download, alone: false, fragments: 0, began_direct: false, tells: 0, transport: None }
}
