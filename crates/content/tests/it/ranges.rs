//! Range requests, as a client sees them: RFC 9110, section 14.

use http::{HeaderValue, Method};
use outflow_content::{Content, EntityTag};

use crate::double::{collect, fields, get};

fn content() -> Content {
    Content::bytes("0123456789").etag(EntityTag::strong("v1").unwrap())
}

#[test]
fn one_range_yields_exactly_those_bytes() {
    for (range, content_range, bytes) in [
        ("bytes=0-0", "bytes 0-0/10", "0"),
        ("bytes=2-4", "bytes 2-4/10", "234"),
        ("bytes=7-", "bytes 7-9/10", "789"),
        ("bytes=-3", "bytes 7-9/10", "789"),
        ("bytes=0-", "bytes 0-9/10", "0123456789"),
        ("bytes=-100", "bytes 0-9/10", "0123456789"),
        ("bytes=8-100", "bytes 8-9/10", "89"),
        ("bytes=4-5, 5-6", "bytes 4-6/10", "456"),
    ] {
        let response = get(content(), &[&format!("range: {range}")]);
        let headers = response.headers();
        assert_eq!(response.status(), 206, "{range}");
        assert_eq!(headers["content-range"], content_range);
        assert_eq!(headers["content-length"], bytes.len().to_string().as_str());
        assert_eq!(headers["accept-ranges"], "bytes");
        assert_eq!(headers["etag"], "\"v1\"");
        assert_eq!(headers["content-type"], "application/octet-stream");
        assert_eq!(collect(response).unwrap(), bytes, "{range}");
    }
}

#[test]
fn an_unsatisfiable_range_is_told_the_length() {
    for (range, len) in [("bytes=10-", 10), ("bytes=-0", 10), ("bytes=0-", 0), ("bytes=-5", 0)] {
        let content = Content::bytes("0123456789".get(..len).unwrap().to_owned())
            .etag(EntityTag::strong("v1").unwrap())
            .attachment("a.bin")
            .header(http::header::CACHE_CONTROL, HeaderValue::from_static("max-age=1000"));
        let response = get(content, &[&format!("range: {range}")]);
        let headers = response.headers();
        assert_eq!(response.status(), 416, "{range} of {len}");
        assert_eq!(headers["content-range"], format!("bytes */{len}").as_str());
        assert_eq!(headers["content-length"], "0");
        for absent in ["content-type", "content-disposition", "etag", "last-modified", "cache-control"] {
            assert!(!headers.contains_key(absent), "{absent}");
        }
        assert!(collect(response).unwrap().is_empty());
    }
}

#[test]
fn malformed_foreign_or_doubled_ranges_get_the_whole_content() {
    for lines in [
        &["range: bytes=3-2"][..],
        &["range: bytes=x"],
        &["range: bytes="],
        &["range: pages=1-2"],
        &["range: bytes=0-1", "range: bytes=2-3"],
        &["range: bytes=0-1", "range: bytes=0-1"],
    ] {
        let response = get(content(), lines);
        assert_eq!(response.status(), 200, "{lines:?}");
        assert!(!response.headers().contains_key("content-range"));
        assert_eq!(collect(response).unwrap(), "0123456789");
    }
}

#[test]
fn head_ignores_range() {
    for range in ["bytes=0-1", "bytes=50-", "bytes=0-0,9-9"] {
        let response = content().respond(&Method::HEAD, &fields(&[&format!("range: {range}")]));
        assert_eq!(response.status(), 200, "{range}");
        assert_eq!(response.headers()["content-length"], "10");
        assert!(!response.headers().contains_key("content-range"));
    }
}

#[test]
fn several_ranges_are_parts_in_the_order_asked() {
    let content = || {
        Content::bytes("a".repeat(500) + &"b".repeat(500))
            .media_type(HeaderValue::from_static("text/plain; charset=utf-8"))
            .etag(EntityTag::strong("v1").unwrap())
    };
    let response = get(content(), &["range: bytes=998-, 0-2, 500-501"]);
    assert_eq!(response.status(), 206);
    assert!(!response.headers().contains_key("content-range"));
    let content_type = response.headers()["content-type"].to_str().unwrap().to_owned();
    let boundary = content_type.strip_prefix("multipart/byteranges; boundary=").unwrap().to_owned();
    let length = response.headers()["content-length"].to_str().unwrap().to_owned();
    let part = |range, bytes| {
        format!(
            "--{boundary}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Range: bytes {range}/1000\r\n\r\n{bytes}\r\n"
        )
    };
    let expected =
        part("998-999", "bb") + &part("0-2", "aaa") + &part("500-501", "bb") + &format!("--{boundary}--\r\n");
    assert_eq!(length, expected.len().to_string());
    assert_eq!(collect(response).unwrap(), expected);

    let again = get(content(), &["range: bytes=998-, 0-2, 500-501"]);
    assert_eq!(collect(again).unwrap(), expected, "the same request yields the same bytes");
}

#[test]
fn the_boundary_follows_from_tag_length_and_ranges() {
    let boundary = |tag: &str, len: usize, range: &str| {
        let content = Content::bytes(vec![0; len]).etag(EntityTag::strong(tag).unwrap());
        get(content, &[range]).headers()["content-type"].clone()
    };
    let one = boundary("v1", 1000, "range: bytes=0-0,500-500");
    assert_eq!(one, boundary("v1", 1000, "range: bytes=0-0, 500-500"));
    assert_ne!(one, boundary("v2", 1000, "range: bytes=0-0,500-500"));
    assert_ne!(one, boundary("v1", 1001, "range: bytes=0-0,500-500"));
    assert_ne!(one, boundary("v1", 1000, "range: bytes=0-0,500-501"));
    assert_ne!(one, boundary("v1", 1000, "range: bytes=500-500,0-0"));
}

#[test]
fn unsatisfiable_ranges_among_others_are_dropped() {
    let response = get(content(), &["range: bytes=50-60, 3-4, -0"]);
    assert_eq!(
        (response.status().as_u16(), &response.headers()["content-range"]),
        (206, &HeaderValue::from_static("bytes 3-4/10"))
    );
}
