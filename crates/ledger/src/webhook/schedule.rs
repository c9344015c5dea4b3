//! When attempts are made.

use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use ring::rand::{SecureRandom as _, SystemRandom};

const HOUR: u64 = 3600;

/// Delay of each attempt after the previous one, as Standard Webhooks advises: 75.6 hours in all.
///
/// Bound: webhooks. 10 attempts
const DELAYS: [Duration; 10] = [
    Duration::ZERO,
    Duration::from_secs(5),
    Duration::from_secs(5 * 60),
    Duration::from_secs(30 * 60),
    Duration::from_secs(2 * HOUR),
    Duration::from_secs(5 * HOUR),
    Duration::from_secs(10 * HOUR),
    Duration::from_secs(14 * HOUR),
    Duration::from_secs(20 * HOUR),
    Duration::from_secs(24 * HOUR),
];

/// Maximum wait that a receiver can request.
///
/// Bound: webhooks.
const MAX_WAIT: Duration = Duration::from_secs(24 * HOUR);

/// Maximum time that an endpoint may fail without a success. After that it is disabled.
///
/// Bound: webhooks.
pub(super) const DISABLED_AFTER: Duration = Duration::from_secs(5 * 24 * HOUR);

/// The delay after a failed attempt that had `attempts` before it. `None`: it was the last one.
pub(super) fn delay_after(attempts: u32) -> Option<Duration> {
    DELAYS.get(usize::try_from(attempts).unwrap_or(usize::MAX).saturating_add(1)).copied()
}

/// The wait for an overloaded endpoint after `in_a_row` earlier overloads: what it has requested,
/// or a delay that doubles up to 5 minutes. A request for less than a fifth of that is raised.
pub(super) fn throttle(in_a_row: u32, requested: Option<Duration>) -> Duration {
    let own = Duration::from_secs((5_u64 << in_a_row.min(6)).min(300));
    requested.map_or(own, |requested| requested.max(own / 5))
}

/// The wait that `Retry-After` requests (RFC 9110, section 10.2.3): seconds, or a date.
pub(super) fn retry_after(value: &str, now: Timestamp) -> Option<Duration> {
    let value = value.trim();
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        // A number that does not fit is more than the maximum.
        return Some(value.parse().map_or(MAX_WAIT, Duration::from_secs).min(MAX_WAIT));
    }
    let date = httpdate::parse_http_date(value).ok()?;
    let wait = date.duration_since(SystemTime::from(now)).unwrap_or(Duration::ZERO);
    Some(wait.min(MAX_WAIT))
}

/// `wait`, up to 10 % more or less, so that attempts that failed together are not repeated
/// together.
pub(super) fn jitter(wait: Duration) -> Duration {
    wait.mul_f64(0.9 + 0.2 * random_fraction())
}

/// `wait`, or up to 10 % more, for a wait that a receiver has requested.
pub(super) fn jitter_up(wait: Duration) -> Duration {
    wait.mul_f64(1.0 + 0.1 * random_fraction())
}

/// The time `wait` after `now`.
pub(super) fn add(now: Timestamp, wait: Duration) -> Timestamp {
    jiff::SignedDuration::try_from(wait)
        .ok()
        .and_then(|wait| now.checked_add(wait).ok())
        .unwrap_or(Timestamp::MAX)
}

/// How much later `to` is than `from`; zero if it is not.
pub(super) fn time_between(from: Timestamp, to: Timestamp) -> Duration {
    to.duration_since(from).try_into().unwrap_or(Duration::ZERO)
}

/// A random number from 0 to 1.
fn random_fraction() -> f64 {
    let mut bytes = [0; 4];
    // Without randomness, every wait is the shortest.
    let _ = SystemRandom::new().fill(&mut bytes);
    f64::from(u32::from_le_bytes(bytes)) / (f64::from(u32::MAX) + 1.0)
}

#[cfg(test)]
mod tests {
    use super::super::outbox::MAX_DUE;
    use super::*;

    #[test]
    fn ten_attempts_take_75_6_hours() {
        let waits: Vec<Duration> = (0..).map_while(delay_after).collect();
        assert_eq!(waits.len(), 9);
        assert_eq!(waits[0], Duration::from_secs(5));
        assert_eq!(waits.iter().sum::<Duration>(), Duration::from_secs(75 * 3600 + 35 * 60 + 5));
        assert_eq!(delay_after(u32::MAX), None);
    }

    #[test]
    fn waits_differ_by_ten_percent_at_most() {
        let wait = Duration::from_secs(1000);
        let (mut least, mut most) = (Duration::MAX, Duration::ZERO);
        for _ in 0..2000 {
            let jittered = jitter(wait);
            assert!((900.0..=1100.0).contains(&jittered.as_secs_f64()), "{jittered:?}");
            (least, most) = (least.min(jittered), most.max(jittered));
            let raised = jitter_up(wait).as_secs_f64();
            assert!((1000.0..=1100.0).contains(&raised), "{raised}");
        }
        assert!(least.as_secs() < 920 && most.as_secs() > 1080, "{least:?} to {most:?} is no jitter");
        assert!(jitter_up(MAX_WAIT) < MAX_DUE && jitter(DELAYS[9]) < MAX_DUE);
    }

    #[test]
    fn retry_after_is_seconds_or_a_date_and_24_hours_at_most() {
        let now: Timestamp = "2026-11-23T08:00:00Z".parse().unwrap();
        let of = |value: &str| retry_after(value, now).map(|wait| wait.as_secs());
        assert_eq!(of("120"), Some(120));
        assert_eq!(of(" 0 "), Some(0));
        assert_eq!(of("Mon, 23 Nov 2026 08:02:00 GMT"), Some(120));
        assert_eq!(of("Monday, 23-Nov-26 08:02:00 GMT"), Some(120));
        assert_eq!(of("Mon, 23 Nov 2026 07:00:00 GMT"), Some(0));
        assert_eq!(of("Fri, 23 Nov 2029 07:00:00 GMT"), Some(86400));
        assert_eq!(of("99999999999999999999999999"), Some(86400));
        assert_eq!(of("86401"), Some(86400));
        for bad in ["", "soon", "-5", "1.5", "120 s", "Mon, 99 Nov 2026 08:02:00 GMT"] {
            assert_eq!(of(bad), None, "{bad}");
        }
    }

    #[test]
    fn throttling_doubles_up_to_five_minutes_or_is_what_was_asked_for() {
        let waits = |asked| (0..9).map(move |n| throttle(n, asked).as_secs()).collect::<Vec<_>>();
        assert_eq!(waits(None), [5, 10, 20, 40, 80, 160, 300, 300, 300]);
        assert_eq!(waits(Some(Duration::from_secs(7200))), [7200; 9]);
        assert_eq!(waits(Some(Duration::ZERO)), [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        assert_eq!(throttle(u32::MAX, None).as_secs(), 300);
    }

    #[test]
    fn times_at_the_end_of_time_do_not_overflow() {
        assert_eq!(add(Timestamp::MAX, MAX_WAIT), Timestamp::MAX);
        assert_eq!(time_between(Timestamp::MAX, Timestamp::MIN), Duration::ZERO);
    }
}
