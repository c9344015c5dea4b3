//! Progress of downloads under way, for subscribers: at most four reports a second of each
//! download, and one when it completes.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::{Notify, broadcast};

use crate::model::{Download, DownloadProgress, DownloadState, ProgressReport};
use crate::write::batch::CommittedBatch;
use crate::write::delivery::TrackedDelivery;
use crate::write::queue::DeliveryChange;
use crate::write::writer::CommitObserver;

/// Time between two reports of the same download.
const REPORT_INTERVAL: Duration = Duration::from_millis(250);
/// How often an idle task checks whether there are subscribers on other nodes.
const PEER_CHECK: Duration = Duration::from_secs(10);
/// Maximum number of reports that a subscriber may be behind. It misses older ones.
///
/// Bound: progress.
const MAX_LAG: usize = 4096;
/// Maximum number of downloads whose reports wait to be sent to other nodes. Beyond it, those nodes
/// are told to query the current progress.
///
/// Bound: progress.
const MAX_PEER_UPDATES: usize = 10_000;
/// Time after which a measurement has half its weight in the rate, in seconds.
const RATE_HALF_LIFE: f64 = 2.0;

/// The downloads under way on this node, and the subscribers.
pub(crate) struct ProgressHub {
    reports: broadcast::Sender<ProgressReport>,
    under_way: Mutex<HashMap<Arc<str>, LiveDownload>>,
    /// Notified when a download is under way.
    wake: Notify,
    /// Whether there are other nodes.
    has_peers: AtomicBool,
    peer_updates: Mutex<PeerUpdates>,
    /// Notified when there are updates for other nodes.
    pub(crate) peer_updates_wake: Notify,
}

/// What other nodes have not been sent yet.
#[derive(Default)]
pub(crate) struct PeerUpdates {
    /// The latest progress of each download, by id.
    pub(crate) progress: HashMap<String, Arc<DownloadProgress>>,
    /// Whether updates were lost.
    pub(crate) missed: bool,
}

struct LiveDownload {
    download: Download,
    deliveries: Vec<Arc<TrackedDelivery>>,
    last_report: Option<Arc<DownloadProgress>>,
    /// When the rate was measured last, and the acknowledged bytes then.
    measured: (Instant, u64),
    rate: f64,
}

impl ProgressHub {
    pub(crate) fn new() -> ProgressHub {
        ProgressHub {
            reports: broadcast::channel(MAX_LAG).0,
            under_way: Mutex::default(),
            wake: Notify::new(),
            has_peers: AtomicBool::new(false),
            peer_updates: Mutex::default(),
            peer_updates_wake: Notify::new(),
        }
    }

    pub(crate) fn subscribe(&self) -> broadcast::Receiver<ProgressReport> {
        let receiver = self.reports.subscribe();
        self.wake.notify_one();
        receiver
    }

    /// Sets whether there are other nodes.
    pub(crate) fn set_has_peers(&self, has_peers: bool) {
        self.has_peers.store(has_peers, Ordering::Relaxed);
    }

    /// Whether there are subscribers on this node.
    pub(crate) fn is_watched(&self) -> bool {
        self.reports.receiver_count() > 0
    }

    fn has_subscribers(&self) -> bool {
        self.is_watched() || self.has_peers.load(Ordering::Relaxed)
    }

    /// Forwards the report of another node.
    #[cfg(feature = "postgres")]
    pub(crate) fn forward(&self, progress: DownloadProgress) {
        let _ = self.reports.send(ProgressReport::Progress(Arc::new(progress)));
    }

    /// Tells the subscribers of this node that reports were lost.
    pub(crate) fn report_missed(&self) {
        let _ = self.reports.send(ProgressReport::Missed);
    }

    /// Tells all subscribers that downloads have changed without a report.
    pub(crate) fn changed_without_report(&self) {
        self.report_missed();
        self.peer_updates_lost();
    }

    /// Tells other nodes that updates were lost.
    pub(crate) fn peer_updates_lost(&self) {
        self.peer_updates.lock().missed = true;
        self.peer_updates_wake.notify_one();
    }

    fn send(&self, progress: &Arc<DownloadProgress>) {
        let _ = self.reports.send(ProgressReport::Progress(Arc::clone(progress)));
        if self.has_peers.load(Ordering::Relaxed) {
            let mut updates = self.peer_updates.lock();
            updates.progress.insert(progress.download.clone(), Arc::clone(progress));
            if updates.progress.len() > MAX_PEER_UPDATES {
                *updates = PeerUpdates { progress: HashMap::new(), missed: true };
            }
            self.peer_updates_wake.notify_one();
        }
    }

    /// Takes the updates for other nodes since the last call.
    #[cfg(feature = "postgres")]
    pub(crate) fn take_peer_updates(&self) -> PeerUpdates {
        std::mem::take(&mut *self.peer_updates.lock())
    }

    /// The current progress of `downloads`, which were read from the database.
    pub(crate) fn progress_of(&self, downloads: Vec<Download>) -> Vec<DownloadProgress> {
        let under_way = self.under_way.lock();
        let progress = |download: Download| match under_way.get(&*download.id) {
            // The database may be ahead: it has batches that were committed just now.
            Some(live) if download.state != DownloadState::Completed => {
                let mut progress = live.progress();
                progress.acked = progress.acked.max(download.acked);
                progress
            }
            _ => LiveDownload::new(download, Instant::now()).progress(),
        };
        downloads.into_iter().map(progress).collect()
    }

    /// Sends reports for as long as there are subscribers and downloads under way.
    pub(crate) async fn run(&self) {
        loop {
            let idle = {
                let has_subscribers = self.has_subscribers();
                let mut under_way = self.under_way.lock();
                if !has_subscribers {
                    under_way.retain(|_, live| !live.deliveries.is_empty());
                }
                !has_subscribers || under_way.is_empty()
            };
            if idle {
                // A new peer does not wake this task.
                let _ = tokio::time::timeout(PEER_CHECK, self.wake.notified()).await;
                continue;
            }
            tokio::time::sleep(REPORT_INTERVAL).await;
            let now = Instant::now();
            let mut under_way = self.under_way.lock();
            under_way.retain(|_, live| {
                let last = live.last_report.clone();
                let report = live.report(now);
                if last.is_none_or(|last| *last != *report) {
                    self.send(&report);
                }
                !live.deliveries.is_empty()
            });
        }
    }
}

impl CommitObserver for ProgressHub {
    fn committed(&self, changes: &[DeliveryChange], batch: &CommittedBatch) {
        let mut under_way = self.under_way.lock();
        for change in changes {
            let DeliveryChange::End(delivery, ..) = change else { continue };
            let download = delivery.rows().download.clone();
            if let Some(live) = download.and_then(|download| under_way.get_mut(&download)) {
                live.deliveries.retain(|other| other.number != delivery.number);
            }
        }
        let mut begun: HashMap<Arc<str>, Vec<Arc<TrackedDelivery>>> = HashMap::new();
        for (delivery, rows) in &batch.begun {
            if let Some(download) = &rows.download {
                begun.entry(Arc::clone(download)).or_default().push(Arc::clone(delivery));
            }
        }
        let has_subscribers = self.has_subscribers();
        let now = Instant::now();
        for download in &batch.changed {
            let new = begun.remove(&*download.id);
            if new.is_none() && !has_subscribers && !under_way.contains_key(&*download.id) {
                continue;
            }
            let live = under_way
                .entry(download.id.as_str().into())
                .or_insert_with(|| LiveDownload::new(download.clone(), now));
            let completes = download.state == DownloadState::Completed && !live.completion_reported();
            live.download = download.clone();
            new.into_iter().flatten().for_each(|delivery| live.add(delivery));
            // Other changes wait for the next interval: a download of a thousand small ranges ends
            // a thousand deliveries.
            if has_subscribers && completes {
                self.send(&live.report(now));
            }
        }
        // Deliveries whose downloads have not changed themselves.
        for (download, deliveries) in begun {
            if let Some(live) = under_way.get_mut(&download) {
                deliveries.into_iter().for_each(|delivery| live.add(delivery));
            }
        }
        under_way.retain(|_, live| {
            !live.deliveries.is_empty() || (has_subscribers && !live.completion_reported())
        });
        if !under_way.is_empty() {
            self.wake.notify_one();
        }
    }
}

impl LiveDownload {
    fn new(download: Download, now: Instant) -> LiveDownload {
        let measured = (now, download.acked);
        LiveDownload { download, deliveries: Vec::new(), last_report: None, measured, rate: 0.0 }
    }

    fn add(&mut self, delivery: Arc<TrackedDelivery>) {
        if !self.deliveries.iter().any(|other| other.number == delivery.number) {
            self.deliveries.push(delivery);
        }
    }

    fn completion_reported(&self) -> bool {
        self.last_report.as_ref().is_some_and(|last| last.state == DownloadState::Completed)
    }

    /// Acknowledged bytes, and bytes that deliveries under way have sent. What these have
    /// acknowledged since their last checkpoint counts as new.
    fn counts(&self) -> (u64, u64) {
        let (mut acked, mut sent) = (self.download.acked, 0);
        for delivery in &self.deliveries {
            let progress = delivery.progress();
            acked += progress.bytes.saturating_sub(progress.checkpoint_bytes);
            sent += progress.sent;
        }
        (acked.min(self.download.total), sent)
    }

    /// The current progress, with the rate of the last report.
    fn progress(&self) -> DownloadProgress {
        let download = &self.download;
        let (acked, sent) = self.counts();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "not negative, and an estimate"
        )]
        let rate = self.rate as u64;
        let missing = download.total - acked;
        DownloadProgress {
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

    /// Measures the rate, and makes the next report.
    fn report(&mut self, now: Instant) -> Arc<DownloadProgress> {
        let acked = self.counts().0;
        let elapsed = now.duration_since(self.measured.0).as_secs_f64();
        if elapsed >= 0.2 {
            #[expect(clippy::cast_precision_loss, reason = "a rate is an estimate")]
            let rate = acked.saturating_sub(self.measured.1) as f64 / elapsed;
            let weight = 1.0 - 0.5_f64.powf(elapsed / RATE_HALF_LIFE);
            self.rate = if self.rate == 0.0 { rate } else { self.rate + weight * (rate - self.rate) };
            self.measured = (now, acked);
        }
        let report = Arc::new(self.progress());
        self.last_report = Some(Arc::clone(&report));
        report
    }
}
