//! A set of names that lie in one string: eight bytes for each, all in one array.
//!
//! A million names make a table that is larger than a processor's caches, so that what counts is how often
//! memory is waited for. Here it is once for looking a name up and taking it; tables that keep their
//! marks apart from their values wait twice, which was a quarter of the time of a whole plan.

use std::ops::Range;

/// A name that is taken: where it lies in the string of all names, and by what it is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Taken {
    pub(crate) start: u32,
    /// 1 to 4,096.
    pub(crate) len: u16,
    pub(crate) by: By,
}

/// What has a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum By {
    File,
    /// A folder that has an entry of its own.
    Directory,
    /// A folder that is there because something is in it.
    Parent,
}

/// Names by their hash, with linear probing. A slot is 0 when free, or else from its lowest bit on: 32 bits
/// of start, 13 of length (never 0), 2 of [`By`], and the highest 17 of the hash, which tell nearly all others.
#[derive(Debug)]
pub(crate) struct Table {
    /// A power of two of them; at most three quarters are in use.
    slots: Vec<u64>,
    used: usize,
}

const TAG: u64 = !0 << 47;

impl Table {
    pub(crate) fn with_capacity(names: usize) -> Table {
        let slots = (names / 3).saturating_mul(4).max(15) + 1;
        Table { slots: vec![0; slots.next_power_of_two()], used: 0 }
    }

    /// The name `path`, if it is among `all` that are taken.
    pub(crate) fn get(&self, hash: u64, path: &str, all: &str) -> Option<Taken> {
        Taken::unpack(self.slots[self.slot(hash, path, all)])
    }

    /// Takes a name, or replaces what it was taken by. `hash_of` hashes the names that are there.
    pub(crate) fn put(&mut self, hash: u64, taken: Taken, all: &str, hash_of: impl Fn(Taken) -> u64) {
        if self.used >= self.slots.len() / 4 * 3 {
            let slots = vec![0; self.slots.len() * 2];
            let old = std::mem::replace(&mut self.slots, slots);
            for other in old.into_iter().filter_map(Taken::unpack) {
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

    /// Where the name is, or where it would be. There always is a free slot to end at.
    fn slot(&self, hash: u64, path: &str, all: &str) -> usize {
        let mask = self.slots.len() - 1;
        let mut slot = hash as usize & mask;
        loop {
            let value = self.slots[slot];
            let Some(taken) = Taken::unpack(value) else { return slot };
            if (value ^ hash) & TAG == 0 && &all[taken.range()] == path {
                return slot;
            }
            slot = (slot + 1) & mask;
        }
    }
}

impl Taken {
    pub(crate) fn range(self) -> Range<usize> {
        let start = self.start as usize;
        start..start + usize::from(self.len)
    }

    fn pack(self, hash: u64) -> u64 {
        u64::from(self.start) | u64::from(self.len) << 32 | (self.by as u64) << 45 | hash & TAG
    }

    fn unpack(slot: u64) -> Option<Taken> {
        let by = match slot >> 45 & 3 {
            0 => By::File,
            1 => By::Directory,
            _ => By::Parent,
        };
        // The lower bits of the value, as they were packed.
        (slot != 0).then_some(Taken { start: slot as u32, len: (slot >> 32) as u16 & 0x1fff, by })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_keep_what_they_are_given() {
        for by in [By::File, By::Directory, By::Parent] {
            for (start, len) in [(0, 1), (u32::MAX, 4096), (1 << 31, 4095)] {
                let taken = Taken { start, len, by };
                assert_eq!(Taken::unpack(taken.pack(u64::MAX)), Some(taken));
                assert_eq!(Taken::unpack(taken.pack(0)), Some(taken));
            }
        }
        assert_eq!(Taken::unpack(0), None);
    }

    /// All hashes alike: slow, and right all the same; at every size the table has while it grows.
    #[test]
    fn names_are_told_apart_by_their_letters() {
        let all: String = (0..1_000).map(|i| format!("{i:04}")).collect();
        let mut table = Table::with_capacity(0);
        for i in 0..1_000u32 {
            let taken = Taken { start: 4 * i, len: 4, by: By::Parent };
            assert_eq!(table.get(7, &all[taken.range()], &all), None);
            table.put(7, taken, &all, |_| 7);
            table.put(7, Taken { by: By::File, ..taken }, &all, |_| 7);
        }
        for i in 0..1_000u32 {
            let taken = Taken { start: 4 * i, len: 4, by: By::File };
            assert_eq!(table.get(7, &all[taken.range()], &all), Some(taken));
        }
        assert_eq!((table.used, table.slots.len()), (1_000, 2_048));
        assert_eq!(Table::with_capacity(1_000_000).slots.len(), 1 << 21);
    }
}
