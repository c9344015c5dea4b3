//! Bytes, by the path that they took. A flow that copies where it should splice works as well, only dearer: so this
//! is counted, shown and tested.

use std::ops::{Add, Sub};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// How much has been handed to a socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bytes {
    /// Moved by the kernel, through a pipe.
    pub spliced: u64,
    /// Read into memory and written from there.
    pub copied: u64,
}

impl Bytes {
    /// By either path.
    #[must_use]
    pub fn all(self) -> u64 {
        self.spliced + self.copied
    }
}

impl Add for Bytes {
    type Output = Bytes;

    fn add(self, other: Bytes) -> Bytes {
        Bytes { spliced: self.spliced + other.spliced, copied: self.copied + other.copied }
    }
}

impl Sub for Bytes {
    type Output = Bytes;

    fn sub(self, other: Bytes) -> Bytes {
        Bytes {
            spliced: self.spliced.saturating_sub(other.spliced),
            copied: self.copied.saturating_sub(other.copied),
        }
    }
}

/// Running totals of all flows that share them.
#[derive(Debug, Default)]
pub struct Counters {
    spliced: AtomicU64,
    copied: AtomicU64,
    unspliceable: AtomicU64,
    without_pipe: AtomicU64,
}

impl Counters {
    /// What has flowed.
    pub fn bytes(&self) -> Bytes {
        Bytes { spliced: self.spliced.load(Relaxed), copied: self.copied.load(Relaxed) }
    }

    /// Directions whose source the kernel would not splice (`EINVAL`): all of theirs is copied.
    pub fn unspliceable(&self) -> u64 {
        self.unspliceable.load(Relaxed)
    }

    /// How often there was much to move, and no pipe to be had: that time it was copied.
    pub fn without_pipe(&self) -> u64 {
        self.without_pipe.load(Relaxed)
    }

    pub(super) fn add(&self, bytes: Bytes) {
        // A number that stays as it is need not be taken from another processor.
        if bytes.spliced > 0 {
            self.spliced.fetch_add(bytes.spliced, Relaxed);
        }
        if bytes.copied > 0 {
            self.copied.fetch_add(bytes.copied, Relaxed);
        }
    }

    pub(super) fn add_unspliceable(&self) {
        self.unspliceable.fetch_add(1, Relaxed);
    }

    pub(super) fn add_without_pipe(&self) {
        self.without_pipe.fetch_add(1, Relaxed);
    }
}
