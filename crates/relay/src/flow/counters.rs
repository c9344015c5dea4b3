//! Bytes by the path that they took. A flow that copies where it should splice looks the same from
//! outside and costs several times as much, so the paths are counted, logged and tested.

use std::ops::{Add, Sub};

use outflow_metrics::{Counter, CounterBy, labels, metrics};

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

labels! {
    /// The path of bytes between two sockets.
    pub enum FlowPath: "path" {
        /// By the kernel, through a pipe.
        Splice = "splice",
        /// Through this program's memory.
        Copy = "copy",
    }
}

metrics! {
    /// Running totals of all flows that share them.
    pub struct FlowCounters {
        /// Bytes of relayed connections, and of tunnels without frames, by the path that they took.
        moved: CounterBy<FlowPath> = "outflow_flow_bytes_total",
        /// Directions that were copied to the end because the kernel would not splice their source.
        refusals: Counter = "outflow_flow_unspliceable_total",
        /// Reads that were copied because no pipe was available.
        shortages: Counter = "outflow_flow_without_pipe_total",
    }
}

impl FlowCounters {
    /// Bytes that all flows have moved.
    pub fn bytes(&self) -> ByteCounts {
        let of = |path| self.moved.of(path).get();
        ByteCounts { spliced: of(FlowPath::Splice), copied: of(FlowPath::Copy) }
    }

    /// Directions that were copied to the end because the kernel would not splice their source
    /// (`EINVAL`).
    pub fn unspliceable(&self) -> u64 {
        self.refusals.get()
    }

    /// How often a read was copied because no pipe was available.
    pub fn without_pipe(&self) -> u64 {
        self.shortages.get()
    }

    pub(super) fn add(&self, bytes: ByteCounts) {
        for (path, moved) in [(FlowPath::Splice, bytes.spliced), (FlowPath::Copy, bytes.copied)] {
            // Adding 0 would still take the cache line.
            if moved > 0 {
                self.moved.of(path).add(moved);
            }
        }
    }
}
