//! Progress of downloads under way, for whoever listens: four times a second at most, and when they end.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, broadcast};

use crate::Download;
use crate::batch::Done;
use crate::queue::Change;
use crate::report::Progress;
use crate::tracked::Delivery;

/// Between two reports about one download.
const TICK: Duration = Duration::from_millis(250);
/// Reports that a slow listener may be behind; it misses older ones.
const BEHIND: usize = 4096;

/// What is under way here, and who listens.
pub(crate) struct Live {
    told: broadcast::Sender<Arc<Progress>>,
    under_way: Mutex<HashMap<Arc<str>, Entry>>,
    /// There is something under way.
    wake: Notify,
    /// Whether other nodes may listen.
    others: AtomicBool,
    /// What is to be told to them.
    outgoing: Mutex<Vec<Arc<Progress>>>,
    pub(crate) outgoing_wake: Notify,
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

    pub(crate) fn listen(&self) -> broadcast::Receiver<Arc<Progress>> {
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
        let _ = self.told.send(Arc::new(progress));
    }

    fn tell(&self, progress: &Arc<Progress>) {
        let _ = self.told.send(Arc::clone(progress));
        if self.others.load(Ordering::Relaxed) {
            self.outgoing.lock().expect("nothing panics while it is held").push(Arc::clone(progress));
            self.outgoing_wake.notify_one();
        }
    }

    /// What other nodes are to be told, since the last call.
    pub(crate) fn outgoing(&self) -> Vec<Arc<Progress>> {
        std::mem::take(&mut *self.outgoing.lock().expect("nothing panics while it is held"))
    }

    /// A batch was committed.
    pub(crate) fn changed(&self, changes: &[Change], done: &Done) {
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
            if let Some(entry) = under_way.get_mut(&*download.id) {
                entry.download = download.clone();
                for delivery in new.into_iter().flatten() {
                    entry.add(delivery);
                }
            } else if let Some(deliveries) = new {
                under_way.insert(download.id.as_str().into(), Entry::new(download.clone(), deliveries, now));
                self.wake.notify_one();
            } else if heard {
                let mut entry = Entry::new(download.clone(), Vec::new(), now);
                self.tell(&entry.report(now));
            }
        }
        // Of downloads that have not changed themselves.
        for (download, deliveries) in begun {
            if let Some(entry) = under_way.get_mut(&download) {
                deliveries.into_iter().for_each(|delivery| entry.add(delivery));
            }
        }
        under_way.retain(|_, entry| {
            let over = entry.deliveries.is_empty();
            if over && heard {
                self.tell(&entry.report(now));
            }
            !over
        });
    }

    /// Reports, for as long as there is somebody who listens and something under way.
    pub(crate) async fn run(&self) {
        loop {
            if !self.heard() || self.under_way.lock().expect("nothing panics while it is held").is_empty() {
                // Whether other nodes listen is known by the heartbeat only.
                let _ = tokio::time::timeout(Duration::from_secs(10), self.wake.notified()).await;
                continue;
            }
            tokio::time::sleep(TICK).await;
            let now = Instant::now();
            let mut under_way = self.under_way.lock().expect("nothing panics while it is held");
            for entry in under_way.values_mut() {
                let last = entry.last.clone();
                let report = entry.report(now);
                if last.is_none_or(|last| *last != *report) {
                    self.tell(&report);
                }
            }
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

    /// How it stands. What deliveries have acknowledged since they were written down is counted as new.
    fn report(&mut self, now: Instant) -> Arc<Progress> {
        let download = &self.download;
        let (mut acked, mut sent) = (download.acked, 0);
        for delivery in &self.deliveries {
            let progress = delivery.progress();
            acked += progress.bytes.saturating_sub(progress.noted_bytes);
            sent += progress.sent;
        }
        let acked = acked.min(download.total);
        let elapsed = now.duration_since(self.seen.0).as_secs_f64();
        if elapsed >= 0.2 {
            #[expect(clippy::cast_precision_loss, reason = "a rate is an estimate")]
            let rate = acked.saturating_sub(self.seen.1) as f64 / elapsed;
            // Half of it is as old as two seconds.
            let weight = 1.0 - 0.5_f64.powf(elapsed / 2.0);
            self.rate = if self.rate == 0.0 { rate } else { self.rate + weight * (rate - self.rate) };
            self.seen = (now, acked);
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "not negative, and an estimate"
        )]
        let rate = self.rate as u64;
        let missing = download.total - acked;
        let state = download.state;
        let report = Arc::new(Progress {
            download: download.id.clone(),
            content: download.content.clone(),
            path: download.path.clone(),
            transfer: download.transfer.clone(),
            link: download.link.clone(),
            recipient: download.recipient.clone(),
            state,
            acked,
            sent,
            total: download.total,
            rate,
            eta: if rate == 0 && missing > 0 { None } else { Some(missing.div_ceil(rate.max(1))) },
            files_done: download.files_done,
            files: download.files,
        });
        self.last = Some(Arc::clone(&report));
        report
    }
}
