//! What outlives a leg.

use std::time::Duration;

use super::replay::Ring;
use crate::carry::{Side, Totals};

/// What either end keeps of what is not acknowledged, in bytes. Whatever the answer says, it is not more.
pub const WINDOW: usize = 1024 * 1024;

/// After how many bytes an acknowledgement is due.
pub const ACK_EVERY: u64 = 64 * 1024;

/// After what time.
pub const ACK_AFTER: Duration = Duration::from_millis(100);

/// What outlives a leg.
pub(super) struct State<F: Side> {
    pub(super) far: F,
    pub(super) ring: Ring,
    /// Bytes that the far end has taken.
    pub(super) received: u64,
    /// It has been told that these were all.
    pub(super) ended: bool,
}

impl<F: Side> State<F> {
    pub(super) fn new(far: F, window: usize) -> State<F> {
        State { far, ring: Ring::new(window.min(WINDOW)), received: 0, ended: false }
    }

    /// Up to where everything has been handed on.
    pub(super) fn offset(&self) -> u64 {
        self.received + u64::from(self.ended)
    }

    pub(super) fn totals(&self) -> Totals {
        Totals { to_far: self.received, from_far: self.ring.end() }
    }

    /// Both directions have ended, and the other end knows of this one's.
    pub(super) fn is_over(&self) -> bool {
        self.ended && self.ring.is_settled()
    }
}

impl<F: Side> Drop for State<F> {
    fn drop(&mut self) {
        // With both its directions ended there is nothing that the far end could take for more than it is.
        if !(self.ended && self.ring.has_ended()) {
            self.far.reset();
        }
    }
}
