//! One delivery whose last byte has been handed to the kernel.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use outflow_content::{AbortReason, DeliveryWatch, Evidence};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::sys;

/// Bodies of at least this many bytes get an acknowledgement timer of their own, and `TCP_INFO`.
/// Sending them takes 100 us and more, beside which these few system calls do not count; below,
/// each would be measurable.
const LARGE: u64 = 256 * 1024;

/// A delivery that took this long gets `TCP_INFO` whatever its size.
const LONG: Duration = Duration::from_secs(1);

/// A delivery between its last byte and the news that it arrived.
pub(crate) struct PendingDelivery {
    watch: DeliveryWatch,
    /// Where its body begins and ends, in bytes written to the connection.
    begin: u64,
    end: u64,
    /// The client had sent nothing unread before the last of its bytes left.
    pub(super) input_was_empty: bool,
    /// Whether `TCP_INFO` is read for it.
    is_measured: bool,
    pub(super) acked_at: Option<Instant>,
}

impl PendingDelivery {
    /// The delivery that `watch` watches, handed over within `duration`. Its body ends where `end`
    /// bytes had been written to the connection, and begins its own length before that: within TLS
    /// really earlier, so that the count of acknowledged bytes is never too high.
    pub(crate) fn new(
        watch: DeliveryWatch,
        end: u64,
        input_was_empty: bool,
        duration: Duration,
    ) -> PendingDelivery {
        let is_measured = is_worth_measuring(&watch, duration);
        let begin = end.saturating_sub(watch.len());
        PendingDelivery { watch, begin, end, input_was_empty, is_measured, acked_at: None }
    }

    pub(super) fn is_large(&self) -> bool {
        is_large(&self.watch)
    }

    /// All bytes up to `acked` of the connection are acknowledged. With `notify`, progress short of
    /// the end is passed on. True if there was any to pass on.
    pub(super) fn advance(&mut self, acked: u64, notify: bool, now: Instant, stream: &TcpStream) -> bool {
        if acked >= self.end {
            self.acked_at = Some(now);
            let transport = self.is_measured.then(|| sys::transport(stream).ok()).flatten();
            self.watch.measured(Some(self.end - self.begin), transport);
            return false;
        }
        let has_news = notify && acked > self.begin;
        if has_news {
            self.watch.acked(acked - self.begin);
        }
        has_news
    }

    /// Records how much was acknowledged, for a connection that is about to end.
    pub(super) fn measure(&mut self, acked: u64, now: Instant, stream: &TcpStream) {
        if acked >= self.end {
            self.advance(acked, false, now, stream);
        } else {
            let transport = self.is_measured.then(|| sys::transport(stream).ok()).flatten();
            self.watch.measured(Some(acked.saturating_sub(self.begin)), transport);
        }
    }

    pub(super) fn complete(self, evidence: Evidence) {
        self.watch.completed(evidence);
    }
}

/// Whether a delivery is large enough for system calls of its own.
pub(crate) fn is_large(watch: &DeliveryWatch) -> bool {
    watch.len() >= LARGE
}

/// Whether a delivery is large enough, or took long enough, to read `TCP_INFO` for it.
pub(crate) fn is_worth_measuring(watch: &DeliveryWatch, duration: Duration) -> bool {
    is_large(watch) || duration >= LONG
}

/// Ends deliveries whose connection is gone. One that was acknowledged to its last byte has
/// arrived, unless the client's kernel reset the connection.
pub(crate) fn abort_all(pending: VecDeque<PendingDelivery>, reason: &AbortReason) {
    for delivery in pending {
        if delivery.acked_at.is_some() && !matches!(reason, AbortReason::Disconnected(_)) {
            delivery.watch.completed(Evidence::Acked);
        } else {
            delivery.watch.aborted(reason);
        }
    }
}

/// The client broke the connection.
pub(crate) fn disconnected(error: &io::Error) -> AbortReason {
    AbortReason::Disconnected(error.to_string())
}
