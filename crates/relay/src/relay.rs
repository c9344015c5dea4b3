//! TCP to TCP: a relay listens, chooses a target for each client, and lets the bytes flow.
//!
//! ```text
//! address     what can be listened on and connected to: host:port, unix:/path
//! listener    takes clients
//! connection  one client: chooses, connects, introduces, flows, says how it was
//!   targets      who is next, who is full, who has failed lately
//!   health       asks those who have failed, before a client has to
//!   introduction the PROXY protocol: says to the target who the client is
//! ```

use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use outflow_net::proxy_header::ProxyVersion;
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;

use crate::address::Address;
use crate::flow::{Counters, Limits};
use crate::listener::{Arrival, Door, Listener};
use crate::targets::{Policy, Targets};
use crate::{connection, health};

/// How long nobody is accepted when the system has no descriptor or memory for a connection.
const ACCEPT_REST: Duration = Duration::from_millis(50);

/// How often that is said.
const SAY_EVERY: Duration = Duration::from_secs(10);

/// What a relay can be told.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Who is next.
    pub policy: Policy,
    /// Clients at the same time. Further ones wait in the kernel's queue, to be accepted when others have left.
    pub max_connections: usize,
    /// Clients of one target at the same time. When all targets have as many, further ones are reset.
    pub max_per_target: usize,
    /// How long a target may take to accept. Then it has failed, and the next one is tried.
    pub connect_timeout: Duration,
    /// How often each target is connected to only to see whether it is there. `None`: never.
    pub health_interval: Option<Duration>,
    /// Says to targets who the client is.
    pub proxy_protocol: Option<ProxyVersion>,
    /// How long a client and its target may be silent.
    pub limits: Limits,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            policy: Policy::RoundRobin,
            max_connections: 10_000,
            max_per_target: usize::MAX,
            connect_timeout: Duration::from_secs(5),
            health_interval: None,
            proxy_protocol: None,
            limits: Limits::default(),
        }
    }
}

/// A relay without a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a relay needs at least one target")]
pub struct NoTarget;

/// A relay, before it runs.
pub struct Relay {
    shared: Arc<Shared>,
    phase: watch::Sender<Phase>,
}

/// Controls a running [`Relay`] from any thread.
#[derive(Clone)]
pub struct Handle {
    phase: watch::Sender<Phase>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Running,
    Draining(Duration),
    Stopped,
}

impl Handle {
    /// Accepts nobody any more, lets those who are there finish for up to `limit`, then resets them.
    pub fn drain(&self, limit: Duration) {
        self.phase.send_if_modified(|phase| {
            let running = *phase == Phase::Running;
            if running {
                *phase = Phase::Draining(limit);
            }
            running
        });
    }

    /// Resets all connections now.
    pub fn stop(&self) {
        self.phase.send_replace(Phase::Stopped);
    }
}

/// What all connections have in common.
pub(crate) struct Shared {
    pub(crate) options: Options,
    pub(crate) targets: Arc<Targets>,
    pub(crate) counters: Arc<Counters>,
}

impl Relay {
    /// A relay that is not running yet.
    ///
    /// # Errors
    /// When there is no target.
    pub fn new(targets: Vec<Address>, options: Options) -> Result<Relay, NoTarget> {
        if targets.is_empty() {
            return Err(NoTarget);
        }
        let targets = Arc::new(Targets::new(targets, options.policy, options.max_per_target));
        let shared = Shared { options, targets, counters: Arc::default() };
        Ok(Relay { shared: Arc::new(shared), phase: watch::Sender::new(Phase::Running) })
    }

    /// The running totals: bytes by the path that they took.
    #[must_use]
    pub fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.shared.counters)
    }

    /// The way to end it.
    #[must_use]
    pub fn handle(&self) -> Handle {
        Handle { phase: self.phase.clone() }
    }

    /// Relays until it is told to end by a [`Handle`], on the runtime that it is called from, which needs I/O and time.
    /// When it returns, no connection is left.
    ///
    /// # Errors
    /// When a listener's descriptor is of no use. A connection that cannot be accepted is not an error.
    pub async fn run(self, listeners: impl IntoIterator<Item = Listener>) -> io::Result<()> {
        let doors = listeners.into_iter().map(Door::open).collect::<io::Result<Vec<Door>>>()?;
        let mut phase = self.phase.subscribe();
        let mut connections = JoinSet::new();
        let checks = health::watch(&self.shared);
        let mut said = Said::default();
        loop {
            tokio::select! {
                biased;
                _ = phase.wait_for(|phase| *phase != Phase::Running) => break,
                Some(ended) = connections.join_next() => look_at(ended),
                arrival = accept(&doors, &mut said), if connections.len() < self.shared.options.max_connections => {
                    connections.spawn(connection::serve(Arc::clone(&self.shared), arrival));
                }
            }
        }
        // From here on others can have the addresses.
        drop((doors, checks));
        let limit = match *phase.borrow_and_update() {
            Phase::Draining(limit) => limit,
            Phase::Running | Phase::Stopped => Duration::ZERO,
        };
        let drained = async {
            while let Some(ended) = connections.join_next().await {
                look_at(ended);
            }
        };
        tokio::select! {
            () = drained => {}
            () = tokio::time::sleep(limit) => {}
            _ = phase.wait_for(|phase| *phase == Phase::Stopped) => {}
        }
        if !connections.is_empty() {
            tracing::warn!(connections = connections.len(), "reset: they had not finished in time");
            connections.shutdown().await;
        }
        Ok(())
    }
}

fn look_at(ended: Result<(), JoinError>) {
    if let Err(error) = ended {
        // The other connections know nothing of it.
        tracing::error!(%error, "a connection ended by a fault of the relay's own; please report it");
    }
}

/// When it was said that accepting fails.
type Said = Option<Instant>;

/// Waits for the next client at any of the doors.
async fn accept(doors: &[Door], said: &mut Said) -> Arrival {
    loop {
        let accepted = poll_fn(|cx| {
            doors.iter().map(|door| door.poll_accept(cx)).find(Poll::is_ready).unwrap_or(Poll::Pending)
        });
        match accepted.await {
            Ok(arrival) => return arrival,
            // Gone before it was accepted (accept(2)).
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                if said.is_none_or(|at| at.elapsed() >= SAY_EVERY) {
                    *said = Some(Instant::now());
                    tracing::warn!(%error, "cannot accept; clients wait until it works again");
                }
                tokio::time::sleep(ACCEPT_REST).await;
            }
        }
    }
}
