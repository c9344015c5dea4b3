//! Buffers that are borrowed from a pool while there is something in them.
//!
//! A waiting connection owns none. Each thread keeps a few spare ones. At any time there are as
//! many as connections in the middle of a head or of a small answer.

use std::cell::RefCell;

/// Size of a pooled buffer in bytes: what a connection holds while it reads a head or sends
/// something small. Most request heads and all small answers fit.
///
/// Bound: connections.
pub(crate) const BUFFER_BYTES: usize = 48 * 1024;

/// Maximum number of spare buffers that a thread keeps, of 48 KiB each.
///
/// Bound: connections.
const SPARES: usize = 8;

thread_local! {
    static SPARE_BUFFERS: RefCell<Vec<Box<[u8]>>> = const { RefCell::new(Vec::new()) };
}

/// A pooled block of bytes, filled at the end and consumed from the front.
pub(crate) struct PooledBuffer {
    bytes: Box<[u8]>,
    start: usize,
    end: usize,
}

impl PooledBuffer {
    /// Borrows an empty buffer of [`BUFFER_BYTES`].
    pub(crate) fn borrow() -> PooledBuffer {
        let bytes = SPARE_BUFFERS
            .with_borrow_mut(Vec::pop)
            .unwrap_or_else(|| vec![0; BUFFER_BYTES].into_boxed_slice());
        PooledBuffer { bytes, start: 0, end: 0 }
    }

    /// A buffer without memory.
    pub(crate) fn none() -> PooledBuffer {
        PooledBuffer { bytes: Box::default(), start: 0, end: 0 }
    }

    pub(crate) fn filled(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Number of spare bytes behind the filled ones.
    pub(crate) fn capacity_left(&self) -> usize {
        self.bytes.len() - self.end
    }

    pub(crate) fn spare(&mut self) -> &mut [u8] {
        &mut self.bytes[self.end..]
    }

    /// `n` bytes of [`PooledBuffer::spare`] have been filled.
    pub(crate) fn fill(&mut self, n: usize) {
        self.end = (self.end + n).min(self.bytes.len());
    }

    /// Drops `n` bytes from the front.
    pub(crate) fn consume(&mut self, n: usize) {
        self.start = (self.start + n).min(self.end);
        if self.start == self.end {
            self.start = 0;
            self.end = 0;
        }
    }

    /// Appends, growing if need be: callers that append what a client chose check
    /// [`PooledBuffer::capacity_left`].
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        if self.capacity_left() < bytes.len() {
            self.grow_by(bytes.len());
        }
        self.spare()[..bytes.len()].copy_from_slice(bytes);
        self.fill(bytes.len());
    }

    /// Makes spare space behind the filled bytes, up to `limit` bytes in all. False if that is
    /// impossible.
    pub(crate) fn grow(&mut self, limit: usize) -> bool {
        self.compact();
        if self.capacity_left() == 0 && self.bytes.len() < limit {
            self.resize((self.bytes.len() * 2).clamp(BUFFER_BYTES, limit.max(BUFFER_BYTES)));
        }
        self.capacity_left() > 0
    }

    #[cold]
    fn grow_by(&mut self, more: usize) {
        self.compact();
        self.resize((self.end + more).next_power_of_two().max(BUFFER_BYTES));
    }

    fn compact(&mut self) {
        self.bytes.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
    }

    fn resize(&mut self, len: usize) {
        let mut larger = vec![0; len];
        larger[..self.end].copy_from_slice(&self.bytes[..self.end]);
        self.bytes = larger.into_boxed_slice();
    }
}

impl Drop for PooledBuffer {
    fn drop(&mut self) {
        if self.bytes.len() == BUFFER_BYTES {
            let bytes = std::mem::take(&mut self.bytes);
            // The pool is gone when a thread ends: the buffer is freed then.
            let _ = SPARE_BUFFERS.try_with(|pool| {
                let mut pool = pool.borrow_mut();
                if pool.len() < SPARES {
                    pool.push(bytes);
                }
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_pushed_comes_out_in_order_and_the_rest_moves_to_the_front() {
        let mut buffer = PooledBuffer::borrow();
        buffer.push(b"hello world");
        buffer.consume(6);
        assert_eq!(buffer.filled(), b"world");
        assert!(buffer.grow(BUFFER_BYTES));
        assert_eq!(buffer.filled(), b"world");
        assert_eq!(buffer.capacity_left(), BUFFER_BYTES - 5);
    }

    #[test]
    fn a_buffer_grows_to_its_limit_and_no_further() {
        let mut buffer = PooledBuffer::borrow();
        buffer.push(&[7; BUFFER_BYTES]);
        assert!(buffer.grow(64 * 1024));
        assert_eq!(buffer.capacity_left(), 64 * 1024 - BUFFER_BYTES);
        let left = buffer.capacity_left();
        buffer.fill(left);
        assert!(!buffer.grow(64 * 1024));
        assert_eq!(buffer.filled().len(), 64 * 1024);
    }

    #[test]
    fn a_thread_keeps_a_bounded_number_of_spares() {
        let many: Vec<PooledBuffer> = (0..SPARES + 5).map(|_| PooledBuffer::borrow()).collect();
        drop(many);
        assert_eq!(SPARE_BUFFERS.with_borrow(Vec::len), SPARES);
    }
}
