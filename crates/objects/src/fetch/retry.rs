//! What becomes of a request that failed: tried again, when, and how often.

use std::time::{Duration, SystemTime};

use outflow_content::SpanError;

use crate::error::StoreErrorKind;

/// Maximum number of tries of a segment without a single new byte.
///
/// Bound: object stores.
const TRIES: u32 = 8;
/// Maximum number of tries with credentials that are refused.
///
/// Bound: object stores.
const DENIED: u32 = 4;
/// Delay before the second try; it doubles with each further one.
const FIRST_WAIT: Duration = Duration::from_millis(100);
/// Maximum delay without a `Retry-After`.
///
/// Bound: object stores.
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// Maximum delay that a `Retry-After` can ask for.
///
/// Bound: object stores.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(30);

/// Why a request failed.
#[derive(Clone, Debug)]
pub(crate) enum FetchFailure {
    /// It may go better next time.
    Passing {
        /// What happened.
        why: String,
        /// The store's `Retry-After`.
        retry_after: Option<Duration>,
    },
    /// The same as passing, but right away: a pooled connection had been closed meanwhile.
    Stale,
    /// The credentials were refused: worth another try with fresh ones.
    Denied(String),
    /// The object is not the version that the content was made from.
    Changed(String),
    /// It will not go better.
    Lasting(String),
}

impl FetchFailure {
    pub(crate) fn passing(why: impl Into<String>) -> FetchFailure {
        FetchFailure::Passing { why: why.into(), retry_after: None }
    }

    /// The meaning of an answer's status that is not one of success.
    pub(crate) fn of_status(status: u16, retry_after: Option<Duration>) -> FetchFailure {
        match status {
            412 => FetchFailure::Changed("the store has another version of it by now".to_owned()),
            404 | 410 => FetchFailure::Changed("the store does not have it any more".to_owned()),
            416 => FetchFailure::Changed("it has become shorter in the store".to_owned()),
            401 | 403 => FetchFailure::Denied(format!("the store refuses access ({status})")),
            408 | 425 | 429 | 500..=599 => {
                FetchFailure::Passing { why: format!("the store answered {status}"), retry_after }
            }
            _ => FetchFailure::Lasting(format!("the store answered {status}")),
        }
    }

    /// What the error of a store's client means for a request.
    pub(crate) fn of_kind(kind: StoreErrorKind) -> FetchFailure {
        match kind {
            StoreErrorKind::Unavailable(why) => FetchFailure::passing(why),
            StoreErrorKind::Denied(why) => FetchFailure::Denied(why),
            kind => FetchFailure::Lasting(kind.to_string()),
        }
    }

    /// The error that a recipient's delivery ends with.
    pub(crate) fn to_span_error(&self, name: &str) -> SpanError {
        let other = |why: &str| SpanError::Other { name: name.to_owned(), source: why.into() };
        match self {
            FetchFailure::Changed(how) => SpanError::Changed { name: name.to_owned(), how: how.clone() },
            FetchFailure::Passing { why, .. } => other(&format!("{why}, even after several tries")),
            FetchFailure::Stale => other("the store closes every connection"),
            FetchFailure::Denied(why) | FetchFailure::Lasting(why) => other(why),
        }
    }
}

/// Counts the tries of one segment.
#[derive(Debug, Default)]
pub(crate) struct Retries {
    failed: u32,
    stale: u32,
    denied: u32,
}

impl Retries {
    /// New bytes came: what failed before does not count any more.
    pub(crate) fn progress(&mut self) {
        *self = Retries::default();
    }

    /// How long to wait before the next try; the failure itself if there is none.
    pub(crate) fn after(&mut self, failure: FetchFailure) -> Result<Duration, FetchFailure> {
        match failure {
            FetchFailure::Changed(_) | FetchFailure::Lasting(_) => Err(failure),
            // Signed with credentials that have just ended, perhaps: the next ones are not long in
            // coming.
            FetchFailure::Denied(_) => {
                self.denied += 1;
                if self.denied >= DENIED { Err(failure) } else { Ok(FIRST_WAIT * (self.denied - 1)) }
            }
            // All pooled connections may have been closed at the same time.
            FetchFailure::Stale if self.stale < 64 => {
                self.stale += 1;
                Ok(Duration::ZERO)
            }
            FetchFailure::Stale => Err(failure),
            FetchFailure::Passing { retry_after, .. } => {
                self.failed += 1;
                if self.failed >= TRIES {
                    return Err(failure);
                }
                let wait = (FIRST_WAIT * 2u32.pow(self.failed - 1)).min(LONGEST_WAIT);
                // Between half and all of it, so that requests that failed together are not
                // repeated together.
                let wait = wait.mul_f64(0.5 + 0.5 * jitter());
                Ok(retry_after.map_or(wait, |asked| asked.min(LONGEST_RETRY_AFTER).max(wait)))
            }
        }
    }
}

/// A number from 0 to 1 that differs from call to call.
fn jitter() -> f64 {
    use std::hash::{BuildHasher as _, RandomState};
    // Each state has a key of its own (std documentation), so the hash of nothing is random enough
    // here.
    RandomState::new().hash_one(0) as f64 / u64::MAX as f64
}

/// What a `Retry-After` field says: seconds, or a date (RFC 9110, 10.2.3).
pub(crate) fn retry_after(value: &str) -> Option<Duration> {
    if let Ok(seconds) = value.trim().parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let date = jiff::fmt::rfc2822::parse(value.trim()).ok()?;
    Some(SystemTime::from(date.timestamp()).duration_since(SystemTime::now()).unwrap_or(Duration::ZERO))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_and_end() {
        let mut retries = Retries::default();
        let mut sum = Duration::ZERO;
        for tried in 1..TRIES {
            let wait = retries.after(FetchFailure::passing("x")).unwrap();
            let longest = (FIRST_WAIT * 2u32.pow(tried - 1)).min(LONGEST_WAIT);
            assert!(wait <= longest && wait >= longest / 2, "{tried}: {wait:?}");
            sum += wait;
        }
        assert!(sum > Duration::from_secs(6), "{sum:?}");
        assert!(retries.after(FetchFailure::passing("x")).is_err());
        retries.progress();
        assert!(retries.after(FetchFailure::passing("x")).is_ok());
    }

    #[test]
    fn a_store_that_asks_for_time_gets_it() {
        let mut retries = Retries::default();
        let asked = |seconds| FetchFailure::Passing {
            why: String::new(),
            retry_after: Some(Duration::from_secs(seconds)),
        };
        assert_eq!(retries.after(asked(7)).unwrap(), Duration::from_secs(7));
        assert_eq!(retries.after(asked(100_000)).unwrap(), LONGEST_RETRY_AFTER);
        assert_eq!(retry_after(" 12 "), Some(Duration::from_secs(12)));
        assert_eq!(retry_after("Sun, 06 Nov 1994 08:49:37 GMT"), Some(Duration::ZERO));
        assert_eq!(retry_after("soon"), None);
    }

    #[test]
    fn some_failures_are_final() {
        for status in [412, 404, 416, 400, 301] {
            assert!(Retries::default().after(FetchFailure::of_status(status, None)).is_err(), "{status}");
        }
        let mut retries = Retries::default();
        assert_eq!(retries.after(FetchFailure::of_status(403, None)).unwrap(), Duration::ZERO);
        assert!((2..DENIED).all(|_| retries.after(FetchFailure::of_status(403, None)).is_ok()));
        assert!(retries.after(FetchFailure::of_status(403, None)).is_err());
        for status in [500, 503, 429, 408] {
            assert!(Retries::default().after(FetchFailure::of_status(status, None)).is_ok(), "{status}");
        }
    }
}
