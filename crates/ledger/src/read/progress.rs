//! Progress of downloads under way, for whoever listens: four times a second at most, and when they end.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, broadcast};

use crate::model::{Download, Progress, Report, State};
use crate::write::batch::Done;
use crate::write::delivery::Delivery;
use crate::write::queue::Change;
use crate::write::writer::CommitObserver;

/// Between two reports about one download.
const TICK: Duration = Duration::from_millis(250);
/// Reports that a slow listener may be behind; it misses older ones.
const BEHIND: usize = 4096;
/// Downloads of which other nodes are still to be told; if there are more, they are told to look for themselves.
const OUTGOING: usize = 10_000;

/// What is under way here, and who listens.
pub(crate) struct Live {
    told: broadcast::Sender<Report>,
    under_way: Mutex<HashMap<Arc<str>, Entry>>,
    /// There is something under way.
    wake: Notify,
    /// Whether other nodes may listen.
    others: AtomicBool,
    outgoing: Mutex<Outgoing>,
    pub(crate) outgoing_wake: Notify,
}

/// What is to be told to other nodes.
#[derive(Default)]
pub(crate) struct Outgoing {
    /// The last word on each download.
    pub(crate) progress: HashMap<String, Arc<Progress>>,
    /// Something could not be told.
    pub(crate) missed: bool,
}

struct Entry {
    download: Download,
    deliveries: Vec<Arc<Delivery>>,
    last: Option<Arc<Progress>>,
    /// When and at which byte the rate was looked at last.
    seen: (Instant, u64),
    rate: f64,
}

impl Live {
    pub(crate) fn new() -> Live {
        Live {
            told: broadcast::channel(BEHIND).0,
            under_way: Mutex::default(),
            wake: Notify::new(),
            others: AtomicBool::new(false),
            outgoing: Mutex::default(),
            outgoing_wake: Notify::new(),
        }
    }

    pub(crate) fn listen(&self) -> broadcast::Receiver<Report> {
        let receiver = self.told.subscribe();
        self.wake.notify_one();
        receiver
    }

    /// Whether there are other nodes.
    pub(crate) fn others(&self, are: bool) {
        self.others.store(are, Ordering::Relaxed);
    }

    fn heard(&self) -> bool {
        self.told.receiver_count() > 0 || self.others.load(Ordering::Relaxed)
    }

    /// From another node.
    pub(crate) fn pass_on(&self, progress: Progress) {
        let _ = self.told.send(Report::Progress(Arc::new(progress)));
    }

    /// Something happened on other nodes that was not heard.
    pub(crate) fn missed(&self) {
        let _ = self.told.send(Report::Missed);
    }

    /// Downloads have changed without anybody being told.
    pub(crate) fn changed_unheard(&self) {
        self.missed();
        self.unsaid();
    }

    /// What other nodes should have been told could not be said: they are told at least that.
    pub(crate) fn unsaid(&self) {
        self.outgoing.lock().expect("nothing panics while it is held").missed = true;
        self.outgoing_wake.notify_one();
    }

    fn tell(&self, progress: &Arc<Progress>) {
        let _ = self.told.send(Report::Progress(Arc::clone(progress)));
        if self.others.load(Ordering::Relaxed) {
            let mut outgoing = self.outgoing.lock().expect("nothing panics while it is held");
            outgoing.progress.insert(progress.download.clone(), Arc::clone(progress));
            if outgoing.progress.len() > OUTGOING {
                *outgoing = Outgoing { progress: HashMap::new(), missed: true };
            }
            self.outgoing_wake.notify_one();
        }
    }

    /// What other nodes are to be told, since the last call.
    pub(crate) fn outgoing(&self) -> Outgoing {
        std::mem::take(&mut *self.outgoing.lock().expect("nothing panics while it is held"))
    }

    /// How `downloads`, as they were last written, stand by now.
    pub(crate) fn standing(&self, downloads: Vec<Download>) -> Vec<Progress> {
        let under_way = self.under_way.lock().expect("nothing panics while it is held");
        let stands = |download: Download| match under_way.get(&*download.id) {
            // A batch that was just committed may be known to the database only.
            Some(entry) if download.state != State::Completed => {
                let mut now = entry.progress();
                now.acked = now.acked.max(download.acked);
                now
            }
            _ => Entry::new(download, Vec::new(), Instant::now()).progress(),
        };
        downloads.into_iter().map(stands).collect()
    }

    /// Reports, for as long as there is somebody who listens and something under way.
    pub(crate) async fn run(&self) {
        loop {
            let idle = {
                let heard = self.heard();
                let mut under_way = self.under_way.lock().expect("nothing panics while it is held");
                if !heard {
                    under_way.retain(|_, entry| !entry.deliveries.is_empty());
                }
                !heard || under_way.is_empty()
            };
            if idle {
                // Whether other nodes listen is known by the heartbeat only.
                let _ = tokio::time::timeout(Duration::from_secs(10), self.wake.notified()).await;
                continue;
            }
            tokio::time::sleep(TICK).await;
            let now = Instant::now();
            let mut under_way = self.under_way.lock().expect("nothing panics while it is held");
            under_way.retain(|_, entry| {
                let last = entry.last.clone();
                let report = entry.report(now);
                if last.is_none_or(|last| *last != *report) {
                    self.tell(&report);
                }
                !entry.deliveries.is_empty()
            });
        }
    }
}

impl CommitObserver for Live {
    fn committed(&self, changes: &[Change], done: &Done) {
        let mut under_way = self.under_way.lock().expect("nothing panics while it is held");
        for change in changes {
            let Change::End(delivery, ..) = change else { continue };
            let download = delivery.place().download.clone();
            if let Some(entry) = download.and_then(|download| under_way.get_mut(&download)) {
                entry.deliveries.retain(|other| !Arc::ptr_eq(other, delivery));
            }
        }
        let mut begun: HashMap<Arc<str>, Vec<Arc<Delivery>>> = HashMap::new();
        for (delivery, place) in &done.begun {
            if let Some(download) = &place.download {
                begun.entry(Arc::clone(download)).or_default().push(Arc::clone(delivery));
            }
        }
        let heard = self.heard();
        let now = Instant::now();
        for download in &done.changed {
            let new = begun.remove(&*download.id);
            if new.is_none() && !heard && !under_way.contains_key(&*download.id) {
                continue;
            }
            let entry = under_way
                .entry(download.id.as_str().into())
                .or_insert_with(|| Entry::new(download.clone(), Vec::new(), now));
            let completes = download.state == State::Completed
                && entry.last.as_ref().is_none_or(|last| last.state != State::Completed);
            entry.download = download.clone();
            new.into_iter().flatten().for_each(|delivery| entry.add(delivery));
            // All else can wait for its turn: a download of a thousand small ranges ends a thousand times.
            if heard && completes {
                self.tell(&entry.report(now));
            }
        }
        // Of downloads that have not changed themselves.
        for (download, deliveries) in begun {
            if let Some(entry) = under_way.get_mut(&download) {
                deliveries.into_iter().for_each(|delivery| entry.add(delivery));
            }
        }
        under_way.retain(|_, entry| !entry.deliveries.is_empty() || (heard && !entry.is_told()));
        if !under_way.is_empty() {
            self.wake.notify_one();
        }
    }
}

impl Entry {
    fn new(download: Download, deliveries: Vec<Arc<Delivery>>, now: Instant) -> Entry {
        let seen = (now, download.acked);
        Entry { download, deliveries, last: None, seen, rate: 0.0 }
    }

    fn add(&mut self, delivery: Arc<Delivery>) {
        if !self.deliveries.iter().any(|other| Arc::ptr_eq(other, &delivery)) {
            self.deliveries.push(delivery);
        }
    }

    /// Whether its end has been told.
    fn is_told(&self) -> bool {
        self.last.as_ref().is_some_and(|last| last.state == State::Completed)
    }

    /// Bytes that have arrived, and bytes that deliveries under way have sent. What these have acknowledged since they were
    /// written down is counted as new.
    fn counts(&self) -> (u64, u64) {
        let (mut acked, mut sent) = (self.download.acked, 0);
        for delivery in &self.deliveries {
            let progress = delivery.progress();
            acked += progress.bytes.saturating_sub(progress.noted_bytes);
            sent += progress.sent;
        }
        (acked.min(self.download.total), sent)
    }

    /// How it stands, the rate being that of the last report.
    fn progress(&self) -> Progress {
        let download = &self.download;
        let (acked, sent) = self.counts();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "not negative, and an estimate"
        )]
        let rate = self.rate as u64;
        let missing = download.total - acked;
        Progress {
            download: download.id.clone(),
            content: download.content.clone(),
            path: download.path.clone(),
            transfer: download.transfer.clone(),
            link: download.link.clone(),
            recipient: download.recipient.clone(),
            state: download.state,
            acked,
            sent,
            total: download.total,
            rate,
            eta: if rate == 0 && missing > 0 { None } else { Some(missing.div_ceil(rate.max(1))) },
            files_done: download.files_done,
            files: download.files,
        }
    }

    /// How it stands, to be told.
    fn report(&mut self, now: Instant) -> Arc<Progress> {
        let acked = self.counts().0;
        let elapsed = now.duration_since(self.seen.0).as_secs_f64();
        if elapsed >= 0.2 {
            #[expect(clippy::cast_precision_loss, reason = "a rate is an estimate")]
            let rate = acked.saturating_sub(self.seen.1) as f64 / elapsed;
            // Half of it is as old as two seconds.
            let weight = 1.0 - 0.5_f64.powf(elapsed / 2.0);
            self.rate = if self.rate == 0.0 { rate } else { self.rate + weight * (rate - self.rate) };
            self.seen = (now, acked);
        }
        let report = Arc::new(self.progress());
        self.last = Some(Arc::clone(&report));
        report
    }
}
