//! A relay: accepts clients until it is drained or stopped.

use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;

use crate::address::RelayAddress;
use crate::connection::{self, RelayContext};
use crate::flow::FlowCounters;
use crate::listener::{AcceptedClient, AsyncListener, RelayListener};
use crate::options::RelayOptions;
use crate::targets::{Targets, spawn_health_checks};

/// Pause before the next accept(2) when the system has no descriptor or memory for a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The shortest time between two log lines about a failing accept(2).
const ACCEPT_LOG_INTERVAL: Duration = Duration::from_secs(10);

/// A relay without a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a relay needs at least one target")]
pub struct NoTarget;

/// A relay that does not run yet.
pub struct Relay {
    context: Arc<RelayContext>,
    phase: watch::Sender<RelayPhase>,
}

/// Controls a running [`Relay`] from any thread.
#[derive(Clone)]
pub struct RelayHandle {
    phase: watch::Sender<RelayPhase>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RelayPhase {
    Running,
    Draining(Duration),
    Stopped,
}

impl RelayHandle {
    /// Stops accepting clients, lets those that are connected finish for up to `limit`, then resets
    /// the rest.
    pub fn drain(&self, limit: Duration) {
        self.phase.send_if_modified(|phase| {
            let running = *phase == RelayPhase::Running;
            if running {
                *phase = RelayPhase::Draining(limit);
            }
            running
        });
    }

    /// Resets all connections now.
    pub fn stop(&self) {
        self.phase.send_replace(RelayPhase::Stopped);
    }
}

impl Relay {
    /// Makes a relay to `targets`.
    ///
    /// # Errors
    /// There is no target.
    pub fn new(targets: Vec<RelayAddress>, options: RelayOptions) -> Result<Relay, NoTarget> {
        if targets.is_empty() {
            return Err(NoTarget);
        }
        let targets = Arc::new(Targets::new(targets, options.policy, options.max_per_target));
        let context = RelayContext { options, targets, counters: Arc::default() };
        Ok(Relay { context: Arc::new(context), phase: watch::Sender::new(RelayPhase::Running) })
    }

    /// Running totals of the bytes that all connections have moved.
    #[must_use]
    pub fn counters(&self) -> Arc<FlowCounters> {
        Arc::clone(&self.context.counters)
    }

    /// A handle that drains or stops the relay.
    #[must_use]
    pub fn handle(&self) -> RelayHandle {
        RelayHandle { phase: self.phase.clone() }
    }

    /// Relays until a [`RelayHandle`] ends it. Spawns its tasks on the current tokio runtime, which
    /// needs I/O and time. When it returns, every connection has ended.
    ///
    /// # Errors
    /// A listener cannot be registered with the runtime. A connection that cannot be accepted is
    /// logged, not returned.
    pub async fn run(self, listeners: impl IntoIterator<Item = RelayListener>) -> io::Result<()> {
        let listeners = listeners.into_iter().map(AsyncListener::open).collect::<io::Result<Vec<_>>>()?;
        let mut phase = self.phase.subscribe();
        let mut connections = JoinSet::new();
        let options = &self.context.options;
        let checks =
            spawn_health_checks(&self.context.targets, options.health_interval, options.connect_timeout);
        let mut last_logged = None;
        loop {
            tokio::select! {
                biased;
                _ = phase.wait_for(|phase| *phase != RelayPhase::Running) => break,
                Some(result) = connections.join_next() => log_panic(result),
                client = accept(&listeners, &mut last_logged), if connections.len() < options.max_connections => {
                    connections.spawn(connection::serve(Arc::clone(&self.context), client));
                }
            }
        }
        // Frees the addresses for a successor.
        drop((listeners, checks));
        let limit = match *phase.borrow_and_update() {
            RelayPhase::Draining(limit) => limit,
            RelayPhase::Running | RelayPhase::Stopped => Duration::ZERO,
        };
        let drained = async {
            while let Some(result) = connections.join_next().await {
                log_panic(result);
            }
        };
        tokio::select! {
            () = drained => {}
            () = tokio::time::sleep(limit) => {}
            _ = phase.wait_for(|phase| *phase == RelayPhase::Stopped) => {}
        }
        if !connections.is_empty() {
            tracing::warn!(connections = connections.len(), "connections reset: they did not finish in time");
            connections.shutdown().await;
        }
        Ok(())
    }
}

fn log_panic(result: Result<(), JoinError>) {
    if let Err(error) = result {
        tracing::error!(%error, "a connection ended by a bug in the relay; please report it");
    }
}

/// Accepts the next client of any listener.
async fn accept(listeners: &[AsyncListener], last_logged: &mut Option<Instant>) -> AcceptedClient {
    loop {
        let accepted = poll_fn(|cx| {
            listeners
                .iter()
                .map(|listener| listener.poll_accept(cx))
                .find(Poll::is_ready)
                .unwrap_or(Poll::Pending)
        });
        match accepted.await {
            Ok(client) => return client,
            // The client left before it was accepted (accept(2)).
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                if last_logged.is_none_or(|at| at.elapsed() >= ACCEPT_LOG_INTERVAL) {
                    *last_logged = Some(Instant::now());
                    tracing::warn!(%error, "cannot accept connections; clients wait until that works again");
                }
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}
