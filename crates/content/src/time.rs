//! Points in time as files and manifests have them.

use std::fmt;
use std::num::NonZero;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A point in time: whole nanoseconds since 1970, from 1677 to 2262. `Option<UnixTime>` takes 8
/// bytes, too.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct UnixTime(NonZero<i64>);

/// Maps the unused value, `i64::MIN`, to zero, so that a `NonZero` can hold all others.
const FLIP: i64 = i64::MIN;
/// The earliest time.
const EARLIEST: NonZero<i64> = match NonZero::new((i64::MIN + 1) ^ FLIP) {
    Some(earliest) => earliest,
    None => unreachable!(),
};

impl UnixTime {
    /// The time `nanos` nanoseconds after (or before) 1970. `i64::MIN` becomes `i64::MIN + 1`.
    #[must_use]
    pub fn from_nanos(nanos: i64) -> UnixTime {
        UnixTime(NonZero::new(nanos ^ FLIP).unwrap_or(EARLIEST))
    }

    /// The current time.
    #[must_use]
    pub fn now() -> UnixTime {
        SystemTime::now().into()
    }

    /// Nanoseconds since 1970.
    #[must_use]
    pub fn nanos(self) -> i64 {
        self.0.get() ^ FLIP
    }

    /// Whole seconds since 1970, rounded down.
    #[must_use]
    pub fn seconds(self) -> i64 {
        self.nanos().div_euclid(1_000_000_000)
    }
}

impl PartialOrd for UnixTime {
    fn partial_cmp(&self, other: &UnixTime) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for UnixTime {
    fn cmp(&self, other: &UnixTime) -> std::cmp::Ordering {
        self.nanos().cmp(&other.nanos())
    }
}

impl fmt::Debug for UnixTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "UnixTime({})", self.nanos())
    }
}

/// Times beyond the years 1677 to 2262 are clamped.
impl From<SystemTime> for UnixTime {
    fn from(time: SystemTime) -> UnixTime {
        UnixTime::from_nanos(match time.duration_since(UNIX_EPOCH) {
            Ok(after) => i64::try_from(after.as_nanos()).unwrap_or(i64::MAX),
            Err(before) => i64::try_from(before.duration().as_nanos()).map_or(i64::MIN, |nanos| -nanos),
        })
    }
}

impl From<UnixTime> for SystemTime {
    fn from(time: UnixTime) -> SystemTime {
        let distance = Duration::from_nanos(time.nanos().unsigned_abs());
        if time.nanos() < 0 { UNIX_EPOCH - distance } else { UNIX_EPOCH + distance }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_before_1970_and_beyond_2262_survive() {
        let all = [i64::MIN + 1, -1_000_000_001, -1, 0, 1, 1_700_000_000_123_456_789, i64::MAX];
        for nanos in all {
            let time = UnixTime::from_nanos(nanos);
            assert_eq!(time.nanos(), nanos);
            assert_eq!(UnixTime::from(SystemTime::from(time)), time);
        }
        assert!(all.map(UnixTime::from_nanos).is_sorted());
        assert_eq!(UnixTime::from_nanos(i64::MIN).nanos(), i64::MIN + 1);
        assert_eq!(UnixTime::from_nanos(-1).seconds(), -1);
    }

    #[test]
    fn an_unknown_time_takes_no_more_room() {
        assert_eq!(size_of::<Option<UnixTime>>(), 8);
    }
}
