//! What outlives a leg.

use std::time::Duration;

use super::replay::ReplayBuffer;
use crate::carry::{TunnelStream, TunnelTotals};

/// Bytes that either end of a session keeps until they are acknowledged, in each direction,
/// whatever the response says.
///
/// Bound: tunnels.
pub const WINDOW_BYTES: usize = 1024 * 1024;

/// Bytes after which an acknowledgement is due.
pub const ACK_EVERY: u64 = 64 * 1024;

/// Time after which an acknowledgement is due.
pub const ACK_AFTER: Duration = Duration::from_millis(100);

/// What outlives a leg.
pub(super) struct ResumableState<F: TunnelStream> {
    pub(super) far: F,
    pub(super) replay: ReplayBuffer,
    /// Bytes that the far end has accepted.
    pub(super) received: u64,
    /// The far end has been shut down after them.
    pub(super) ended: bool,
}

impl<F: TunnelStream> ResumableState<F> {
    pub(super) fn new(far: F, window: usize) -> ResumableState<F> {
        ResumableState { far, replay: ReplayBuffer::new(window.min(WINDOW_BYTES)), received: 0, ended: false }
    }

    /// The offset up to which everything has been passed on.
    pub(super) fn offset(&self) -> u64 {
        self.received + u64::from(self.ended)
    }

    pub(super) fn totals(&self) -> TunnelTotals {
        TunnelTotals { to_far: self.received, from_far: self.replay.end() }
    }

    /// Whether both directions have ended, and the other end knows the end of this one.
    pub(super) fn is_over(&self) -> bool {
        self.ended && self.replay.is_settled()
    }
}

impl<F: TunnelStream> Drop for ResumableState<F> {
    fn drop(&mut self) {
        // With both directions ended, the far end has everything; otherwise it must not take the
        // end for one.
        if !(self.ended && self.replay.has_ended()) {
            self.far.reset();
        }
    }
}
