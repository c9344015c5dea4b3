//! Arbitrary bytes in the request: an answer that makes sense, never a panic.

use std::time::{Duration, UNIX_EPOCH};

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use outflow_content::{Content, EntityTag, mentions_etag};
use proptest::prelude::*;

use crate::double::collect;

const NAMES: [&str; 6] =
    ["if-match", "if-none-match", "if-modified-since", "if-unmodified-since", "if-range", "range"];

/// Any bytes that a field value may have, and texts near to valid ones.
fn value() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..40),
        "(bytes=)?[0-9, \t-]{0,30}".prop_map(String::into_bytes),
        "((W/)?\"[a-z,\\* ]{0,4}\"?[, ]{0,2}){0,4}".prop_map(String::into_bytes),
        "(Sun|Mon|Sunday), [0-9]{1,2}[ -](Nov|Feb)[ -][0-9]{2,5} [0-9]{2}:[0-9]{2}:[0-9]{2} (GMT|UTC)"
            .prop_map(String::into_bytes),
        "[A-Z][a-z]{2} (Nov|Feb) [ 0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2} [0-9]{4}".prop_map(String::into_bytes),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn whatever_the_request_says_the_answer_is_framed_exactly(
        lines in prop::collection::vec((0..NAMES.len(), value()), 0..5),
        len in prop_oneof![Just(0usize), 0..1000usize],
        head in any::<bool>(),
        described in any::<bool>(),
    ) {
        let mut headers = HeaderMap::new();
        for (name, value) in &lines {
            if let Ok(value) = HeaderValue::from_bytes(value) {
                headers.append(HeaderName::from_static(NAMES[*name]), value);
            }
        }
        let tag = EntityTag::strong("a").unwrap();
        let _ = mentions_etag(&headers, &tag);
        let mut content = Content::bytes(vec![b'x'; len]);
        if described {
            content = content.etag(tag).last_modified(UNIX_EPOCH + Duration::from_secs(784_111_777));
        }
        let method = if head { Method::HEAD } else { Method::GET };
        let response = content.respond(&method, &headers);
        let status = response.status().as_u16();
        let announced = response.headers().get("content-length").map(|v| v.to_str().unwrap().parse::<usize>().unwrap());
        let sent = collect(response).unwrap().len();
        match status {
            200 => {
                prop_assert_eq!(announced, Some(len));
                prop_assert_eq!(sent, if head { 0 } else { len });
            }
            206 => {
                prop_assert!(!head && sent > 0);
                prop_assert_eq!(announced, Some(sent));
            }
            304 => prop_assert_eq!((announced, sent), (None, 0)),
            412 | 416 => prop_assert_eq!((announced, sent), (Some(0), 0)),
            _ => prop_assert!(false, "{}", status),
        }
    }
}
