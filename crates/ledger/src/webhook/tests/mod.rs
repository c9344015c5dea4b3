//! Workers over an outbox in memory: with planned senders in paused time, and with the real ones.

mod commands;
mod examples;
mod log;
mod outbox;
mod receiver;
mod webhooks;
mod workers;

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::value::RawValue;
use tokio::time::Instant;

use crate::model::{EventKind, LedgerEvent};
use crate::webhook::worker::WallClock;

/// A clock that follows tokio's time and can be set.
#[derive(Clone)]
struct Watch {
    base: Timestamp,
    start: Instant,
    offset: Arc<AtomicI64>,
}

impl Watch {
    fn new() -> Watch {
        let base = "2026-11-23T08:00:00Z".parse().unwrap();
        Watch { base, start: Instant::now(), offset: Arc::default() }
    }

    fn now(&self) -> Timestamp {
        let offset = SignedDuration::from_secs(self.offset.load(Ordering::SeqCst));
        self.base + SignedDuration::try_from(self.start.elapsed()).unwrap() + offset
    }

    fn set(&self, seconds: i64) {
        self.offset.fetch_add(seconds, Ordering::SeqCst);
    }

    fn clock(&self) -> WallClock {
        let watch = self.clone();
        Arc::new(move || watch.now())
    }
}

fn event(id: &str) -> LedgerEvent {
    LedgerEvent {
        seq: 1,
        id: id.to_owned(),
        kind: EventKind::Completed,
        timestamp: "2026-11-23T08:00:00.123Z".parse().unwrap(),
        data: RawValue::from_string(r#"{"name":"ü.zip","total":18446744073709551615}"#.to_owned()).unwrap(),
    }
}

/// Waits for a condition, in paused or real time. Fails after a minute of real time.
async fn until<F: Future<Output = bool>>(mut holds: impl FnMut() -> F) {
    let end = std::time::Instant::now() + Duration::from_secs(60);
    let begun = Instant::now();
    while !holds().await {
        assert!(std::time::Instant::now() < end, "waited in vain");
        tokio::time::sleep((begun.elapsed() / 100).max(Duration::from_millis(1))).await;
    }
}
