//! How far ahead of its recipient an object is fetched: enough to keep a fast one busy, little for
//! a slow one.

use std::time::{Duration, Instant};

/// Size of the first fetch, and minimum that is fetched ahead, in bytes.
pub(crate) const LEAST: u64 = 1 << 20;
/// Maximum number of bytes that are fetched ahead of one recipient.
///
/// Bound: object stores.
const MOST: u64 = 32 << 20;
/// Maximum size of a segment in bytes. A recipient that is fast enough for it has several under
/// way.
///
/// Bound: object stores.
const SEGMENT: u64 = 8 << 20;
/// Bytes ahead should last for this time, and for some of the store's latencies. Not longer: bytes
/// that wait in memory leave the processor's cache, and cost twice as much to send.
const AHEAD: Duration = Duration::from_millis(5);

/// How far ahead of one recipient its object is fetched.
pub(crate) struct ReadAheadWindow {
    window: u64,
    taken: u64,
    since: Instant,
}

impl ReadAheadWindow {
    pub(crate) fn new() -> ReadAheadWindow {
        ReadAheadWindow { window: LEAST, taken: 0, since: Instant::now() }
    }

    /// The recipient took `bytes`.
    pub(crate) fn took(&mut self, bytes: u64) {
        self.taken += bytes;
    }

    /// The recipient had to wait: doubles the window.
    pub(crate) fn ran_dry(&mut self) {
        self.window = (self.window * 2).min(MOST);
        (self.taken, self.since) = (0, Instant::now());
    }

    /// The number of bytes that should be in memory or on their way, at most `fair`, for a store
    /// that answers after `latency`.
    pub(crate) fn window(&mut self, latency: Duration, fair: u64) -> u64 {
        // The recipient took a window's worth without waiting: the window may be larger than
        // needed.
        if self.taken >= self.window {
            let took = self.since.elapsed().as_secs_f64().max(0.001);
            let needed = self.taken as f64 / took * (AHEAD + 4 * latency).as_secs_f64();
            self.window = self.window.min((needed as u64).saturating_mul(2)).clamp(LEAST, MOST);
            (self.taken, self.since) = (0, Instant::now());
        }
        self.window.min(fair)
    }

    /// The size of a segment for such a window.
    pub(crate) fn segment(window: u64) -> u64 {
        if window <= LEAST { window } else { (window / 4).clamp(LEAST, SEGMENT) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_follows_the_recipient() {
        let mut pace = ReadAheadWindow::new();
        let latency = Duration::from_millis(20);
        assert_eq!(pace.window(latency, u64::MAX), LEAST);
        (0..10).for_each(|_| pace.ran_dry());
        assert_eq!(pace.window(latency, u64::MAX), MOST);
        assert_eq!(pace.window(latency, 3 << 20), 3 << 20);
        // 32 MiB in an hour: a slow one.
        pace.took(MOST);
        pace.since = Instant::now().checked_sub(Duration::from_secs(3600)).unwrap();
        assert_eq!(pace.window(latency, u64::MAX), LEAST);
    }

    #[test]
    fn segments_are_bounded_and_several_are_on_their_way_for_a_fast_recipient() {
        assert_eq!(ReadAheadWindow::segment(LEAST), LEAST);
        assert_eq!(ReadAheadWindow::segment(300_000), 300_000);
        assert_eq!(ReadAheadWindow::segment(2 * LEAST), LEAST);
        assert_eq!(ReadAheadWindow::segment(MOST), SEGMENT);
    }
}
