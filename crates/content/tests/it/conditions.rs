//! Preconditions: RFC 9110, section 13.

use std::time::{Duration, UNIX_EPOCH};

use http::{HeaderValue, Method};
use outflow_content::{Content, EntityTag};

use crate::double::{collect, fields, get};

const BEFORE: &str = "Sun, 06 Nov 1994 08:49:36 GMT";
const MODIFIED: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
const AFTER: &str = "Sun, 06 Nov 1994 08:49:38 GMT";

/// Ten bytes, tag `"v1"`, modified at [`MODIFIED`] and a bit.
fn content() -> Content {
    Content::bytes("0123456789")
        .etag(EntityTag::strong("v1").unwrap())
        .last_modified(UNIX_EPOCH + Duration::from_millis(784_111_777_900))
}

fn weak() -> Content {
    content().etag(EntityTag::parse(&HeaderValue::from_static("W/\"v1\"")).unwrap())
}

fn check(make: fn() -> Content, table: &[(&[&str], u16)]) {
    for (lines, status) in table {
        for method in [Method::GET, Method::HEAD] {
            let response = make().respond(&method, &fields(lines));
            assert_eq!(response.status().as_u16(), *status, "{method} {lines:?}");
        }
    }
}

#[test]
fn if_match_compares_strongly_and_star_matches_what_exists() {
    check(
        content,
        &[
            (&["if-match: \"v1\""], 200),
            (&["if-match: \"v0\", \"v1\""], 200),
            (&["if-match: \"v0\"", "if-match: \"v1\""], 200),
            (&["if-match: *"], 200),
            (&["if-match: \"v0\""], 412),
            (&["if-match: W/\"v1\""], 412),
            (&["if-match: v1"], 412),
            (&["if-match: "], 412),
        ],
    );
    check(weak, &[(&["if-match: \"v1\""], 412), (&["if-match: W/\"v1\""], 412), (&["if-match: *"], 200)]);
    check(|| Content::bytes("x"), &[(&["if-match: \"v1\""], 412), (&["if-match: *"], 200)]);
}

#[test]
fn if_unmodified_since_counts_only_without_if_match() {
    let before = format!("if-unmodified-since: {BEFORE}");
    let same = format!("if-unmodified-since: {MODIFIED}");
    let after = format!("if-unmodified-since: {AFTER}");
    check(
        content,
        &[
            (&[&before], 412),
            (&[&same], 200),
            (&[&after], 200),
            (&[&before, "if-match: \"v1\""], 200),
            (&[&after, "if-match: \"v0\""], 412),
            (&["if-unmodified-since: yesterday"], 200),
            (&["if-unmodified-since: "], 200),
            (&[&before, &before], 200),
        ],
    );
    check(|| Content::bytes("x"), &[(&[&before], 200)]);
}

#[test]
fn if_none_match_compares_weakly() {
    let table: &[(&[&str], u16)] = &[
        (&["if-none-match: \"v1\""], 304),
        (&["if-none-match: W/\"v1\""], 304),
        (&["if-none-match: \"v0\", W/\"v1\""], 304),
        (&["if-none-match: \"v0\"", "if-none-match: \"v1\""], 304),
        (&["if-none-match: *"], 304),
        (&["if-none-match: \"v0\""], 200),
        (&["if-none-match: v1"], 200),
        (&["if-none-match: *, \"v0\""], 200),
    ];
    check(content, table);
    check(weak, table);
    check(|| Content::bytes("x"), &[(&["if-none-match: \"v1\""], 200), (&["if-none-match: *"], 304)]);
}

#[test]
fn if_modified_since_counts_only_without_if_none_match() {
    let before = format!("if-modified-since: {BEFORE}");
    let same = format!("if-modified-since: {MODIFIED}");
    let after = format!("if-modified-since: {AFTER}");
    check(
        content,
        &[
            (&[&before], 200),
            (&[&same], 304),
            (&[&after], 304),
            (&[&same, "if-none-match: \"v0\""], 200),
            (&[&before, "if-none-match: \"v1\""], 304),
            (&["if-modified-since: Sunday, 06-Nov-94 08:49:37 GMT"], 304),
            (&["if-modified-since: Sun Nov  6 08:49:37 1994"], 304),
            (&["if-modified-since: 784111777"], 200),
            (&["if-modified-since: Sun, 06 Nov 1994 08:49:37 CET"], 200),
            (&[&same, &same], 200),
        ],
    );
    check(|| Content::bytes("x"), &[(&[&same], 200)]);
}

#[test]
fn failing_comes_before_not_modified() {
    let before = format!("if-unmodified-since: {BEFORE}");
    check(
        content,
        &[
            (&["if-match: \"v0\"", "if-none-match: \"v1\""], 412),
            (&["if-match: \"v1\"", "if-none-match: \"v1\""], 304),
            (&[&before, "if-none-match: \"v1\""], 412),
        ],
    );
}

#[test]
fn preconditions_come_before_range() {
    assert_eq!(get(content(), &["range: bytes=0-1", "if-none-match: \"v1\""]).status(), 304);
    assert_eq!(get(content(), &["range: bytes=0-1", "if-match: \"v0\""]).status(), 412);
    assert_eq!(get(content(), &["range: bytes=50-", "if-match: \"v0\""]).status(), 412);
    assert_eq!(get(content(), &["range: bytes=0-1", "if-match: \"v1\""]).status(), 206);
}

#[test]
fn if_range_lets_a_range_through_only_for_the_same_representation() {
    let range = "range: bytes=2-3";
    for (if_range, status) in [
        ("if-range: \"v1\"", 206),
        ("if-range: \"v0\"", 200),
        ("if-range: W/\"v1\"", 200),
        ("if-range: v1", 200),
        ("if-range: \"v1\", \"v2\"", 200),
        ("if-range: *", 200),
        ("if-range: ", 200),
        (&format!("if-range: {MODIFIED}"), 206),
        (&format!("if-range: {BEFORE}"), 200),
        (&format!("if-range: {AFTER}"), 200),
    ] {
        let response = get(content(), &[range, if_range]);
        assert_eq!(response.status(), status, "{if_range}");
        let whole: &[u8] = b"0123456789";
        assert_eq!(collect(response).unwrap(), if status == 206 { b"23" } else { whole }, "{if_range}");
    }
    assert_eq!(get(content(), &[range, "if-range: \"v1\"", "if-range: \"v1\""]).status(), 200);
}

#[test]
fn a_weak_tag_never_lets_a_range_through() {
    for if_range in ["if-range: \"v1\"", "if-range: W/\"v1\""] {
        assert_eq!(get(weak(), &["range: bytes=2-3", if_range]).status(), 200, "{if_range}");
    }
}

#[test]
fn if_range_without_the_validator_it_names_sends_everything() {
    let date = format!("if-range: {MODIFIED}");
    for if_range in ["if-range: \"v1\"", &date] {
        assert_eq!(get(Content::bytes("0123"), &["range: bytes=2-3", if_range]).status(), 200, "{if_range}");
    }
}

#[test]
fn if_range_hides_an_unsatisfiable_range_of_another_representation() {
    assert_eq!(get(content(), &["range: bytes=50-", "if-range: \"v0\""]).status(), 200);
    assert_eq!(get(content(), &["range: bytes=50-", "if-range: \"v1\""]).status(), 416);
}

#[test]
fn if_range_without_range_is_ignored() {
    check(content, &[(&["if-range: \"v0\""], 200), (&["if-range: \"v1\""], 200), (&["if-range: x"], 200)]);
}
