//! Buffers that are borrowed while there is something in them.
//!
//! A connection that waits owns none. Each thread keeps a few spare ones; what is held at one time is
//! bounded by the connections that are in the middle of a head or of a small answer.

use std::cell::RefCell;

/// Bytes of a fresh buffer. Most request heads and all small answers fit.
pub(crate) const BUFFER_BYTES: usize = 48 * 1024;

/// Spare buffers that a thread keeps: 8 x 48 KiB.
const SPARES: usize = 8;

thread_local! {
    static POOL: RefCell<Vec<Box<[u8]>>> = const { RefCell::new(Vec::new()) };
}

/// A pooled block of bytes, filled from the front and consumed from the front.
pub(crate) struct Buffer {
    bytes: Box<[u8]>,
    start: usize,
    end: usize,
}

impl Buffer {
    /// Borrows an empty buffer of [`BUFFER_BYTES`].
    pub(crate) fn borrow() -> Buffer {
        let bytes =
            POOL.with_borrow_mut(Vec::pop).unwrap_or_else(|| vec![0; BUFFER_BYTES].into_boxed_slice());
        Buffer { bytes, start: 0, end: 0 }
    }

    /// A buffer of no size that was not borrowed.
    pub(crate) fn none() -> Buffer {
        Buffer { bytes: Box::default(), start: 0, end: 0 }
    }

    pub(crate) fn filled(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Room behind what is filled.
    pub(crate) fn room(&self) -> usize {
        self.bytes.len() - self.end
    }

    pub(crate) fn spare(&mut self) -> &mut [u8] {
        &mut self.bytes[self.end..]
    }

    /// Says that `n` bytes of [`Buffer::spare`] have been filled.
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

    /// Appends, growing if it has to: callers that append what others chose look at [`Buffer::room`].
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        if self.room() < bytes.len() {
            self.grow_by(bytes.len());
        }
        self.spare()[..bytes.len()].copy_from_slice(bytes);
        self.fill(bytes.len());
    }

    /// Makes room behind what is filled, up to `limit` bytes in all. False when there is none to be had.
    pub(crate) fn grow(&mut self, limit: usize) -> bool {
        self.compact();
        if self.room() == 0 && self.bytes.len() < limit {
            self.resize((self.bytes.len() * 2).clamp(BUFFER_BYTES, limit.max(BUFFER_BYTES)));
        }
        self.room() > 0
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

impl Drop for Buffer {
    fn drop(&mut self) {
        if self.bytes.len() == BUFFER_BYTES {
            let bytes = std::mem::take(&mut self.bytes);
            // The pool is gone when a thread ends; then the buffer is simply freed.
            let _ = POOL.try_with(|pool| {
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
        let mut buffer = Buffer::borrow();
        buffer.push(b"hello world");
        buffer.consume(6);
        assert_eq!(buffer.filled(), b"world");
        assert!(buffer.grow(BUFFER_BYTES));
        assert_eq!(buffer.filled(), b"world");
        assert_eq!(buffer.room(), BUFFER_BYTES - 5);
    }

    #[test]
    fn a_buffer_grows_to_its_limit_and_no_further() {
        let mut buffer = Buffer::borrow();
        buffer.push(&[7; BUFFER_BYTES]);
        assert!(buffer.grow(64 * 1024));
        assert_eq!(buffer.room(), 64 * 1024 - BUFFER_BYTES);
        let room = buffer.room();
        buffer.fill(room);
        assert!(!buffer.grow(64 * 1024));
        assert_eq!(buffer.filled().len(), 64 * 1024);
    }

    #[test]
    fn a_thread_keeps_a_bounded_number_of_spares() {
        let many: Vec<Buffer> = (0..SPARES + 5).map(|_| Buffer::borrow()).collect();
        drop(many);
        assert_eq!(POOL.with_borrow(Vec::len), SPARES);
    }
}
