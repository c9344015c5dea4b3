//! A delivery that has begun: its observer, and what has to be known to follow it.

use outflow_content::{DeliveryWatch, Evidence, Outgoing};
use tokio::time::Instant;

use crate::connection::Connection;
use crate::delivery::{PendingDelivery, is_large, is_worth_measuring};
use crate::sys;

/// Once so little of a body is left, each piece is preceded by a check whether the client has sent
/// something, which cannot be about the body then. As much as a send buffer takes by default.
const LAST_BYTES: u64 = 4 * 1024 * 1024;

/// A delivery from its beginning until all its bytes are in the kernel's hands, or it has failed.
pub(crate) struct BegunDelivery {
    pub(super) watch: DeliveryWatch,
    pub(super) at: Instant,
    /// The client had sent nothing unread at the last check: what it sends later may answer this
    /// body.
    no_input: bool,
}

impl BegunDelivery {
    /// The delivery of `outgoing` begins. `last`: nothing follows on the connection.
    pub(crate) fn new(connection: &mut Connection, outgoing: &mut Outgoing, last: bool) -> BegunDelivery {
        let mut watch = outgoing.watch();
        watch.started();
        if watch.is_observed() {
            connection.count_written();
        }
        // What the client has sent already does not answer this body. Asking the kernel costs a
        // call, which a busy connection with small answers is spared.
        let asks = watch.is_observed() && (last || !connection.is_busy() || is_large(&watch));
        let no_input = !asks || connection.no_input_pending();
        BegunDelivery { watch, at: Instant::now(), no_input }
    }

    /// `n` more bytes of the body were taken by the kernel.
    pub(crate) fn sent(&mut self, connection: &Connection, n: u64) {
        self.watch.sent(n);
        let left = self.watch.len() - self.watch.sum();
        let asks = self.watch.is_observed() && is_large(&self.watch) && left > 0 && left <= LAST_BYTES;
        if asks && self.no_input {
            self.no_input = connection.no_input_pending();
        }
    }

    /// How many first bytes of the body are acknowledged: all but the connection's unacknowledged
    /// ones. Within TLS these are more than the body's.
    pub(super) fn acked(&self, connection: &Connection) -> Option<u64> {
        let unacked = connection.written() - connection.acked()?;
        Some(self.watch.sum().saturating_sub(unacked))
    }

    /// Ends the delivery with what the kernel still knows of it.
    pub(crate) fn end(mut self, connection: &Connection, report: impl FnOnce(DeliveryWatch)) {
        // Asking the kernel costs a call, which a delivery without an observer is spared.
        if self.watch.is_observed() {
            let acked = self.acked(connection);
            let transport = is_worth_measuring(&self.watch, self.at.elapsed())
                .then(|| sys::transport(connection.stream()).ok())
                .flatten();
            self.watch.measured(acked, transport);
        }
        report(self.watch);
    }

    /// All bytes are in the kernel's hands. `None` if nobody observes the delivery.
    pub(crate) fn into_pending(self, connection: &Connection) -> Option<PendingDelivery> {
        if !self.watch.is_observed() {
            self.watch.completed(Evidence::Sent);
            return None;
        }
        Some(PendingDelivery::new(self.watch, connection.written(), self.no_input, self.at.elapsed()))
    }
}
