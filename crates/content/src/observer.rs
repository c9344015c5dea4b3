//! Observing one delivery from its first byte to its end.

use std::fmt;
use std::time::Duration;

use crate::{BodyMap, SpanError};

/// Follows one delivery. The calls come in this order, each as often as its line says:
///
/// ```text
/// started             once, before the first byte
/// sent*  acked*       as the kernel takes bytes, and as the recipient's TCP acknowledges them
/// completed           once: everything arrived, as far as the engine knows
///   or aborted        once: the client went away, stalled, or the server stopped
///   or failed         once: the bytes could not be read, or must not be sent
/// cleanup             once, always last
/// ```
///
/// Counts are of the body's bytes as they leave: with the parts and boundaries of a multipart
/// answer, without the head. [`BodyMap`] translates them to bytes of the content. An end may come
/// long after all bytes have been sent: [`Ending::evidence`] says what is known.
pub trait Observer: Send + Sync + 'static {
    /// The delivery of `body` begins.
    fn started(&mut self, body: &BodyMap) {
        let _ = body;
    }
    /// `now` more bytes were handed to the kernel, `sum` in all. None of them is delivered yet.
    fn sent(&mut self, now: u64, sum: u64) {
        let _ = (now, sum);
    }
    /// The first `sum` bytes of the body are acknowledged by the recipient's TCP. Grows with each
    /// call, at most about four times a second, so that short deliveries have none:
    /// [`Ending::acked`] is final.
    fn acked(&mut self, sum: u64) {
        let _ = sum;
    }
    /// Everything arrived as far as the engine knows: see [`Ending::evidence`].
    fn completed(&mut self, ending: &Ending) {
        let _ = ending;
    }
    /// The delivery ended early and the content is not to blame. All bytes may have been sent by
    /// then.
    fn aborted(&mut self, ending: &Ending, reason: &AbortReason) {
        let _ = (ending, reason);
    }
    /// The delivery was cut because of the content: unreadable, truncated, changed.
    fn failed(&mut self, ending: &Ending, error: &SpanError) {
        let _ = (ending, error);
    }
    /// Nothing will follow.
    fn cleanup(&mut self) {}
}

/// The facts of a delivery that has ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Ending {
    /// Bytes of the body that were handed to the kernel.
    pub sent: u64,
    /// Number of the body's first bytes that the recipient's TCP has acknowledged; `None` under an
    /// engine that does not know.
    pub acked: Option<u64>,
    /// How far the whole body got.
    pub evidence: Evidence,
    /// The connection's statistics; `None` under an engine that does not know, and for deliveries
    /// that are too small to be worth a system call.
    pub transport: Option<TransportStats>,
}

/// How far up the ladder the whole body of a delivery got. For one that was aborted or failed,
/// [`Ending::acked`] says more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Evidence {
    /// Handed to the kernel. A content that is sent as an `http_body::Body`, by hyper or
    /// `axum::serve`, never gets further.
    Sent,
    /// Acknowledged by the recipient's TCP to the last byte.
    Acked,
    /// Acknowledged, and followed by an orderly close or a next request on that connection: the
    /// recipient's program was there to read it.
    Confirmed,
}

/// Statistics of a connection from its beginning to the delivery's end (`TCP_INFO`, tcp(7)). On a
/// connection with several deliveries, times and bytes include the earlier ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransportStats {
    /// The smoothed round trip time.
    pub rtt: Duration,
    /// How long there was something to send or to be acknowledged.
    pub busy: Duration,
    /// Of this, how long the recipient's window was full: the recipient was slow.
    pub receiver_limited: Duration,
    /// Of this, how long our send buffer was full and too small: we were.
    pub sender_limited: Duration,
    /// Bytes that were retransmitted.
    pub retransmitted: u64,
    /// The latest delivery rate in bytes a second.
    pub rate: u64,
}

/// Why a delivery ended before its last byte, through no fault of the content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AbortReason {
    /// The client closed or reset the connection, with the system's message.
    Disconnected(String),
    /// The client took no bytes for longer than the stall timeout.
    Stalled,
    /// The server is stopping.
    Shutdown,
    /// The server that carried the body dropped it, for an unknown reason.
    Dropped,
}

impl fmt::Display for AbortReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AbortReason::Disconnected(why) => write!(f, "client disconnected: {why}"),
            AbortReason::Stalled => f.write_str("client stalled"),
            AbortReason::Shutdown => f.write_str("server is stopping"),
            AbortReason::Dropped => f.write_str("response was dropped"),
        }
    }
}

/// Keeps the order of an [`Observer`]'s calls under any engine and at any end: dropping it before
/// the end is an abort, and `cleanup` always comes last.
pub struct DeliveryWatch {
    observer: Option<Box<dyn Observer>>,
    body: BodyMap,
    sent: u64,
    acked: Option<u64>,
    /// Apart, because few have it.
    transport: Option<Box<TransportStats>>,
    state: WatchState,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum WatchState {
    Waiting,
    Started,
    Ended,
}

impl DeliveryWatch {
    /// A watch over the delivery of `body`.
    #[must_use]
    pub fn new(body: BodyMap, observer: Option<Box<dyn Observer>>) -> DeliveryWatch {
        DeliveryWatch { observer, body, sent: 0, acked: None, transport: None, state: WatchState::Waiting }
    }

    /// True when there is an observer: otherwise the engine need not find anything out.
    #[must_use]
    pub fn is_observed(&self) -> bool {
        self.observer.is_some()
    }

    /// Bytes of the whole body.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.body.len()
    }

    /// True for a body without bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.body.is_empty()
    }

    /// Bytes handed to the kernel so far.
    #[must_use]
    pub fn sum(&self) -> u64 {
        self.sent
    }

    /// The delivery begins. Further calls do nothing.
    pub fn started(&mut self) {
        if self.state == WatchState::Waiting {
            self.state = WatchState::Started;
            if let Some(observer) = &mut self.observer {
                observer.started(&self.body);
            }
        }
    }

    /// `now` more bytes were handed to the kernel.
    pub fn sent(&mut self, now: u64) {
        self.started();
        self.sent += now;
        if now > 0
            && let Some(observer) = &mut self.observer
        {
            observer.sent(now, self.sent);
        }
    }

    /// The first `sum` bytes of the body are acknowledged. Notifies the observer if they are more
    /// than before. The engine limits how often it finds out.
    pub fn acked(&mut self, sum: u64) {
        self.started();
        let before = self.acked.unwrap_or(0);
        self.measured(Some(sum), None);
        if let Some(acked) = self.acked.filter(|acked| *acked > before)
            && let Some(observer) = &mut self.observer
        {
            observer.acked(acked);
        }
    }

    /// Records measurements for the [`Ending`]. `None` changes nothing; acknowledged bytes never
    /// become fewer, nor more than were sent.
    pub fn measured(&mut self, acked: Option<u64>, transport: Option<TransportStats>) {
        if let Some(acked) = acked {
            self.acked = Some(acked.min(self.sent).max(self.acked.unwrap_or(0)));
        }
        if let Some(transport) = transport {
            self.transport = Some(Box::new(transport));
        }
    }

    /// The delivery arrived, with this evidence.
    pub fn completed(mut self, evidence: Evidence) {
        if evidence >= Evidence::Acked {
            self.measured(Some(self.body.len()), None);
        }
        self.end(evidence, |observer, ending| observer.completed(ending));
    }

    /// The delivery ended early.
    pub fn aborted(mut self, reason: &AbortReason) {
        self.end(Evidence::Sent, |observer, ending| observer.aborted(ending, reason));
    }

    /// The content could not be sent.
    pub fn failed(mut self, error: &SpanError) {
        self.end(Evidence::Sent, |observer, ending| observer.failed(ending, error));
    }

    fn end(&mut self, evidence: Evidence, report: impl FnOnce(&mut dyn Observer, &Ending)) {
        if self.state == WatchState::Ended {
            return;
        }
        self.started();
        self.state = WatchState::Ended;
        if let Some(observer) = &mut self.observer {
            let all_acked = self.acked == Some(self.body.len());
            let evidence = if all_acked { evidence.max(Evidence::Acked) } else { evidence };
            let (sent, acked, transport) = (self.sent, self.acked, self.transport.as_deref().copied());
            report(observer.as_mut(), &Ending { sent, acked, evidence, transport });
            observer.cleanup();
        }
    }
}

impl Drop for DeliveryWatch {
    fn drop(&mut self) {
        self.end(Evidence::Sent, |observer, ending| observer.aborted(ending, &AbortReason::Dropped));
    }
}
