//! Workers over an outbox in memory: with planned senders in paused time, and with the real ones.

mod commands;
mod examples;
mod outbox;
mod receiver;
mod webhooks;
mod workers;

use std::future::Future;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
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

/// Lines that are logged on this thread while the guard lives.
fn logged() -> (Arc<Mutex<Vec<String>>>, tracing::subscriber::DefaultGuard) {
    let lines = Arc::new(Mutex::new(Vec::new()));
    let guard = tracing::subscriber::set_default(Lines(Arc::clone(&lines)));
    (lines, guard)
}

struct Lines(Arc<Mutex<Vec<String>>>);

impl tracing::Subscriber for Lines {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        *metadata.level() <= tracing::Level::INFO && metadata.target().starts_with("outflow")
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        struct Text(String);
        impl tracing::field::Visit for Text {
            fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
                self.0 += &format!("{field}={value:?} ");
            }
        }
        let mut text = Text(String::new());
        event.record(&mut text);
        self.0.lock().unwrap().push(text.0);
    }

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}
