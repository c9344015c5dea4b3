//! Buffers that are borrowed while there are bytes in them: a tunnel on which nothing happens has none.

use std::cell::RefCell;
use std::ops::{Deref, DerefMut};

use super::head::HEAD_ROOM;

/// What is read at once, in bytes.
pub const CHUNK: usize = 64 * 1024;

/// Spare ones that a thread keeps.
const SPARES: usize = 8;

thread_local! {
    static POOL: RefCell<Vec<Box<[u8]>>> = const { RefCell::new(Vec::new()) };
}

/// [`HEAD_ROOM`] and [`CHUNK`] bytes, with anything in them.
#[derive(Debug)]
pub(crate) struct Chunk(Box<[u8]>);

impl Chunk {
    pub(crate) fn borrow() -> Chunk {
        let spare = POOL.with_borrow_mut(Vec::pop);
        Chunk(spare.unwrap_or_else(|| vec![0; HEAD_ROOM + CHUNK].into_boxed_slice()))
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        let bytes = std::mem::take(&mut self.0);
        // The pool is gone when a thread ends.
        let _ = POOL.try_with(|pool| {
            let mut pool = pool.borrow_mut();
            if pool.len() < SPARES {
                pool.push(bytes);
            }
        });
    }
}

impl Deref for Chunk {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl DerefMut for Chunk {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}
