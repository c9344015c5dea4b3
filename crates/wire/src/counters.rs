//! Counts of the engine's work.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Running totals since the server was made: among them, which path the bytes took.
#[derive(Debug, Default)]
pub struct ServerCounters {
    sendfile_bytes: AtomicU64,
    spliced_bytes: AtomicU64,
    copied_bytes: AtomicU64,
    requests: AtomicU64,
    connections: AtomicU64,
    refused: AtomicU64,
}

impl ServerCounters {
    /// Body bytes that the kernel moved from a file to a socket.
    pub fn sendfile_bytes(&self) -> u64 {
        self.sendfile_bytes.load(Relaxed)
    }

    /// Body bytes that the kernel moved to a socket from a feed's descriptor, such as another
    /// socket.
    pub fn spliced_bytes(&self) -> u64 {
        self.spliced_bytes.load(Relaxed)
    }

    /// Body bytes that passed through this program's memory.
    pub fn copied_bytes(&self) -> u64 {
        self.copied_bytes.load(Relaxed)
    }

    /// Requests whose head was complete and well-formed.
    pub fn requests(&self) -> u64 {
        self.requests.load(Relaxed)
    }

    /// Connections accepted.
    pub fn connections(&self) -> u64 {
        self.connections.load(Relaxed)
    }

    /// Requests that the engine refused: malformed, too large, too slow.
    pub fn refused(&self) -> u64 {
        self.refused.load(Relaxed)
    }

    pub(crate) fn add_sendfile(&self, bytes: u64) {
        self.sendfile_bytes.fetch_add(bytes, Relaxed);
    }

    pub(crate) fn add_spliced(&self, bytes: u64) {
        self.spliced_bytes.fetch_add(bytes, Relaxed);
    }

    pub(crate) fn add_copied(&self, bytes: u64) {
        self.copied_bytes.fetch_add(bytes, Relaxed);
    }

    pub(crate) fn add_request(&self) {
        self.requests.fetch_add(1, Relaxed);
    }

    pub(crate) fn add_connection(&self) {
        self.connections.fetch_add(1, Relaxed);
    }

    pub(crate) fn add_refused(&self) {
        self.refused.fetch_add(1, Relaxed);
    }
}
