//! A set of names that lie in one string: eight bytes for each, all in one array.
//!
//! The table of a million names exceeds a processor's caches, so cache misses decide its speed: one
//! for finding and taking a name. Tables that keep control bytes apart from values miss twice,
//! which was a quarter of the time of a whole plan.

use std::ops::Range;

/// A name that is taken: its range in the string of all names, and what took it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TakenName {
    pub(crate) start: u32,
    /// 1 to 4,096.
    pub(crate) len: u16,
    pub(crate) by: TakenBy,
}

/// What took a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TakenBy {
    File,
    /// A folder that has an entry of its own.
    Directory,
    /// A folder without an entry of its own, which exists because of its contents.
    Parent,
}

/// Names by their hash, with linear probing. A slot is 0 when free, or else from its lowest bit on:
/// 32 bits of start, 13 of length (never 0), 2 of [`By`], and the highest 17 of the hash, which
/// tell nearly all others.
#[derive(Debug)]
pub(crate) struct NameTable {
    /// A power of two of them; at most three quarters are in use.
    slots: Vec<u64>,
    used: usize,
}

const TAG: u64 = !0 << 47;

impl NameTable {
    pub(crate) fn with_capacity(names: usize) -> NameTable {
        let slots = (names / 3).saturating_mul(4).max(15) + 1;
        NameTable { slots: vec![0; slots.next_power_of_two()], used: 0 }
    }

    /// The name `path`, if it is among `all` that are taken.
    pub(crate) fn get(&self, hash: u64, path: &str, all: &str) -> Option<TakenName> {
        TakenName::unpack(self.slots[self.slot(hash, path, all)])
    }

    /// Takes a name, or changes what took it. `hash_of` hashes the names in the table.
    pub(crate) fn put(&mut self, hash: u64, taken: TakenName, all: &str, hash_of: impl Fn(TakenName) -> u64) {
        if self.used >= self.slots.len() / 4 * 3 {
            let slots = vec![0; self.slots.len() * 2];
            let old = std::mem::replace(&mut self.slots, slots);
            for other in old.into_iter().filter_map(TakenName::unpack) {
                let hash = hash_of(other);
                let slot = self.slot(hash, &all[other.range()], all);
                self.slots[slot] = other.pack(hash);
            }
        }
        let slot = self.slot(hash, &all[taken.range()], all);
        if self.slots[slot] == 0 {
            self.used += 1;
        }
        self.slots[slot] = taken.pack(hash);
    }

    /// The slot of the name, or the free slot for it. There is always a free slot.
    fn slot(&self, hash: u64, path: &str, all: &str) -> usize {
        let mask = self.slots.len() - 1;
        let mut slot = hash as usize & mask;
        loop {
            let value = self.slots[slot];
            let Some(taken) = TakenName::unpack(value) else { return slot };
            if (value ^ hash) & TAG == 0 && &all[taken.range()] == path {
                return slot;
            }
            slot = (slot + 1) & mask;
        }
    }
}

impl TakenName {
    pub(crate) fn range(self) -> Range<usize> {
        let start = self.start as usize;
        start..start + usize::from(self.len)
    }

    fn pack(self, hash: u64) -> u64 {
        u64::from(self.start) | u64::from(self.len) << 32 | (self.by as u64) << 45 | hash & TAG
    }

    fn unpack(slot: u64) -> Option<TakenName> {
        let by = match slot >> 45 & 3 {
            0 => TakenBy::File,
            1 => TakenBy::Directory,
            _ => TakenBy::Parent,
        };
        // The lower bits of the value, as they were packed.
        (slot != 0).then_some(TakenName { start: slot as u32, len: (slot >> 32) as u16 & 0x1fff, by })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_return_what_was_packed() {
        for by in [TakenBy::File, TakenBy::Directory, TakenBy::Parent] {
            for (start, len) in [(0, 1), (u32::MAX, 4096), (1 << 31, 4095)] {
                let taken = TakenName { start, len, by };
                assert_eq!(TakenName::unpack(taken.pack(u64::MAX)), Some(taken));
                assert_eq!(TakenName::unpack(taken.pack(0)), Some(taken));
            }
        }
        assert_eq!(TakenName::unpack(0), None);
    }

    /// All hashes alike: slow, and right all the same; at every size the table has while it grows.
    #[test]
    fn names_with_equal_hashes_are_distinguished() {
        let all: String = (0..1_000).map(|i| format!("{i:04}")).collect();
        let mut table = NameTable::with_capacity(0);
        for i in 0..1_000u32 {
            let taken = TakenName { start: 4 * i, len: 4, by: TakenBy::Parent };
            assert_eq!(table.get(7, &all[taken.range()], &all), None);
            table.put(7, taken, &all, |_| 7);
            table.put(7, TakenName { by: TakenBy::File, ..taken }, &all, |_| 7);
        }
        for i in 0..1_000u32 {
            let taken = TakenName { start: 4 * i, len: 4, by: TakenBy::File };
            assert_eq!(table.get(7, &all[taken.range()], &all), Some(taken));
        }
        assert_eq!((table.used, table.slots.len()), (1_000, 2_048));
        assert_eq!(NameTable::with_capacity(1_000_000).slots.len(), 1 << 21);
    }
}
