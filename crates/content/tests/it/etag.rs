//! Entity tags.

use http::HeaderValue;
use outflow_content::{EntityTag, mentions_etag};
use proptest::prelude::*;

use crate::double::fields;

fn parsed(value: &'static str) -> Option<EntityTag> {
    EntityTag::parse(&HeaderValue::from_static(value))
}

#[test]
fn a_tag_refuses_what_no_tag_may_have() {
    for opaque in ["", "a", "a,b", "W/", "~!#", "\u{e9}"] {
        let tag = EntityTag::strong(opaque).expect(opaque);
        assert_eq!(tag.opaque(), opaque.as_bytes());
        assert!(!tag.is_weak());
    }
    for opaque in ["a b", "a\"", "\t", "\r\n", "\0", "\u{7f}"] {
        assert_eq!(EntityTag::strong(opaque), None, "{opaque:?}");
    }
}

#[test]
fn a_field_with_one_tag_is_read_and_any_other_refused() {
    assert_eq!(parsed("\"a\""), EntityTag::strong("a"));
    let weak = parsed(" W/\"a\" ").unwrap();
    assert!(weak.is_weak());
    assert_eq!(weak.opaque(), b"a");
    assert_eq!(weak.as_header_value(), "W/\"a\"");
    assert_eq!(weak.to_string(), "W/\"a\"");
    for value in
        ["", "a", "\"a", "a\"", "\"a\"b", "\"a\", \"b\"", "\"a b\"", "w/\"a\"", "*", "W/", "\"", "W/\""]
    {
        assert_eq!(parsed(value), None, "{value}");
    }
}

/// The table of RFC 9110, 8.8.3.2.
#[test]
fn comparison_is_as_in_the_rfc_table() {
    for (a, b, strong, weak) in [
        ("W/\"1\"", "W/\"1\"", false, true),
        ("W/\"1\"", "W/\"2\"", false, false),
        ("W/\"1\"", "\"1\"", false, true),
        ("\"1\"", "\"1\"", true, true),
    ] {
        let (a, b) = (parsed(a).unwrap(), parsed(b).unwrap());
        assert_eq!((a.strong_eq(&b), a.weak_eq(&b)), (strong, weak), "{a} {b}");
        assert_eq!((b.strong_eq(&a), b.weak_eq(&a)), (strong, weak), "{b} {a}");
    }
}

#[test]
fn a_tag_is_mentioned_by_if_range_and_if_match_only_and_strongly() {
    let tag = EntityTag::strong("a").unwrap();
    for (lines, mentioned) in [
        (&["if-range: \"a\""][..], true),
        (&["if-match: \"b\", \"a\""], true),
        (&["if-match: \"b\"", "if-match: \"a\""], true),
        (&["if-range: \"b\"", "if-match: \"a\""], true),
        (&["if-range: \"b\""], false),
        (&["if-range: W/\"a\""], false),
        (&["if-range: Sun, 06 Nov 1994 08:49:37 GMT"], false),
        (&["if-match: W/\"a\""], false),
        (&["if-match: *"], false),
        (&["if-none-match: \"a\""], false),
        (&[], false),
    ] {
        assert_eq!(mentions_etag(&fields(lines), &tag), mentioned, "{lines:?}");
    }
}

proptest! {
    #[test]
    fn every_tag_that_can_be_made_can_be_read_again(opaque in ".{0,20}") {
        if let Some(tag) = EntityTag::strong(&opaque) {
            prop_assert_eq!(EntityTag::parse(tag.as_header_value()), Some(tag.clone()));
            prop_assert_eq!(tag.opaque(), opaque.as_bytes());
        }
    }
}
