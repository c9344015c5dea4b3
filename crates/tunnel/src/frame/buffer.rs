//! Buffers that are borrowed while they hold bytes: an idle tunnel has none.

use std::cell::RefCell;
use std::ops::{Deref, DerefMut};

use super::head::HEAD_ROOM;

/// Bytes that one read of a tunnel takes, and so what it holds in each direction while bytes are in
/// flight.
///
/// Bound: tunnels.
pub const CHUNK_BYTES: usize = 64 * 1024;

/// Spare buffers that a thread keeps for tunnels.
///
/// Bound: tunnels.
const MAX_SPARE_BUFFERS: usize = 8;

thread_local! {
    static POOL: RefCell<Vec<Box<[u8]>>> = const { RefCell::new(Vec::new()) };
}

/// [`HEAD_ROOM`] and [`CHUNK_BYTES`] bytes of unspecified content.
#[derive(Debug)]
pub(crate) struct ChunkBuffer(Box<[u8]>);

impl ChunkBuffer {
    pub(crate) fn borrow() -> ChunkBuffer {
        let spare = POOL.with_borrow_mut(Vec::pop);
        ChunkBuffer(spare.unwrap_or_else(|| vec![0; HEAD_ROOM + CHUNK_BYTES].into_boxed_slice()))
    }
}

impl Drop for ChunkBuffer {
    fn drop(&mut self) {
        let bytes = std::mem::take(&mut self.0);
        // The pool no longer exists while a thread ends.
        let _ = POOL.try_with(|pool| {
            let mut pool = pool.borrow_mut();
            if pool.len() < MAX_SPARE_BUFFERS {
                pool.push(bytes);
            }
        });
    }
}

impl Deref for ChunkBuffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl DerefMut for ChunkBuffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}
