//! The log of the tests: lines are kept for the threads that ask for theirs.
//!
//! There is one subscriber for the whole process. With one for each test, `tracing` may decide on
//! the thread of another test that nobody wants a line, and remembers that.

use std::cell::RefCell;
use std::sync::{Arc, Mutex, Once};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

thread_local! {
    static LINES: RefCell<Option<Arc<Mutex<Vec<String>>>>> = const { RefCell::new(None) };
}

/// Installs the subscriber. Has to be called before anything is logged.
pub(super) fn install() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| tracing::subscriber::set_global_default(LineSubscriber).unwrap());
}

/// Lines that are logged on this thread while the guard lives.
pub(super) fn logged() -> (Arc<Mutex<Vec<String>>>, LogGuard) {
    install();
    let lines = Arc::new(Mutex::new(Vec::new()));
    LINES.set(Some(Arc::clone(&lines)));
    (lines, LogGuard)
}

pub(super) struct LogGuard;

impl Drop for LogGuard {
    fn drop(&mut self) {
        LINES.set(None);
    }
}

struct LineSubscriber;

impl Subscriber for LineSubscriber {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::INFO && metadata.target().starts_with("outflow")
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        LINES.with_borrow(|lines| {
            let Some(lines) = lines else { return };
            let mut text = LineText(String::new());
            event.record(&mut text);
            lines.lock().unwrap().push(text.0);
        });
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

struct LineText(String);

impl Visit for LineText {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.0 += &format!("{field}={value:?} ");
    }
}
