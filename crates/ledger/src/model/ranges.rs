//! Sets of byte ranges.
//!
//! The crate `rangemap` merges ranges as well, but does not report which ones a merge has absorbed,
//! and those are the rows to delete.

use std::collections::BTreeMap;
use std::ops::Range;

/// Sorts ranges, clips them to `length`, and joins those that touch.
pub(crate) fn normalize(mut ranges: Vec<Range<u64>>, length: u64) -> Vec<Range<u64>> {
    for range in &mut ranges {
        range.end = range.end.min(length);
    }
    ranges.retain(|range| range.start < range.end);
    if ranges.len() < 2 {
        return ranges;
    }
    ranges.sort_unstable_by_key(|range| range.start);
    let mut normal: Vec<Range<u64>> = Vec::with_capacity(ranges.len());
    for range in ranges {
        match normal.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => normal.push(range),
        }
    }
    normal
}

/// Length of `ranges`, which do not overlap.
pub(crate) fn total_length(ranges: &[Range<u64>]) -> u64 {
    ranges.iter().map(|range| range.end - range.start).sum()
}

/// The first byte of a delivery that carries `ranges` that was not acknowledged: the offset at
/// which it would have to resume.
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

/// Acknowledged ranges of a download that a batch may touch. No two of them touch each other.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fragments {
    ends: BTreeMap<u64, u64>,
}

/// The result of a merge.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Merged {
    /// The range that contains the merged one now.
    pub(crate) union: Range<u64>,
    /// The ranges that it has absorbed.
    pub(crate) absorbed: Vec<Range<u64>>,
    /// Number of new bytes.
    pub(crate) gained: u64,
}

impl Fragments {
    /// Inserts a range that touches no other.
    pub(crate) fn insert_disjoint(&mut self, range: &Range<u64>) {
        self.ends.insert(range.start, range.end);
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Range<u64>> + '_ {
        self.ends.iter().map(|(start, end)| *start..*end)
    }

    pub(crate) fn contains(&self, range: &Range<u64>) -> bool {
        self.ends.get(&range.start) == Some(&range.end)
    }

    pub(crate) fn clear(&mut self) {
        self.ends.clear();
    }

    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether a merge of `range` adds no further range.
    pub(crate) fn touches(&self, range: &Range<u64>) -> bool {
        self.ends.range(..=range.end).next_back().is_some_and(|(_, end)| *end >= range.start)
    }

    /// Merges `range`, which is not empty: it absorbs the ranges that it touches.
    pub(crate) fn merge(&mut self, range: &Range<u64>) -> Merged {
        let mut union = range.clone();
        let mut absorbed = Vec::new();
        while let Some((&start, &end)) = self.ends.range(..=union.end).next_back()
            && end >= union.start
        {
            self.ends.remove(&start);
            union.start = union.start.min(start);
            union.end = union.end.max(end);
            absorbed.push(start..end);
        }
        self.ends.insert(union.start, union.end);
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
        fn normalizing_keeps_every_byte_once(ranges in proptest::collection::vec((0u64..60, 0u64..12), 0..40)) {
            let ranges: Vec<_> = ranges.into_iter().map(|(start, length)| start..start + length).collect();
            let normal = normalize(ranges.clone(), 50);
            for byte in 0..80 {
                let known = ranges.iter().any(|range| range.contains(&byte)) && byte < 50;
                prop_assert_eq!(normal.iter().filter(|range| range.contains(&byte)).count(), usize::from(known));
            }
        }
    }
}
