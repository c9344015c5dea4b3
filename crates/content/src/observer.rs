//! Watching one delivery from its first byte to its end.

use std::fmt;

use crate::SpanError;

/// Is told what becomes of one delivery, in this order, each line at most as often as it says:
///
/// ```text
/// started             once, before the first byte
/// sent*               after each piece that the kernel took
/// completed           once: every byte was handed to the kernel
///   or aborted        once: the client went away, stalled, or the server stopped
///   or failed         once: the bytes could not be had, or must not be sent
/// cleanup             once, always last
/// ```
///
/// `sent` and `completed` speak of bytes handed to the kernel, not of bytes that the recipient has.
/// The body's bytes are counted, as they leave: parts and boundaries of a multipart answer included,
/// the head not.
pub trait Observer: Send + Sync + 'static {
    /// The delivery begins; `total` bytes are to leave.
    fn started(&mut self, total: u64) {
        let _ = total;
    }
    /// `now` more bytes were handed to the kernel, `sum` in all.
    fn sent(&mut self, now: u64, sum: u64) {
        let _ = (now, sum);
    }
    /// All bytes were handed to the kernel.
    fn completed(&mut self, sum: u64) {
        let _ = sum;
    }
    /// The delivery ended early and the content is not to blame. `sum` bytes had been handed to the kernel.
    fn aborted(&mut self, sum: u64, reason: &AbortReason) {
        let _ = (sum, reason);
    }
    /// The delivery was cut because of the content: unreadable, truncated, changed.
    fn failed(&mut self, sum: u64, error: &SpanError) {
        let _ = (sum, error);
    }
    /// Nothing will follow.
    fn cleanup(&mut self, sum: u64) {
        let _ = sum;
    }
}

/// Why a delivery ended before its last byte, the content not being to blame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AbortReason {
    /// The client closed or reset the connection; the text is the system's.
    Disconnected(String),
    /// The client took no bytes for longer than the stall timeout.
    Stalled,
    /// The server is stopping.
    Shutdown,
    /// The body was dropped by the server that carried it (it does not say why).
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

/// Keeps an [`Observer`]'s order, whoever sends and however it ends: dropping it before the end is an
/// abort, and `cleanup` always comes last.
pub struct Watch {
    observer: Option<Box<dyn Observer>>,
    total: u64,
    sum: u64,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Waiting,
    Started,
    Ended,
}

impl Watch {
    /// A watch over a delivery of `total` bytes.
    #[must_use]
    pub fn new(total: u64, observer: Option<Box<dyn Observer>>) -> Watch {
        Watch { observer, total, sum: 0, state: State::Waiting }
    }

    /// Bytes handed to the kernel so far.
    #[must_use]
    pub fn sum(&self) -> u64 {
        self.sum
    }

    /// The delivery begins. Further calls do nothing.
    pub fn started(&mut self) {
        if self.state == State::Waiting {
            self.state = State::Started;
            if let Some(observer) = &mut self.observer {
                observer.started(self.total);
            }
        }
    }

    /// `now` more bytes were handed to the kernel.
    pub fn sent(&mut self, now: u64) {
        self.started();
        self.sum += now;
        if now > 0
            && let Some(observer) = &mut self.observer
        {
            observer.sent(now, self.sum);
        }
    }

    /// All bytes were handed over.
    pub fn completed(mut self) {
        self.end(|observer, sum| observer.completed(sum));
    }

    /// The delivery ended early.
    pub fn aborted(mut self, reason: &AbortReason) {
        self.end(|observer, sum| observer.aborted(sum, reason));
    }

    /// The content could not be sent.
    pub fn failed(mut self, error: &SpanError) {
        self.end(|observer, sum| observer.failed(sum, error));
    }

    fn end(&mut self, tell: impl FnOnce(&mut dyn Observer, u64)) {
        if self.state == State::Ended {
            return;
        }
        self.started();
        self.state = State::Ended;
        if let Some(observer) = &mut self.observer {
            tell(observer.as_mut(), self.sum);
            observer.cleanup(self.sum);
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.end(|observer, sum| observer.aborted(sum, &AbortReason::Dropped));
    }
}
