//! How far ahead of its recipient an object is fetched: enough to keep a fast one busy, little for a slow one.

use std::time::{Duration, Instant};

/// What is fetched first, and the least that is fetched ahead, in bytes.
pub(crate) const LEAST: u64 = 1 << 20;
/// The most that is fetched ahead.
const MOST: u64 = 32 << 20;
/// The largest segment; a recipient that is as fast as that has several on their way.
const SEGMENT: u64 = 8 << 20;
/// What is ahead should last for this time, and for some of the store's answers. Not longer: what waits in memory
/// leaves the processor's cache, and is sent at twice the cost.
const AHEAD: Duration = Duration::from_millis(5);

/// One recipient's pace.
pub(crate) struct Pace {
    window: u64,
    taken: u64,
    since: Instant,
}

impl Pace {
    pub(crate) fn new() -> Pace {
        Pace { window: LEAST, taken: 0, since: Instant::now() }
    }

    /// The recipient took `bytes`.
    pub(crate) fn took(&mut self, bytes: u64) {
        self.taken += bytes;
    }

    /// The recipient had to wait although the store was not asked late: more has to be on its way.
    pub(crate) fn ran_dry(&mut self) {
        self.window = (self.window * 2).min(MOST);
        (self.taken, self.since) = (0, Instant::now());
    }

    /// How many bytes should be here or on their way, if `fair` is the most that may be and the store takes
    /// `latency` to answer.
    pub(crate) fn window(&mut self, latency: Duration, fair: u64) -> u64 {
        // A window's worth has been taken without running dry: it may be more than is needed.
        if self.taken >= self.window {
            let took = self.since.elapsed().as_secs_f64().max(0.001);
            let needed = self.taken as f64 / took * (AHEAD + 4 * latency).as_secs_f64();
            self.window = self.window.min((needed as u64).saturating_mul(2)).clamp(LEAST, MOST);
            (self.taken, self.since) = (0, Instant::now());
        }
        self.window.min(fair)
    }

    /// How large a segment is for such a window.
    pub(crate) fn segment(window: u64) -> u64 {
        if window <= LEAST { window } else { (window / 4).clamp(LEAST, SEGMENT) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_follows_the_recipient() {
        let mut pace = Pace::new();
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
        assert_eq!(Pace::segment(LEAST), LEAST);
        assert_eq!(Pace::segment(300_000), 300_000);
        assert_eq!(Pace::segment(2 * LEAST), LEAST);
        assert_eq!(Pace::segment(MOST), SEGMENT);
    }
}
