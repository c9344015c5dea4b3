//! What makes a file on this machine the same file with the same bytes.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::Stat;

/// A file as `fstat` sees it. Two equal identities mean the same bytes, as far as the system can tell:
/// writing changes the modified time and, beyond anybody's reach, the changed time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Identity {
    /// Device number.
    pub dev: u64,
    /// Inode number.
    pub ino: u64,
    /// Size in bytes.
    pub size: u64,
    /// Modified time, in nanoseconds since 1970.
    pub mtime: i64,
    /// Changed time of the inode, in nanoseconds since 1970.
    pub ctime: i64,
}

impl Identity {
    pub(crate) fn of(stat: &Stat) -> Identity {
        Identity {
            dev: stat.st_dev,
            ino: stat.st_ino,
            size: u64::try_from(stat.st_size).unwrap_or(0),
            mtime: nanos(stat.st_mtime, stat.st_mtime_nsec as i64),
            ctime: nanos(stat.st_ctime, stat.st_ctime_nsec as i64),
        }
    }

    /// Modified time.
    #[must_use]
    pub fn modified(&self) -> SystemTime {
        time_of(self.mtime)
    }
}

/// Nanoseconds since 1970; times beyond the years 1677 to 2262 are clamped.
fn nanos(seconds: i64, nanoseconds: i64) -> i64 {
    seconds.saturating_mul(1_000_000_000).saturating_add(nanoseconds)
}

/// The point in time `nanos` nanoseconds after (or before) 1970.
#[must_use]
pub fn time_of(nanos: i64) -> SystemTime {
    let distance = Duration::from_nanos(nanos.unsigned_abs());
    if nanos < 0 { UNIX_EPOCH - distance } else { UNIX_EPOCH + distance }
}

/// The reverse of [`time_of`]; times beyond the years 1677 to 2262 are clamped.
#[must_use]
pub fn nanos_of(time: SystemTime) -> i64 {
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_nanos()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_nanos()).map_or(i64::MIN, |nanos| -nanos),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_before_1970_and_beyond_2262_survive() {
        for nanos in [0, 1, -1, i64::MAX, i64::MIN + 1] {
            assert_eq!(nanos_of(time_of(nanos)), nanos);
        }
        assert_eq!(super::nanos(i64::MAX, 999_999_999), i64::MAX);
        assert_eq!(super::nanos(i64::MIN, 0), i64::MIN);
    }
}
