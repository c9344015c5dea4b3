//! A bounded memory of 32-bit facts by key, which survives restarts where it may write.

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::Identity;
use crate::memo_file::MemoFile;

/// 96 bits that stand for something longer: a hash of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Key(pub(crate) [u32; 3]);

impl Key {
    /// The key of several texts, each with its length, so that no two lists of texts run into one.
    #[must_use]
    pub fn of(parts: &[&[u8]]) -> Key {
        let mut hasher = blake3::Hasher::new();
        for part in parts {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        Key::from_hash(&hasher.finalize())
    }

    /// The key of a file: one word for its inode, two for the whole identity.
    #[must_use]
    pub fn of_file(identity: &Identity) -> Key {
        let mut hasher = blake3::Hasher::new();
        for word in [
            identity.dev,
            identity.ino,
            identity.size,
            identity.mtime.cast_unsigned(),
            identity.ctime.cast_unsigned(),
        ] {
            hasher.update(&word.to_le_bytes());
        }
        let [_, second, third] = Key::from_hash(&hasher.finalize()).0;
        Key([place(identity), second, third])
    }

    /// Whether a file has the inode that this key was made of, whatever happened to it in between.
    #[must_use]
    pub fn is_inode_of(self, identity: &Identity) -> bool {
        self.0[0] == place(identity)
    }

    /// The key as bytes, to make it part of another hash.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 12] {
        let mut bytes = [0; 12];
        for (part, word) in bytes.as_chunks_mut::<4>().0.iter_mut().zip(self.0) {
            *part = word.to_le_bytes();
        }
        bytes
    }

    /// A folder's place, whatever its times: by this a walk notices that it goes in circles.
    pub(crate) fn of_folder(identity: &Identity) -> Key {
        Key::of_file(&Identity { size: 0, mtime: 0, ctime: 0, ..*identity })
    }

    fn from_hash(hash: &blake3::Hash) -> Key {
        let mut words = [0; 3];
        for (word, bytes) in words.iter_mut().zip(hash.as_bytes().as_chunks::<4>().0) {
            *word = u32::from_le_bytes(*bytes);
        }
        Key(words)
    }

    fn halves(self) -> (u64, u32) {
        (u64::from(self.0[0]) << 32 | u64::from(self.0[1]), self.0[2])
    }
}

/// Device and inode in 32 bits.
fn place(identity: &Identity) -> u32 {
    // Neighbouring inodes differ in few bits; multiplying by an odd number spreads them to the upper half.
    let mixed = (identity.ino ^ identity.dev.rotate_left(32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> 32) as u32
}

/// Remembers numbers, in memory and, where it may, in a file. Several processes may share the file.
///
/// Bounded: after [`Memo::capacity`] keys the older half is forgotten. A key takes about 40 bytes of
/// memory and 20 on disk.
#[derive(Debug)]
pub struct Memo {
    known: Mutex<Known>,
    file: Mutex<Option<MemoFile>>,
    capacity: usize,
    version: AtomicU64,
}

/// Two generations: when the young one is full it becomes the old one, and the old one is forgotten.
#[derive(Debug, Default)]
struct Known {
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
    /// What the system says when the folder cannot be made or the file in it not be read or written. The
    /// caller may go on with one [in memory](Memo::in_memory).
    pub fn open(folder: &Path, name: &str, capacity: usize) -> io::Result<Memo> {
        let mut memo = Memo::in_memory(capacity);
        let known = memo.known.get_mut().unwrap_or_else(PoisonError::into_inner);
        let half = memo.capacity / 2;
        let file = MemoFile::open(folder, name, memo.capacity, |key, value| known.insert(key, value, half))?;
        memo.file = Mutex::new(Some(file));
        Ok(memo)
    }

    /// How many keys it remembers at the most.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// A number that grows with each insertion that changes something.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// What is known by `key`.
    #[must_use]
    pub fn get(&self, key: Key) -> Option<u32> {
        lock(&self.known).get(key, self.capacity / 2)
    }

    /// Remembers `value`, in place of what was known by `key`. Writes 20 bytes to a file: short enough not
    /// to count as blocking.
    pub fn insert(&self, key: Key, value: u32) {
        {
            let mut known = lock(&self.known);
            if known.get(key, self.capacity / 2) == Some(value) {
                return;
            }
            known.insert(key, value, self.capacity / 2);
        }
        self.version.fetch_add(1, Ordering::AcqRel);
        let mut file = lock(&self.file);
        if let Some(open) = file.as_mut()
            && let Err(error) = open.append(key, value)
        {
            tracing::warn!(%error, "the cache cannot be written: from here on it is kept in memory only");
            *file = None;
        }
    }
}

impl Known {
    fn get(&mut self, key: Key, half: usize) -> Option<u32> {
        let (short, check) = key.halves();
        if let Some((there, value)) = self.young.get(&short) {
            return (*there == check).then_some(*value);
        }
        let (there, value) = *self.old.get(&short)?;
        if there != check {
            return None;
        }
        // What is asked for stays young.
        self.insert(key, value, half);
        Some(value)
    }

    fn insert(&mut self, key: Key, value: u32, half: usize) {
        let (short, check) = key.halves();
        if self.young.len() >= half && !self.young.contains_key(&short) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(short, (check, value));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u32) -> Key {
        Key([number, 1, 2])
    }

    #[test]
    fn every_field_is_part_of_the_key() {
        let base = Identity { dev: 1, ino: 2, size: 3, mtime: 4, ctime: 5 };
        let others = [
            Identity { dev: 9, ..base },
            Identity { ino: 9, ..base },
            Identity { size: 9, ..base },
            Identity { mtime: 9, ..base },
            Identity { ctime: 9, ..base },
        ];
        assert!(others.iter().all(|other| Key::of_file(other) != Key::of_file(&base)));
        assert!(Key::of_file(&others[2]).is_inode_of(&base));
        assert!(!Key::of_file(&others[1]).is_inode_of(&base));
        assert_ne!(Key::of(&[b"ab", b"c"]), Key::of(&[b"a", b"bc"]));
    }

    #[test]
    fn memory_is_bounded_and_what_is_used_stays() {
        let memo = Memo::in_memory(100);
        for number in 0..1_000 {
            memo.insert(key(number), number);
            assert_eq!(memo.get(key(0)), Some(0), "after {number}");
        }
        let known = lock(&memo.known);
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
