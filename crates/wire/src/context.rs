//! What all connections of one thread share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, watch};

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
    /// timeout, and when the server drains. Cheaper than a timer for each.
    pub(crate) swept: Notify,
    /// Wakes recently busy connections, once a [`TICK`] and when the server drains.
    pub(crate) ticked: Notify,
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
        Arc::new(ThreadContext {
            service,
            options,
            counters,
            swept: Notify::new(),
            ticked: Notify::new(),
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
        self.swept.notify_waiters();
        self.ticked.notify_waiters();
    }

    /// Drives the ticks and sweeps, forever.
    pub(crate) async fn keep_time(&self) {
        let between_sweeps = (self.options.keep_alive_timeout / 16).clamp(MIN_SWEEP, MAX_SWEEP);
        let (mut tick, mut sweep) = (tokio::time::interval(TICK), tokio::time::interval(between_sweeps));
        loop {
            tokio::select! {
                _ = tick.tick() => self.ticked.notify_waiters(),
                _ = sweep.tick() => self.swept.notify_waiters(),
            }
        }
    }
}
