//! What all connections of one thread share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::watch;

use crate::clock::SharedClock;
use crate::counters::ServerCounters;
use crate::options::ServerOptions;

/// How often a connection that was recently busy checks whether it has fallen idle.
const TICK: Duration = Duration::from_millis(500);

/// Range of the time between two checks of the idle connections.
const MIN_SWEEP: Duration = Duration::from_millis(10);
const MAX_SWEEP: Duration = Duration::from_secs(5);

/// The service, the options and the clock of one thread's connections.
pub(crate) struct ThreadContext<S> {
    pub(crate) service: S,
    pub(crate) options: ServerOptions,
    pub(crate) counters: Arc<ServerCounters>,
    /// Wakes idle connections, so that each checks its deadline: a few times within the keep-alive
    /// timeout, and when the server drains.
    pub(crate) swept: SharedClock,
    /// Wakes recently busy connections, once a [`TICK`] and when the server drains.
    pub(crate) ticked: SharedClock,
    draining: AtomicBool,
    /// True once the server drains, for connections that services have taken over.
    pub(crate) ending: watch::Sender<bool>,
}

impl<S> ThreadContext<S> {
    pub(crate) fn new(
        service: S,
        options: ServerOptions,
        counters: Arc<ServerCounters>,
    ) -> Arc<ThreadContext<S>> {
        let between_sweeps = (options.keep_alive_timeout / 16).clamp(MIN_SWEEP, MAX_SWEEP);
        Arc::new(ThreadContext {
            service,
            options,
            counters,
            swept: SharedClock::new(between_sweeps),
            ticked: SharedClock::new(TICK),
            draining: AtomicBool::new(false),
            ending: watch::Sender::new(false),
        })
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    pub(crate) fn drain(&self) {
        self.draining.store(true, Ordering::Release);
        self.ending.send_replace(true);
        self.swept.beat();
        self.ticked.beat();
    }

    /// Drives the ticks and sweeps, forever.
    pub(crate) async fn keep_time(&self) {
        tokio::join!(self.ticked.run(), self.swept.run());
    }
}
