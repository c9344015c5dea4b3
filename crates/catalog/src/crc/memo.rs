//! A bounded map from fingerprints to 32-bit numbers, which survives restarts where it may write.
//!
//! No library: `redb` and the linked SQLite keep transactions, pages and locks that a cache needs
//! not; one map and one append-only file let several processes share it, and forget without
//! compaction.

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::crc::memo_file::MemoFile;
use crate::fingerprint::Fingerprint;

/// Remembers numbers in memory and, if possible, in a file. Several processes may share the file.
///
/// After [`Memo::capacity`] keys the older half is forgotten. A key takes about 40 bytes of memory
/// and 20 on disk.
#[derive(Debug)]
pub struct Memo {
    known: Mutex<MemoGenerations>,
    file: Mutex<Option<MemoFile>>,
    capacity: usize,
    version: AtomicU64,
}

/// Two generations: when the young one is full it becomes the old one, and the old one is
/// forgotten.
#[derive(Debug, Default)]
struct MemoGenerations {
    young: HashMap<u64, (u32, u32)>,
    old: HashMap<u64, (u32, u32)>,
}

impl Memo {
    /// A memo without a place on disk.
    #[must_use]
    pub fn in_memory(capacity: usize) -> Memo {
        Memo {
            known: Mutex::default(),
            file: Mutex::default(),
            capacity: capacity.max(2),
            version: AtomicU64::new(0),
        }
    }

    /// A memo in the file `name` in `folder`, both made if they are not there. Blocks.
    ///
    /// # Errors
    /// The system's error if the folder cannot be created, or the file in it cannot be read or
    /// written. The caller may use one [in memory](Memo::in_memory) instead.
    pub fn open(folder: &Path, name: &str, capacity: usize) -> io::Result<Memo> {
        let mut memo = Memo::in_memory(capacity);
        let known = memo.known.get_mut();
        let half = memo.capacity / 2;
        let file = MemoFile::open(folder, name, memo.capacity, |key, value| known.insert(key, value, half))?;
        memo.file = Mutex::new(Some(file));
        Ok(memo)
    }

    /// Maximum number of keys.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// A number that grows with each insertion that changes something.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// The number of `key`.
    #[must_use]
    pub fn get(&self, key: Fingerprint) -> Option<u32> {
        self.known.lock().get(key, self.capacity / 2)
    }

    /// Sets the number of `key`. Writes 20 bytes to a file: short enough not to count as blocking.
    pub fn insert(&self, key: Fingerprint, value: u32) {
        {
            let mut known = self.known.lock();
            if known.get(key, self.capacity / 2) == Some(value) {
                return;
            }
            known.insert(key, value, self.capacity / 2);
        }
        self.version.fetch_add(1, Ordering::AcqRel);
        let mut file = self.file.lock();
        if let Some(open) = file.as_mut()
            && let Err(error) = open.append(key, value)
        {
            tracing::warn!(%error, "the cache cannot be written: from here on it is kept in memory only");
            *file = None;
        }
    }
}

/// The first two words, and the last.
fn halves(key: Fingerprint) -> (u64, u32) {
    (u64::from(key.0[0]) << 32 | u64::from(key.0[1]), key.0[2])
}

impl MemoGenerations {
    fn get(&mut self, key: Fingerprint, half: usize) -> Option<u32> {
        let (short, check) = halves(key);
        if let Some((there, value)) = self.young.get(&short) {
            return (*there == check).then_some(*value);
        }
        let (there, value) = *self.old.get(&short)?;
        if there != check {
            return None;
        }
        // A key that is used stays young.
        self.insert(key, value, half);
        Some(value)
    }

    fn insert(&mut self, key: Fingerprint, value: u32, half: usize) {
        let (short, check) = halves(key);
        if self.young.len() >= half && !self.young.contains_key(&short) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(short, (check, value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u32) -> Fingerprint {
        Fingerprint([number, 1, 2])
    }

    #[test]
    fn memory_is_bounded_and_what_is_used_stays() {
        let memo = Memo::in_memory(100);
        for number in 0..1_000 {
            memo.insert(key(number), number);
            assert_eq!(memo.get(key(0)), Some(0), "after {number}");
        }
        let known = memo.known.lock();
        assert!(known.young.len() + known.old.len() <= 100);
        drop(known);
        assert_eq!(memo.get(key(999)), Some(999));
        assert_eq!(memo.get(key(500)), None);
    }

    #[test]
    fn the_later_value_wins_after_a_restart() {
        let temp = tempfile::tempdir().unwrap();
        let memo = Memo::open(temp.path(), "memo", 100).unwrap();
        memo.insert(key(1), 1);
        memo.insert(key(1), 2);
        let version = memo.version();
        memo.insert(key(1), 2);
        assert_eq!(memo.version(), version);
        let again = Memo::open(temp.path(), "memo", 100).unwrap();
        assert_eq!(again.get(key(1)), Some(2));
    }
}
