//! Range requests against a naive model: a bit for each byte of a small content.

use std::ops::Range;

use http::Response;
use outflow_content::{Content, ContentBody};
use proptest::prelude::*;

use crate::double::{collect, get};

/// Gaps below this are closed; the crate's documentation of `COALESCE_GAP` says why.
const GAP: usize = 128;

#[derive(Clone, Debug)]
enum Spec {
    FromTo(usize, usize),
    From(usize),
    Suffix(usize),
}

impl Spec {
    fn text(&self) -> String {
        match self {
            Spec::FromTo(first, last) => format!("{first}-{last}"),
            Spec::From(first) => format!("{first}-"),
            Spec::Suffix(len) => format!("-{len}"),
        }
    }

    fn has(&self, byte: usize, len: usize) -> bool {
        match self {
            Spec::FromTo(first, last) => (*first..=*last).contains(&byte),
            Spec::From(first) => byte >= *first,
            Spec::Suffix(suffix) => byte + suffix >= len,
        }
    }
}

fn spec() -> impl Strategy<Value = Spec> {
    prop_oneof![
        6 => (0..2000usize, 0..60usize).prop_map(|(first, more)| Spec::FromTo(first, first + more)),
        1 => (0..2000usize, 0..2000usize).prop_map(|(first, more)| Spec::FromTo(first, first + more)),
        1 => (0..2000usize).prop_map(Spec::From),
        1 => (0..100usize).prop_map(Spec::Suffix),
    ]
}

/// The runs that have to be sent, in the order asked.
fn model(specs: &[Spec], len: usize) -> Vec<Range<usize>> {
    let mut bits: Vec<bool> = (0..len).map(|byte| specs.iter().any(|spec| spec.has(byte, len))).collect();
    let set: Vec<usize> = (0..len).filter(|byte| bits[*byte]).collect();
    for pair in set.windows(2) {
        if pair[1] - pair[0] - 1 < GAP {
            bits[pair[0]..pair[1]].fill(true);
        }
    }
    let mut runs: Vec<Range<usize>> = Vec::new();
    for byte in (0..len).filter(|byte| bits[*byte]) {
        match runs.last_mut() {
            Some(run) if run.end == byte => run.end += 1,
            _ => runs.push(byte..byte + 1),
        }
    }
    runs.sort_by_key(|run| specs.iter().position(|spec| run.clone().any(|byte| spec.has(byte, len))));
    runs
}

/// Reads a 206 as a client does: the range and the bytes of each part.
fn parts(response: Response<ContentBody>, len: usize) -> Vec<(Range<usize>, Vec<u8>)> {
    let headers = response.headers().clone();
    let announced: usize = headers["content-length"].to_str().unwrap().parse().unwrap();
    let body = collect(response).unwrap();
    assert_eq!(body.len(), announced, "Content-Length is exact");
    if let Some(range) = headers.get("content-range") {
        return vec![(content_range(range.to_str().unwrap(), len), body.to_vec())];
    }
    let content_type = headers["content-type"].to_str().unwrap();
    let boundary = content_type.strip_prefix("multipart/byteranges; boundary=").unwrap();
    let opening = format!("--{boundary}\r\nContent-Type: application/octet-stream\r\nContent-Range: ");
    let closing = format!("--{boundary}--\r\n");
    let mut rest = &body[..];
    let mut parts = Vec::new();
    while rest != closing.as_bytes() {
        let after = rest.strip_prefix(opening.as_bytes()).expect("a part's head");
        let end = after.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
        let range = content_range(std::str::from_utf8(&after[..end]).unwrap(), len);
        let (bytes, after) = after[end + 4..].split_at(range.len());
        parts.push((range, bytes.to_vec()));
        rest = after.strip_prefix(b"\r\n").expect("a line end after the part");
    }
    parts
}

fn content_range(text: &str, len: usize) -> Range<usize> {
    let range = text.strip_prefix("bytes ").unwrap().strip_suffix(&format!("/{len}")).unwrap();
    let (first, last) = range.split_once('-').unwrap();
    first.parse().unwrap()..last.parse::<usize>().unwrap() + 1
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn what_is_sent_is_what_the_model_says(
        len in prop_oneof![1 => 0..3usize, 5 => 0..2000usize],
        specs in prop::collection::vec((spec(), "[ \t]{0,2}(,[ \t]?){0,2}"), 1..12),
    ) {
        let bytes: Vec<u8> = (0..len).map(|byte| (byte % 251) as u8).collect();
        let text: Vec<String> = specs.iter().map(|(spec, space)| format!("{}{space}", spec.text())).collect();
        let specs: Vec<Spec> = specs.into_iter().map(|(spec, _)| spec).collect();
        let response = get(Content::bytes(bytes.clone()), &[&format!("range: bytes={}", text.join(","))]);

        let expected = model(&specs, len);
        if expected.is_empty() {
            prop_assert_eq!(response.status(), 416);
            return Ok(());
        }
        prop_assert_eq!(response.status(), 206);
        prop_assert_eq!(expected.len() == 1, response.headers().contains_key("content-range"));
        let parts = parts(response, len);
        let ranges: Vec<Range<usize>> = parts.iter().map(|(range, _)| range.clone()).collect();
        prop_assert!(ranges.iter().map(Range::len).sum::<usize>() <= len);
        prop_assert_eq!(ranges, expected);
        for (range, part) in parts {
            prop_assert_eq!(&part, &bytes[range]);
        }
    }

    /// A frame is at most as long as the gap that it stands for, so asking for parts cannot make an
    /// answer much longer than the content.
    #[test]
    fn a_multipart_answer_exceeds_the_content_by_one_frame_at_most(
        ranges in prop::collection::vec((0..20_000usize, 0..400usize), 1..200),
    ) {
        let text: Vec<String> = ranges.iter().map(|(first, more)| format!("{first}-{}", first + more)).collect();
        let response = get(Content::bytes(vec![0; 20_000]), &[&format!("range: bytes={}", text.join(","))]);
        let len: usize = response.headers()["content-length"].to_str().unwrap().parse().unwrap();
        prop_assert!(len <= 20_000 + 256, "{}", len);
    }

    #[test]
    fn a_single_range_is_a_slice(len in 0..300usize, first in 0..400usize, last in 0..400usize) {
        let bytes: Vec<u8> = (0..len).map(|byte| byte as u8).collect();
        let response = get(Content::bytes(bytes.clone()), &[&format!("range: bytes={first}-{last}")]);
        let status = response.status().as_u16();
        let body = collect(response).unwrap();
        if last < first {
            prop_assert_eq!((status, &body[..]), (200, &bytes[..]));
        } else if first >= len {
            prop_assert_eq!((status, body.len()), (416, 0));
        } else {
            prop_assert_eq!((status, &body[..]), (206, &bytes[first..len.min(last + 1)]));
        }
    }
}
