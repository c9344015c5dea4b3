//! The pending deliveries of one connection.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use outflow_content::{AbortReason, Evidence};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};

use super::pending::PendingDelivery;
use crate::options::ServerOptions;
use crate::sys;

/// Maximum number of pending deliveries on one HTTP/1 connection. Only a client that pipelines
/// without reading reaches it; its next request then waits.
///
/// Bound: connections.
pub(crate) const MAX_PENDING: usize = 16;

/// Shortest time between two reports of acknowledged bytes for one delivery.
pub(crate) const PROGRESS_INTERVAL: Duration = Duration::from_millis(250);

/// The acknowledgement timer of large deliveries starts with the first pause, and doubles it up to
/// the last.
const FIRST_PAUSE: Duration = Duration::from_millis(1);
const LAST_PAUSE: Duration = Duration::from_millis(250);

/// The pending deliveries of one connection, in the order of their bytes, and the count of bytes
/// written.
pub(crate) struct PendingDeliveries {
    queue: VecDeque<PendingDelivery>,
    /// Bytes handed to the kernel since this was made, our own FIN as one more. Bytes written
    /// before only delay the news.
    written: u64,
    /// The client had sent nothing unread before the last bytes of the newest delivery left: what
    /// it sends later answers them, and confirms what is acknowledged by then.
    input_was_empty: bool,
    /// All bytes up to here are acknowledged.
    acked: u64,
    /// The client is given up at this time unless it acknowledges more.
    stall_deadline: Instant,
    /// When acknowledged bytes were last reported.
    reported: Instant,
    timer: Option<Pin<Box<Sleep>>>,
    pause: Duration,
}

impl PendingDeliveries {
    pub(crate) fn new() -> PendingDeliveries {
        let now = Instant::now();
        PendingDeliveries {
            // Most connections have one at a time.
            queue: VecDeque::with_capacity(1),
            written: 0,
            input_was_empty: true,
            acked: 0,
            stall_deadline: now,
            reported: now,
            timer: None,
            pause: FIRST_PAUSE,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.queue.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Bytes handed to the kernel since they are counted.
    pub(crate) fn written(&self) -> u64 {
        self.written
    }

    pub(crate) fn count(&mut self, written: u64) {
        self.written += written;
    }

    /// How many of the bytes written are acknowledged. `None` if the kernel does not say.
    pub(crate) fn acked(&self, stream: &TcpStream) -> Option<u64> {
        sys::unacked(stream).ok().map(|unacked| self.written.saturating_sub(unacked))
    }

    /// All bytes of `delivery` have been handed over. `no_input`: nothing was read from the client
    /// beyond its request.
    pub(crate) fn push(&mut self, delivery: PendingDelivery, no_input: bool, options: &ServerOptions) {
        if self.queue.is_empty() {
            let now = Instant::now();
            self.stall_deadline = now + options.stall_timeout;
            self.reported = now;
        }
        if delivery.is_large() {
            self.pause = FIRST_PAUSE;
            self.timer = None;
        }
        self.input_was_empty = no_input && delivery.input_was_empty;
        self.queue.push_back(delivery);
    }

    /// Asks the kernel how much has arrived, reports it, and completes what was not confirmed in
    /// time. The reason if the client makes no progress any more.
    pub(crate) fn check_acks(
        &mut self,
        stream: &TcpStream,
        options: &ServerOptions,
    ) -> Result<(), AbortReason> {
        let Some(acked) = self.acked(stream) else {
            while !self.queue.is_empty() {
                self.complete_first(Evidence::Sent);
            }
            return Ok(());
        };
        let now = Instant::now();
        if acked > self.acked {
            let credit = options.time_for(acked - self.acked);
            self.stall_deadline = (self.stall_deadline + credit).min(now + options.stall_timeout);
            self.acked = acked;
        }
        let report = now - self.reported >= PROGRESS_INTERVAL;
        for delivery in self.queue.iter_mut().filter(|delivery| delivery.acked_at.is_none()) {
            if delivery.advance(acked, report, now, stream) {
                self.reported = now;
            }
        }
        let overdue = |at: Instant| now - at >= options.confirm_timeout;
        while self.queue.front().is_some_and(|delivery| delivery.acked_at.is_some_and(overdue)) {
            self.complete_first(Evidence::Acked);
        }
        let waits = self.queue.back().is_some_and(|delivery| delivery.acked_at.is_none());
        if waits && now >= self.stall_deadline { Err(AbortReason::Stalled) } else { Ok(()) }
    }

    /// Ready when the acknowledgement timer fires. Only large bodies run it, unless somebody is
    /// `waiting` for any of them.
    pub(crate) fn poll_timer(&mut self, cx: &mut Context<'_>, waiting: bool) -> Poll<()> {
        if !waiting && !self.queue.iter().any(|delivery| delivery.acked_at.is_none() && delivery.is_large()) {
            return Poll::Pending;
        }
        let pause = self.pause;
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(pause)));
        ready!(timer.as_mut().poll(cx));
        self.pause = (pause * 2).min(LAST_PAUSE);
        timer.as_mut().reset(Instant::now() + self.pause);
        Poll::Ready(())
    }

    /// A next request has come. It confirms what is acknowledged, if the client sent it after the
    /// newest delivery's last bytes.
    pub(crate) fn on_request(&mut self, stream: &TcpStream, options: &ServerOptions) {
        // A client that sends a request has not stalled.
        let _ = self.check_acks(stream, options);
        if self.input_was_empty {
            self.complete_acked(Evidence::Confirmed);
        }
    }

    /// The client has ended its side in an orderly way, which confirms what it has acknowledged,
    /// unless it had ended before the last bytes left. It proves nothing about the rest.
    pub(crate) fn on_client_fin(&mut self, stream: &TcpStream, options: &ServerOptions) {
        let _ = self.check_acks(stream, options);
        self.complete_acked(if self.input_was_empty { Evidence::Confirmed } else { Evidence::Acked });
        self.input_was_empty = false;
    }

    /// Completes all deliveries that are acknowledged to their last byte.
    pub(crate) fn complete_acked(&mut self, evidence: Evidence) {
        while self.queue.front().is_some_and(|delivery| delivery.acked_at.is_some()) {
            self.complete_first(evidence);
        }
    }

    /// All deliveries, each with what is known of it: for a connection that is about to end,
    /// because the kernel forgets then.
    pub(crate) fn into_measured(mut self, stream: &TcpStream) -> VecDeque<PendingDelivery> {
        if let Some(acked) = (!self.queue.is_empty()).then(|| self.acked(stream)).flatten() {
            let now = Instant::now();
            for delivery in self.queue.iter_mut().filter(|delivery| delivery.acked_at.is_none()) {
                delivery.measure(acked, now, stream);
            }
        }
        self.queue
    }

    fn complete_first(&mut self, evidence: Evidence) {
        if let Some(delivery) = self.queue.pop_front() {
            delivery.complete(evidence);
        }
    }
}
