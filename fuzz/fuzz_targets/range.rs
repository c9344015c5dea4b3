//! Any `Range` and conditional fields: the answer is framed exactly, and each part is the slice
//! that it says it is.
#![no_main]

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, header};
use libfuzzer_sys::fuzz_target;
use outflow_content::{Content, EntityTag, Outgoing, Span};

#[derive(arbitrary::Arbitrary, Debug)]
struct Input {
    len: u8,
    range: Vec<u8>,
    if_range: Option<Vec<u8>>,
    if_match: Option<Vec<u8>>,
    if_none_match: Option<Vec<u8>>,
    head: bool,
}

fuzz_target!(|input: Input| {
    let whole: Vec<u8> = (0..input.len).collect();
    let mut headers = HeaderMap::new();
    let mut put = |name, value: &[u8]| {
        if let Ok(value) = HeaderValue::from_bytes(value) {
            headers.append(name, value);
        }
    };
    put(header::RANGE, &[b"bytes=", &input.range[..]].concat());
    for (name, value) in [
        (header::IF_RANGE, &input.if_range),
        (header::IF_MATCH, &input.if_match),
        (header::IF_NONE_MATCH, &input.if_none_match),
    ] {
        if let Some(value) = value {
            put(name, value);
        }
    }
    let method = if input.head { Method::HEAD } else { Method::GET };
    let tag = EntityTag::strong("x").expect("x is an etagc");
    let mut response = Content::bytes(whole.clone()).etag(tag).respond(&method, &headers);
    let status = response.status().as_u16();
    assert!([200, 206, 304, 412, 416].contains(&status), "{status}");
    let announced = response
        .headers()
        .get(header::CONTENT_LENGTH)
        .map(|value| value.to_str().expect("digits").parse::<u64>().expect("a number"));
    let range =
        response.headers().get(header::CONTENT_RANGE).map(|value| value.to_str().expect("ASCII").to_owned());
    let Some(outgoing) = Outgoing::take(&mut response) else { return };
    let sent = collect(outgoing);
    assert_eq!(announced, Some(sent.len() as u64));
    match (status, range) {
        (200, None) => assert_eq!(sent, whole),
        (206, Some(range)) => {
            let (part, total) = range.strip_prefix("bytes ").and_then(|r| r.split_once('/')).expect("a-b/n");
            let (first, last) = part.split_once('-').expect("a-b");
            let (first, last): (usize, usize) = (first.parse().expect("first"), last.parse().expect("last"));
            assert_eq!(total, whole.len().to_string());
            assert_eq!(sent, &whole[first..=last]);
        }
        (206, None) => assert!(sent.windows(4).any(|bytes| bytes == b"\r\n--"), "a multipart"),
        (status, range) => panic!("{status} with a body and {range:?}"),
    }
});

fn collect(mut outgoing: Outgoing) -> Bytes {
    let mut all = Vec::new();
    while let Some(span) = outgoing.next_span() {
        match span.expect("memory") {
            Span::Memory(bytes) => all.extend_from_slice(&bytes),
            other => panic!("not memory: {other:?}"),
        }
    }
    all.into()
}
