//! Ending a server from any thread.

use std::time::Duration;

use tokio::sync::watch;

/// Controls a running [`crate::Server`] from any thread.
#[derive(Clone)]
pub struct ServerHandle {
    pub(super) phase: watch::Sender<ServerPhase>,
}

/// Where a server stands between its start and its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ServerPhase {
    Running,
    Draining(Duration),
    Stopped,
}

impl ServerHandle {
    /// Accepts no more connections, closes idle ones, lets responses under way finish for up to
    /// `limit`, then stops.
    pub fn drain(&self, limit: Duration) {
        self.phase.send_if_modified(|phase| {
            let running = *phase == ServerPhase::Running;
            if running {
                *phase = ServerPhase::Draining(limit);
            }
            running
        });
    }

    /// Closes all connections now.
    pub fn stop(&self) {
        self.phase.send_replace(ServerPhase::Stopped);
    }
}
