//! Bytes by the path that they took. A flow that copies where it should splice looks the same from
//! outside and costs several times as much, so the paths are counted, logged and tested.

use std::ops::{Add, Sub};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Bytes that were handed to a socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ByteCounts {
    /// Moved by the kernel, through a pipe.
    pub spliced: u64,
    /// Read into memory and written from there.
    pub copied: u64,
}

impl ByteCounts {
    /// Bytes on both paths.
    #[must_use]
    pub fn total(self) -> u64 {
        self.spliced + self.copied
    }
}

impl Add for ByteCounts {
    type Output = ByteCounts;

    fn add(self, other: ByteCounts) -> ByteCounts {
        ByteCounts { spliced: self.spliced + other.spliced, copied: self.copied + other.copied }
    }
}

impl Sub for ByteCounts {
    type Output = ByteCounts;

    fn sub(self, other: ByteCounts) -> ByteCounts {
        ByteCounts {
            spliced: self.spliced.saturating_sub(other.spliced),
            copied: self.copied.saturating_sub(other.copied),
        }
    }
}

/// Running totals of all flows that share them.
#[derive(Debug, Default)]
pub struct FlowCounters {
    spliced: AtomicU64,
    copied: AtomicU64,
    unspliceable: AtomicU64,
    without_pipe: AtomicU64,
}

impl FlowCounters {
    /// Bytes that all flows have moved.
    pub fn bytes(&self) -> ByteCounts {
        ByteCounts { spliced: self.spliced.load(Relaxed), copied: self.copied.load(Relaxed) }
    }

    /// Directions that were copied to the end because the kernel would not splice their source
    /// (`EINVAL`).
    pub fn unspliceable(&self) -> u64 {
        self.unspliceable.load(Relaxed)
    }

    /// How often a read was copied because no pipe was available.
    pub fn without_pipe(&self) -> u64 {
        self.without_pipe.load(Relaxed)
    }

    pub(super) fn add(&self, bytes: ByteCounts) {
        // Adding 0 would still take the cache line from another processor.
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
