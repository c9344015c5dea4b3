//! When a certificate is asked for again: well before its end, and not too often when that fails.

use std::time::Duration;

use jiff::Timestamp;

/// The longest sleep: whoever sleeps for weeks misses it when the clock is set.
pub(super) const NAP: Duration = Duration::from_secs(60 * 60);

/// However short-lived certificates are, between one and the next there is this long.
pub(super) const LEAST: Duration = Duration::from_secs(60);

/// After a failure that may be over at once: the authority does not answer, or not as it should.
const UNREACHED: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60 * 60));

/// After a refusal, which will be repeated until somebody does something. Let's Encrypt bears five an hour.
const REFUSED: (Duration, Duration) = (Duration::from_secs(120), Duration::from_secs(6 * 60 * 60));

/// The longest that an authority can make wait (`Retry-After`).
const ASKED: Duration = Duration::from_secs(24 * 60 * 60);

/// A number from 0 to 1 that nobody knows before.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chance(f64);

impl Chance {
    pub(super) fn draw() -> Chance {
        let mut bytes = [0; 4];
        // Without randomness all servers come at the same time, which is no harm to this one.
        let _ = ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut bytes);
        Chance(f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX))
    }
}

/// Why there is no certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failed {
    Unreached,
    Refused,
}

/// When a certificate that is good from `from` until `until` is renewed: at two thirds of its time, or up to a thirtieth
/// of it before that.
pub(super) fn renewal(from: Timestamp, until: Timestamp, chance: Chance) -> Timestamp {
    let life = from.duration_until(until).as_secs_f64().max(0.0);
    let share = 2.0 / 3.0 - chance.0 / 30.0;
    let after = jiff::SignedDuration::try_from_secs_f64(life * share).unwrap_or_default();
    from.checked_add(after).unwrap_or(until)
}

/// How long to wait after so many failures, at least one, of which the last was of that kind.
pub(super) fn pause(failures: u32, last: Failed, asked: Option<Duration>, chance: Chance) -> Duration {
    let (first, longest) = match last {
        Failed::Unreached => UNREACHED,
        Failed::Refused => REFUSED,
    };
    let doubled = first.saturating_mul(1 << failures.saturating_sub(1).min(20)).min(longest);
    let spread = doubled.mul_f64(1.0 + chance.0 / 10.0);
    spread.max(asked.unwrap_or_default().min(ASKED))
}

#[cfg(test)]
mod tests {
    use super::*;

    const EARLY: Chance = Chance(1.0);
    const LATE: Chance = Chance(0.0);

    #[test]
    fn certificates_are_renewed_at_about_two_thirds_of_their_time() {
        let stamp = |text: &str| text.parse::<Timestamp>().unwrap();
        let (from, until) = (stamp("2026-01-01T00:00:00Z"), stamp("2026-04-01T00:00:00Z"));
        assert_eq!(renewal(from, until, LATE), stamp("2026-03-02T00:00:00Z"));
        assert_eq!(renewal(from, until, EARLY), stamp("2026-02-27T00:00:00Z"));
        // Nonsense is renewed at once.
        assert_eq!(renewal(until, from, LATE), until);
    }

    #[test]
    fn failures_are_followed_by_longer_and_longer_pauses() {
        let seconds = |failures, last| pause(failures, last, None, LATE).as_secs();
        assert_eq!(
            [1, 2, 3, 12, 13, u32::MAX].map(|n| seconds(n, Failed::Unreached)),
            [1, 2, 4, 2048, 3600, 3600]
        );
        assert_eq!([1, 2, 3, 8, 9].map(|n| seconds(n, Failed::Refused)), [120, 240, 480, 15_360, 21_600]);
        assert_eq!(pause(1, Failed::Refused, None, EARLY), Duration::from_secs(132));
        // No more than five refusals within an hour.
        let within = (1..).scan(0, |at, n| {
            *at += seconds(n, Failed::Refused);
            Some(*at)
        });
        assert_eq!(1 + within.take_while(|at| *at < 3600).count(), 5);
    }

    #[test]
    fn what_the_authority_asks_for_is_heard_within_reason() {
        let asked = |seconds| pause(1, Failed::Refused, Some(Duration::from_secs(seconds)), LATE).as_secs();
        assert_eq!([0, 10, 600, 1 << 40].map(asked), [120, 120, 600, 86_400]);
    }

    #[test]
    fn chances_lie_between_none_and_all() {
        assert!((0..100).all(|_| (0.0..=1.0).contains(&Chance::draw().0)));
    }
}
