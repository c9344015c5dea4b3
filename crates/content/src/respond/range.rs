//! Range requests: reading `Range` and choosing what to send for it (RFC 9110, section 14).

use std::ops::Range;

use http::HeaderMap;
use http::header::RANGE;

/// Maximum number of ranges in one request, empty list elements not counted; beyond it, the answer
/// is the whole content. RFC 9110, 14.2 lets a server ignore `Range`, and 17.15 advises it where
/// many small ranges would cost more than they are worth. 200 is also the default of Apache httpd's
/// `MaxRanges`.
///
/// Bound: requests.
const MAX_RANGES: usize = 200;

/// Ranges with a smaller gap than this, in bytes, are sent as one: about the size of one more
/// part's head (RFC 9110, 15.3.7.2). The remaining runs are disjoint and at least that far apart,
/// so that no answer exceeds the whole content by more than about the frame of one part.
const COALESCE_GAP: u64 = 128;

/// The part of the content to send. Ranges are never empty.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum RangeSelection {
    /// All of it, status 200: `Range` is missing, malformed, in another unit, or abusive.
    Whole,
    /// One range, status 206.
    One(Range<u64>),
    /// Two or more disjoint ranges in the order requested, status 206 with `multipart/byteranges`.
    Several(Vec<Range<u64>>),
    /// Status 416.
    Unsatisfiable,
}

/// The part of `len` bytes that `Range` selects.
pub(crate) fn select(headers: &HeaderMap, len: u64) -> RangeSelection {
    let mut lines = headers.get_all(RANGE).iter();
    let (Some(line), None) = (lines.next(), lines.next()) else { return RangeSelection::Whole };
    let Some(set) = range_set(line.as_bytes()) else { return RangeSelection::Whole };

    let mut asked = 0;
    let mut ranges = Vec::new();
    for element in set.split(|byte| *byte == b',') {
        let element = element.trim_ascii();
        if element.is_empty() {
            continue;
        }
        asked += 1;
        let Some(spec) = RangeSpec::parse(element).filter(|_| asked <= MAX_RANGES) else {
            return RangeSelection::Whole;
        };
        ranges.extend(spec.resolve(len));
    }
    if asked == 0 {
        return RangeSelection::Whole;
    }
    if ranges.len() > 1 {
        ranges = coalesce(ranges);
    }
    match ranges.len() {
        0 => RangeSelection::Unsatisfiable,
        1 => RangeSelection::One(ranges.remove(0)),
        _ => RangeSelection::Several(ranges),
    }
}

/// The text behind `bytes=`.
fn range_set(value: &[u8]) -> Option<&[u8]> {
    let value = value.trim_ascii();
    let (unit, set) = value.split_at_checked(b"bytes=".len())?;
    unit.eq_ignore_ascii_case(b"bytes=").then_some(set)
}

/// One `range-spec` (RFC 9110, 14.1.1). Positions beyond `u64` become `u64::MAX`: no content is
/// that long, so they mean the same.
enum RangeSpec {
    /// `first-last`, or `first-` with `u64::MAX`.
    FromTo(u64, u64),
    /// `-length`.
    Suffix(u64),
}

impl RangeSpec {
    fn parse(element: &[u8]) -> Option<RangeSpec> {
        let dash = element.iter().position(|byte| *byte == b'-')?;
        let (first, last) = (&element[..dash], &element[dash + 1..]);
        match (first.is_empty(), last.is_empty()) {
            (true, _) => Some(RangeSpec::Suffix(number(last)?)),
            (false, true) => Some(RangeSpec::FromTo(number(first)?, u64::MAX)),
            (false, false) => {
                let (first, last) = (number(first)?, number(last)?);
                (first <= last).then_some(RangeSpec::FromTo(first, last))
            }
        }
    }

    /// The bytes it selects, `None` if it is unsatisfiable. On an empty content every range is,
    /// because no `Content-Range` can name zero bytes.
    fn resolve(&self, len: u64) -> Option<Range<u64>> {
        let range = match *self {
            RangeSpec::FromTo(first, last) => first..last.saturating_add(1).min(len),
            RangeSpec::Suffix(suffix) => len.saturating_sub(suffix)..len,
        };
        (range.start < range.end).then_some(range)
    }
}

/// `1*DIGIT`.
fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u64, |sum, digit| {
        digit.is_ascii_digit().then(|| sum.saturating_mul(10).saturating_add(u64::from(digit - b'0')))
    })
}

/// Merges ranges that overlap or nearly touch. A merged range takes the place of the earliest one
/// in it.
fn coalesce(ranges: Vec<Range<u64>>) -> Vec<Range<u64>> {
    let mut by_start: Vec<(usize, Range<u64>)> = ranges.into_iter().enumerate().collect();
    by_start.sort_unstable_by_key(|(_, range)| range.start);
    let mut merged: Vec<(usize, Range<u64>)> = Vec::with_capacity(by_start.len());
    for (place, range) in by_start {
        match merged.last_mut() {
            Some((earliest, last)) if range.start < last.end.saturating_add(COALESCE_GAP) => {
                last.end = last.end.max(range.end);
                *earliest = place.min(*earliest);
            }
            _ => merged.push((place, range)),
        }
    }
    merged.sort_unstable_by_key(|(place, _)| *place);
    merged.into_iter().map(|(_, range)| range).collect()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn asked(range: &str, len: u64) -> RangeSelection {
        let mut headers = HeaderMap::new();
        headers.insert(RANGE, HeaderValue::from_str(range).unwrap());
        select(&headers, len)
    }

    #[test]
    fn one_range_is_read_as_the_rfc_says() {
        for (range, selection) in [
            ("bytes=0-0", RangeSelection::One(0..1)),
            ("bytes=0-499", RangeSelection::One(0..500)),
            ("bytes=500-", RangeSelection::One(500..1000)),
            ("bytes=0-", RangeSelection::One(0..1000)),
            ("bytes=-1", RangeSelection::One(999..1000)),
            ("bytes=-1000", RangeSelection::One(0..1000)),
            ("bytes=-1001", RangeSelection::One(0..1000)),
            ("bytes=999-999", RangeSelection::One(999..1000)),
            ("bytes=999-2000", RangeSelection::One(999..1000)),
            ("BYTES=0-0", RangeSelection::One(0..1)),
            ("  Bytes= 0-0 ", RangeSelection::One(0..1)),
            ("bytes=,, 0-0 ,\t,", RangeSelection::One(0..1)),
            ("bytes=000000000000000000000000000000-0", RangeSelection::One(0..1)),
            ("bytes=0-99999999999999999999999999", RangeSelection::One(0..1000)),
            ("bytes=0-18446744073709551615", RangeSelection::One(0..1000)),
            ("bytes=-99999999999999999999999999", RangeSelection::One(0..1000)),
            ("bytes=1000-", RangeSelection::Unsatisfiable),
            ("bytes=1000-1000", RangeSelection::Unsatisfiable),
            ("bytes=99999999999999999999999999-", RangeSelection::Unsatisfiable),
            ("bytes=-0", RangeSelection::Unsatisfiable),
            ("bytes=-0, 1000-, 5000-6000", RangeSelection::Unsatisfiable),
            ("bytes=1000-, 3-4", RangeSelection::One(3..5)),
        ] {
            assert_eq!(asked(range, 1000), selection, "{range}");
        }
    }

    #[test]
    fn a_malformed_or_foreign_range_is_ignored() {
        for range in [
            "",
            "bytes",
            "bytes=",
            "bytes=,",
            "bytes= , ,",
            "bytes=-",
            "bytes=--1",
            "bytes=1",
            "bytes=1-0",
            "bytes=a-b",
            "bytes=0-a",
            "bytes=a-",
            "bytes=-a",
            "bytes=0x1-2",
            "bytes=+1-2",
            "bytes=0 - 1",
            "bytes=0-1 2-3",
            "bytes=0-1;2-3",
            "bytes=0-1,x",
            "bytes=0-1,3-2",
            "bytes =0-1",
            "bytes:0-1",
            "bytes 0-1",
            "0-1",
            "items=0-1",
            "byte=0-1",
            "bytess=0-1",
            "bytes=0-1-2",
            "bytes=1.5-2",
            "bytes=0-0,bytes=1-1",
        ] {
            assert_eq!(asked(range, 1000), RangeSelection::Whole, "{range:?}");
        }
    }

    #[test]
    fn no_range_of_an_empty_content_is_satisfiable() {
        for range in ["bytes=0-", "bytes=0-0", "bytes=-1", "bytes=-0", "bytes=0-0,-5"] {
            assert_eq!(asked(range, 0), RangeSelection::Unsatisfiable, "{range}");
        }
    }

    #[test]
    fn several_ranges_keep_their_order_and_merge_into_the_earliest() {
        for (range, selection) in [
            ("bytes=0-9, 500-509", RangeSelection::Several(vec![0..10, 500..510])),
            ("bytes=500-509, 0-9", RangeSelection::Several(vec![500..510, 0..10])),
            ("bytes=0-9, 500-509, 5-20", RangeSelection::Several(vec![0..21, 500..510])),
            ("bytes=500-509, 5-20, 0-9", RangeSelection::Several(vec![500..510, 0..21])),
            ("bytes=0-9, 10-19", RangeSelection::One(0..20)),
            ("bytes=0-9, 137-139", RangeSelection::One(0..140)),
            ("bytes=0-9, 138-139", RangeSelection::Several(vec![0..10, 138..140])),
            ("bytes=0-0,-1", RangeSelection::Several(vec![0..1, 999..1000])),
            ("bytes=0-, 5-6, -1", RangeSelection::One(0..1000)),
            ("bytes=0-9, 900-, 100-110, 200-799, 805-", RangeSelection::One(0..1000)),
        ] {
            assert_eq!(asked(range, 1000), selection, "{range}");
        }
    }

    #[test]
    fn more_than_two_hundred_ranges_get_the_whole_content() {
        let ranges = |n: usize| {
            let specs: Vec<String> = (0..n).map(|i| format!("{}-{}", i * 1000, i * 1000)).collect();
            asked(&format!("bytes={}", specs.join(",")), 1_000_000)
        };
        assert!(matches!(ranges(200), RangeSelection::Several(list) if list.len() == 200));
        assert_eq!(ranges(201), RangeSelection::Whole);
    }
}
