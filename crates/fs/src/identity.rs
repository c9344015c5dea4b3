//! The identity of a local file: equal identities mean equal bytes.

use outflow_content::UnixTime;
use rustix::fs::Stat;

/// A file as `fstat` describes it. Two equal identities mean the same bytes, as far as the system
/// can tell: a write changes the modified time, and the changed time, which no program can set
/// back.
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
    pub fn modified(&self) -> UnixTime {
        UnixTime::from_nanos(self.mtime)
    }

    /// Device and inode in 32 bits: enough to notice that another file has taken a path.
    #[must_use]
    pub fn inode_hash(&self) -> u32 {
        // Neighbouring inodes differ in few bits; multiplying by an odd number spreads them to the
        // upper half.
        let mixed = (self.ino ^ self.dev.rotate_left(32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (mixed >> 32) as u32
    }
}

/// Nanoseconds since 1970; times beyond the years 1677 to 2262 are clamped.
fn nanos(seconds: i64, nanoseconds: i64) -> i64 {
    seconds.saturating_mul(1_000_000_000).saturating_add(nanoseconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_that_do_not_fit_are_clamped() {
        assert_eq!(nanos(i64::MAX, 999_999_999), i64::MAX);
        assert_eq!(nanos(i64::MIN, 0), i64::MIN);
    }
}
