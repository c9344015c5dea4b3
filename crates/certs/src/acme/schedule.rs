//! When to renew a certificate, and when to retry after a failure.

use std::time::Duration;

use jiff::Timestamp;

/// Longest single sleep, so that a change of the system clock is noticed.
pub(super) const MAX_SLEEP: Duration = Duration::from_secs(60 * 60);

/// Minimum time between two orders for a domain, however short-lived its certificates are.
pub(super) const MIN_INTERVAL: Duration = Duration::from_secs(60);

/// Pauses after a failure that may be temporary: the authority is unreachable or broken. The first
/// and the longest.
///
/// Bound: TLS and certificates. 1 s to 1 h, doubled each time
const UNREACHABLE_PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60 * 60));

/// Pauses after a refusal, which persists until somebody fixes its cause. The first and the
/// longest; Let's Encrypt tolerates five refusals an hour.
///
/// Bound: TLS and certificates. 2 min to 6 h, doubled each time
const REFUSED_PAUSES: (Duration, Duration) = (Duration::from_secs(120), Duration::from_secs(6 * 60 * 60));

/// Pause that the authority can ask for with `Retry-After`.
///
/// Bound: TLS and certificates.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(24 * 60 * 60);

/// A random number from 0 to 1.
#[derive(Clone, Copy, Debug)]
pub(super) struct Jitter(f64);

impl Jitter {
    pub(super) fn random() -> Jitter {
        let mut bytes = [0; 4];
        // Without randomness, servers that started together renew together, which harms none of
        // them.
        let _ = ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut bytes);
        Jitter(f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX))
    }
}

/// Whether retrying soon can help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OrderFailure {
    /// The authority is unreachable or broken.
    Unreachable,
    /// The authority refuses the order.
    Refused,
}

/// When to renew a certificate that is valid from `from` until `until`: after two thirds of its
/// lifetime, or up to a thirtieth of it earlier.
pub(super) fn renewal(from: Timestamp, until: Timestamp, jitter: Jitter) -> Timestamp {
    let life = from.duration_until(until).as_secs_f64().max(0.0);
    let share = 2.0 / 3.0 - jitter.0 / 30.0;
    let after = jiff::SignedDuration::try_from_secs_f64(life * share).unwrap_or_default();
    from.checked_add(after).unwrap_or(until)
}

/// How long to wait after `failures` failures in a row, at least one, the last of which was `last`.
pub(super) fn pause(
    failures: u32,
    last: OrderFailure,
    retry_after: Option<Duration>,
    jitter: Jitter,
) -> Duration {
    let (first, longest) = match last {
        OrderFailure::Unreachable => UNREACHABLE_PAUSES,
        OrderFailure::Refused => REFUSED_PAUSES,
    };
    let doubled = first.saturating_mul(1 << failures.saturating_sub(1).min(20)).min(longest);
    let spread = doubled.mul_f64(1.0 + jitter.0 / 10.0);
    spread.max(retry_after.unwrap_or_default().min(MAX_RETRY_AFTER))
}

#[cfg(test)]
mod tests {
    use super::*;

    const EARLY: Jitter = Jitter(1.0);
    const LATE: Jitter = Jitter(0.0);

    #[test]
    fn certificates_are_renewed_at_about_two_thirds_of_their_time() {
        let stamp = |text: &str| text.parse::<Timestamp>().unwrap();
        let (from, until) = (stamp("2026-01-01T00:00:00Z"), stamp("2026-04-01T00:00:00Z"));
        assert_eq!(renewal(from, until, LATE), stamp("2026-03-02T00:00:00Z"));
        assert_eq!(renewal(from, until, EARLY), stamp("2026-02-27T00:00:00Z"));
        // One that ends before it begins is renewed at once.
        assert_eq!(renewal(until, from, LATE), until);
    }

    #[test]
    fn failures_are_followed_by_longer_and_longer_pauses() {
        let seconds = |failures, last| pause(failures, last, None, LATE).as_secs();
        assert_eq!(
            [1, 2, 3, 12, 13, u32::MAX].map(|n| seconds(n, OrderFailure::Unreachable)),
            [1, 2, 4, 2048, 3600, 3600]
        );
        assert_eq!(
            [1, 2, 3, 8, 9].map(|n| seconds(n, OrderFailure::Refused)),
            [120, 240, 480, 15_360, 21_600]
        );
        assert_eq!(pause(1, OrderFailure::Refused, None, EARLY), Duration::from_secs(132));
        // No more than five refusals within an hour.
        let within = (1..).scan(0, |at, n| {
            *at += seconds(n, OrderFailure::Refused);
            Some(*at)
        });
        assert_eq!(1 + within.take_while(|at| *at < 3600).count(), 5);
    }

    #[test]
    fn what_the_authority_asks_for_is_heard_within_reason() {
        let asked =
            |seconds| pause(1, OrderFailure::Refused, Some(Duration::from_secs(seconds)), LATE).as_secs();
        assert_eq!([0, 10, 600, 1 << 40].map(asked), [120, 120, 600, 86_400]);
    }

    #[test]
    fn chances_lie_between_none_and_all() {
        assert!((0..100).all(|_| (0.0..=1.0).contains(&Jitter::random().0)));
    }
}
