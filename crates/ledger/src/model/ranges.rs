//! Ranges of bytes: sets of them, and a set that grows.

use std::collections::BTreeMap;
use std::ops::Range;

/// Sorts, clips to `length` and joins what touches.
pub(crate) fn tidy(mut ranges: Vec<Range<u64>>, length: u64) -> Vec<Range<u64>> {
    for range in &mut ranges {
        range.end = range.end.min(length);
    }
    ranges.retain(|range| range.start < range.end);
    if ranges.len() < 2 {
        return ranges;
    }
    ranges.sort_unstable_by_key(|range| range.start);
    let mut tidy: Vec<Range<u64>> = Vec::with_capacity(ranges.len());
    for range in ranges {
        match tidy.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => tidy.push(range),
        }
    }
    tidy
}

/// Bytes in `ranges`, which do not overlap.
pub(crate) fn bytes(ranges: &[Range<u64>]) -> u64 {
    ranges.iter().map(|range| range.end - range.start).sum()
}

/// Where the acknowledged bytes of a delivery that carries `ranges` end: the offset in the content at which it would
/// have to go on.
pub(crate) fn reached(ranges: &[Range<u64>], acked: &[Range<u64>]) -> u64 {
    for range in ranges {
        let holds = acked.iter().find(|acked| acked.start <= range.start && range.start < acked.end);
        match holds {
            Some(holds) if holds.end >= range.end => {}
            Some(holds) => return holds.end,
            None => return range.start,
        }
    }
    ranges.last().map_or(0, |range| range.end)
}

/// Those fragments of a download that a batch may touch, and what becomes of them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fragments {
    now: BTreeMap<u64, u64>,
}

/// What a merge has done.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Merged {
    /// The fragment that the range has become a part of.
    pub(crate) union: Range<u64>,
    /// The fragments that it has taken in, before.
    pub(crate) absorbed: Vec<Range<u64>>,
    /// How many bytes were new.
    pub(crate) gained: u64,
}

impl Fragments {
    pub(crate) fn insert_as_is(&mut self, range: &Range<u64>) {
        self.now.insert(range.start, range.end);
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Range<u64>> + '_ {
        self.now.iter().map(|(start, end)| *start..*end)
    }

    pub(crate) fn has(&self, range: &Range<u64>) -> bool {
        self.now.get(&range.start) == Some(&range.end)
    }

    pub(crate) fn clear(&mut self) {
        self.now.clear();
    }

    pub(crate) fn len(&self) -> usize {
        self.now.len()
    }

    /// Whether a merge of `range` makes no further fragment.
    pub(crate) fn touches(&self, range: &Range<u64>) -> bool {
        self.now.range(..=range.end).next_back().is_some_and(|(_, end)| *end >= range.start)
    }

    /// Merges `range`, which is not empty: its predecessor and those that begin within it are taken in.
    pub(crate) fn merge(&mut self, range: &Range<u64>) -> Merged {
        let mut union = range.clone();
        let mut absorbed = Vec::new();
        while let Some((&start, &end)) = self.now.range(..=union.end).next_back()
            && end >= union.start
        {
            self.now.remove(&start);
            union.start = union.start.min(start);
            union.end = union.end.max(end);
            absorbed.push(start..end);
        }
        self.now.insert(union.start, union.end);
        absorbed.reverse();
        let before: u64 = absorbed.iter().map(|range| range.end - range.start).sum();
        Merged { gained: union.end - union.start - before, union, absorbed }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_delivery_has_reached_the_first_byte_that_is_missing() {
        assert_eq!(reached(&[10..20], &[]), 10);
        assert_eq!(reached(&[10..20], &[10..15]), 15);
        assert_eq!(reached(&[10..20, 30..40], &[10..20, 30..31]), 31);
        assert_eq!(reached(&[10..20, 30..40], &[10..20]), 30);
        assert_eq!(reached(&[10..20], &[0..100]), 20);
        assert_eq!(reached(&[], &[]), 0);
    }

    proptest! {
        #[test]
        fn merging_is_what_a_bitmap_does(ranges in proptest::collection::vec((0u64..60, 1u64..12), 0..40)) {
            let mut fragments = Fragments::default();
            let mut bitmap = [false; 80];
            for (start, length) in ranges {
                let new = (start..start + length).filter(|at| !bitmap[usize::try_from(*at).unwrap()]).count();
                let touches = fragments.touches(&(start..start + length));
                let merged = fragments.merge(&(start..start + length));
                prop_assert_eq!(merged.gained, new as u64);
                prop_assert_eq!(touches, !merged.absorbed.is_empty());
                bitmap[usize::try_from(start).unwrap()..usize::try_from(start + length).unwrap()].fill(true);
                let covered: u64 = fragments.iter().map(|range| range.end - range.start).sum();
                prop_assert_eq!(covered, bitmap.iter().filter(|bit| **bit).count() as u64);
                let all: Vec<_> = fragments.iter().collect();
                prop_assert!(all.windows(2).all(|pair| pair[0].end < pair[1].start));
            }
        }

        #[test]
        fn tidy_keeps_every_byte_once(ranges in proptest::collection::vec((0u64..60, 0u64..12), 0..40)) {
            let ranges: Vec<_> = ranges.into_iter().map(|(start, length)| start..start + length).collect();
            let tidy = tidy(ranges.clone(), 50);
            for byte in 0..80 {
                let known = ranges.iter().any(|range| range.contains(&byte)) && byte < 50;
                prop_assert_eq!(tidy.iter().filter(|range| range.contains(&byte)).count(), usize::from(known));
            }
        }
    }
}
