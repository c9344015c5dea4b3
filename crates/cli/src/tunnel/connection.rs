//! Connections that tunnels carry, for `listen` and `listen --reverse`.

use std::sync::Arc;
use std::time::Duration;

use outflow_tunnel::carry::TunnelStream as _;
use outflow_tunnel::client::ClientTunnel;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::client::SignalCount;

/// Carries one connection to its end and logs the result.
pub(super) async fn carry(tunnel: ClientTunnel, stream: TcpStream, peer: &str) {
    let _ = stream.set_nodelay(true);
    tracing::debug!(peer, resumable = tunnel.is_resumable(), "tunnel begins");
    let (totals, end) = tunnel.carry(stream).await;
    tracing::info!(peer, received = totals.to_far, sent = totals.from_far, %end, "tunnel ended");
}

/// Resets a connection, so that its client sees a failure and not an empty answer.
pub(super) fn reset(mut stream: TcpStream) {
    stream.reset();
}

/// Permits for connections.
pub(super) struct TunnelPermits {
    all: Arc<Semaphore>,
    max: u32,
}

impl TunnelPermits {
    pub(super) fn new(max: u32) -> TunnelPermits {
        TunnelPermits { all: Arc::new(Semaphore::new(max as usize)), max }
    }

    /// Waits for a permit. Never `None`: the semaphore is not closed.
    pub(super) async fn take(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.all).acquire_owned().await.ok()
    }

    /// Waits until all connections have ended, for `time`, or until a second signal.
    pub(super) async fn drain(&self, time: Duration, signals: SignalCount) {
        let open = self.max as usize - self.all.available_permits();
        if open == 0 {
            return;
        }
        tracing::info!(
            open,
            drain = time.as_secs(),
            "finishing open connections; a second signal stops at once"
        );
        tokio::select! {
            _ = self.all.acquire_many(self.max) => {}
            () = tokio::time::sleep(time) => {}
            () = signals.wait(2) => {}
        }
    }
}
