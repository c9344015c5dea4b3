//! How the bytes of one response's body map to the bytes of the content.

use std::ops::Range;
use std::sync::Arc;

/// Which bytes of the content a body carries, and where in the body they are.
///
/// The body of a 200 is the content, that of a 206 a range of it; that of `multipart/byteranges`
/// has frames between its ranges, which belong to no content. It translates a count of acknowledged
/// bytes of the body into ranges of the content. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BodyMap {
    len: u64,
    content_len: u64,
    runs: BodyRuns,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum BodyRuns {
    /// The usual case, without an allocation.
    One(BodyRun),
    Several(Arc<[BodyRun]>),
}

/// A run of the content within the body.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct BodyRun {
    /// Where in the body it begins.
    at: u64,
    content: Range<u64>,
}

impl BodyMap {
    /// The body is the content: a 200.
    #[must_use]
    pub fn whole(len: u64) -> BodyMap {
        BodyMap::range(len, 0..len)
    }

    /// The body is one range of a content of `content_len` bytes: a 206 of one range.
    #[must_use]
    pub fn range(content_len: u64, range: Range<u64>) -> BodyMap {
        let len = range.end.saturating_sub(range.start);
        BodyMap { len, content_len, runs: BodyRuns::One(BodyRun { at: 0, content: range }) }
    }

    /// The body of `len` bytes carries these ranges, each with its position in the body, in the
    /// body's order.
    #[must_use]
    pub fn parts(len: u64, content_len: u64, parts: impl IntoIterator<Item = (u64, Range<u64>)>) -> BodyMap {
        let mut runs = parts
            .into_iter()
            .filter(|(_, content)| !content.is_empty())
            .map(|(at, content)| BodyRun { at, content });
        let first = runs.next().unwrap_or_default();
        let runs = match runs.next() {
            None => BodyRuns::One(first),
            Some(second) => BodyRuns::Several([first, second].into_iter().chain(runs).collect()),
        };
        BodyMap { len, content_len, runs }
    }

    /// Length of the body in bytes: what `Content-Length` says.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// True for a body without bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Length of the whole content in bytes, whatever part of it this body carries.
    #[must_use]
    pub fn content_len(&self) -> u64 {
        self.content_len
    }

    /// The ranges of the content that the body carries, in the body's order; none is empty. They
    /// may overlap or come in any order, as the client requested them.
    pub fn ranges(&self) -> impl Iterator<Item = Range<u64>> + '_ {
        self.acked(self.len)
    }

    /// The ranges of the content that lie within the first `n` bytes of the body, in the body's
    /// order; none is empty. The frames between them are not counted.
    pub fn acked(&self, n: u64) -> impl Iterator<Item = Range<u64>> + '_ {
        self.runs().iter().filter_map(move |run| {
            let covered = n.saturating_sub(run.at).min(run.content.end.saturating_sub(run.content.start));
            (covered > 0).then(|| run.content.start..run.content.start + covered)
        })
    }

    fn runs(&self) -> &[BodyRun] {
        match &self.runs {
            BodyRuns::One(run) => std::slice::from_ref(run),
            BodyRuns::Several(runs) => runs,
        }
    }
}

#[cfg(test)]
#[allow(clippy::single_range_in_vec_init, reason = "lists of ranges are compared")]
mod tests {
    use super::*;

    fn acked(map: &BodyMap, n: u64) -> Vec<Range<u64>> {
        map.acked(n).collect()
    }

    #[test]
    fn a_whole_body_is_the_content() {
        let map = BodyMap::whole(10);
        assert_eq!((map.len(), map.content_len()), (10, 10));
        assert!(acked(&map, 0).is_empty());
        assert_eq!(acked(&map, 4), [0..4]);
        assert_eq!(acked(&map, u64::MAX), [0..10]);
    }

    #[test]
    fn a_range_begins_where_it_begins_in_the_content() {
        let map = BodyMap::range(100, 40..50);
        assert_eq!((map.len(), map.content_len()), (10, 100));
        assert_eq!(acked(&map, 3), [40..43]);
        assert_eq!(map.ranges().collect::<Vec<_>>(), [40..50]);
    }

    #[test]
    fn frames_between_parts_are_no_bytes_of_the_content() {
        let map = BodyMap::parts(60, 100, [(20, 90..95), (35, 0..10)]);
        for (n, covered) in [
            (20, vec![]),
            (21, vec![90..91]),
            (25, vec![90..95]),
            (35, vec![90..95]),
            (36, vec![90..95, 0..1]),
            (45, vec![90..95, 0..10]),
            (60, vec![90..95, 0..10]),
        ] {
            assert_eq!(acked(&map, n), covered, "{n}");
        }
    }

    #[test]
    fn an_empty_body_carries_nothing() {
        for map in [BodyMap::whole(0), BodyMap::parts(30, 100, [])] {
            assert_eq!(map.ranges().count(), 0);
        }
        assert!(BodyMap::whole(0).is_empty());
    }
}
