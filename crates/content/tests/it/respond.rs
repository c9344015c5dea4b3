//! Methods, and the fields that each kind of answer has.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue, Method, Response};
use http_body::Body;
use outflow_content::{Content, ContentBody, EntityTag, Outgoing};

use crate::double::{Notes, collect, fields, get};

fn content() -> Content {
    Content::bytes("hello")
        .etag(EntityTag::strong("v1").unwrap())
        .last_modified(UNIX_EPOCH + Duration::from_secs(784_111_777))
        .media_type(HeaderValue::from_static("text/plain"))
        .attachment("hello.txt")
        .header(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"))
        .header(header::EXPIRES, HeaderValue::from_static("0"))
        .header(header::CONTENT_LOCATION, HeaderValue::from_static("/hello.txt"))
        .header(header::VARY, HeaderValue::from_static("accept"))
        .header(HeaderName::from_static("access-control-allow-origin"), HeaderValue::from_static("*"))
}

fn names(response: &Response<ContentBody>) -> Vec<&str> {
    let mut names: Vec<&str> = response.headers().keys().map(HeaderName::as_str).collect();
    names.sort_unstable();
    names
}

const WHOLE: [&str; 11] = [
    "accept-ranges",
    "access-control-allow-origin",
    "cache-control",
    "content-disposition",
    "content-length",
    "content-location",
    "content-type",
    "etag",
    "expires",
    "last-modified",
    "vary",
];

#[test]
fn get_answers_with_everything() {
    let response = get(content(), &[]);
    assert_eq!(response.status(), 200);
    assert_eq!(names(&response), WHOLE);
    let headers = response.headers();
    assert_eq!(headers["content-length"], "5");
    assert_eq!(headers["content-type"], "text/plain");
    assert_eq!(headers["etag"], "\"v1\"");
    assert_eq!(headers["last-modified"], "Sun, 06 Nov 1994 08:49:37 GMT");
    assert_eq!(headers["accept-ranges"], "bytes");
    assert_eq!(response.body().size_hint().exact(), Some(5));
    assert_eq!(collect(response).unwrap(), "hello");
}

#[test]
fn head_has_the_fields_of_get_and_no_body() {
    for lines in [&[][..], &["if-none-match: \"v1\""], &["if-match: \"v0\""]] {
        let get = get(content(), lines);
        let head = content().respond(&Method::HEAD, &fields(lines));
        assert_eq!(head.status(), get.status());
        assert_eq!(head.headers(), get.headers());
        assert!(collect(head).unwrap().is_empty());
    }
}

#[test]
fn not_modified_has_what_caches_need_and_nothing_about_a_body() {
    let response = get(content(), &["if-none-match: \"v1\""]);
    assert_eq!(response.status(), 304);
    let kept = [
        "access-control-allow-origin",
        "cache-control",
        "content-location",
        "etag",
        "expires",
        "last-modified",
        "vary",
    ];
    assert_eq!(names(&response), kept);
}

#[test]
fn a_failed_precondition_has_nothing_of_the_representation() {
    let response = get(content(), &["if-match: \"v0\""]);
    assert_eq!(response.status(), 412);
    assert_eq!(names(&response), ["access-control-allow-origin", "content-length", "vary"]);
    assert_eq!(response.headers()["content-length"], "0");
}

#[test]
fn other_methods_are_not_allowed_and_options_says_which_are() {
    for method in ["POST", "PUT", "DELETE", "PATCH", "TRACE", "CONNECT", "get", "BREW"] {
        let response = content()
            .respond(&Method::from_bytes(method.as_bytes()).unwrap(), &fields(&["if-none-match: *"]));
        assert_eq!(response.status(), 405, "{method}");
        assert_eq!(response.headers()["allow"], "GET, HEAD, OPTIONS");
        assert_eq!(response.headers()["content-length"], "0");
        assert!(!response.headers().contains_key("etag"));
    }
    let response = content().respond(&Method::OPTIONS, &fields(&["if-none-match: *"]));
    assert_eq!(response.status(), 204);
    assert_eq!(response.headers()["allow"], "GET, HEAD, OPTIONS");
    assert!(!response.headers().contains_key("content-length"));
}

#[test]
fn a_content_without_description_is_octets() {
    let response = get(Content::bytes("x"), &[]);
    assert_eq!(names(&response), ["accept-ranges", "content-length", "content-type"]);
    assert_eq!(response.headers()["content-type"], "application/octet-stream");
}

#[test]
fn times_that_no_http_date_can_say_are_left_out() {
    let years = |n: u64| Duration::from_secs(n * 31_557_600);
    for time in [UNIX_EPOCH - Duration::from_secs(1), UNIX_EPOCH - years(100), UNIX_EPOCH + years(8_100)] {
        let response = get(Content::bytes("x").last_modified(time), &[]);
        assert!(!response.headers().contains_key("last-modified"), "{time:?}");
    }
    let epoch = get(Content::bytes("x").last_modified(UNIX_EPOCH), &[]);
    assert_eq!(epoch.headers()["last-modified"], "Thu, 01 Jan 1970 00:00:00 GMT");
}

#[test]
fn a_time_in_the_future_is_told_as_now_and_never_called_unmodified() {
    let content = || Content::bytes("x").last_modified(SystemTime::now() + Duration::from_secs(86_400));
    let told = get(content(), &[]).headers()["last-modified"].to_str().unwrap().to_owned();
    assert!(httpdate::parse_http_date(&told).unwrap() <= SystemTime::now());
    assert_eq!(get(content(), &[&format!("if-modified-since: {told}")]).status(), 200);
    assert_eq!(get(content(), &[&format!("if-range: {told}"), "range: bytes=0-0"]).status(), 200);
}

#[test]
fn fields_that_follow_from_the_content_cannot_be_forged() {
    let mut content = content();
    for name in
        ["content-length", "content-range", "accept-ranges", "etag", "last-modified", "transfer-encoding"]
    {
        content = content.header(HeaderName::from_static(name), HeaderValue::from_static("7"));
    }
    let response = get(content, &[]);
    assert_eq!(names(&response), WHOLE);
    assert_eq!(response.headers()["content-length"], "5");
}

#[test]
fn fields_are_added_but_the_type_is_replaced() {
    let content = content()
        .header(header::VARY, HeaderValue::from_static("origin"))
        .header(header::CONTENT_TYPE, HeaderValue::from_static("text/html"));
    let response = get(content, &[]);
    assert_eq!(response.headers().get_all("vary").iter().count(), 2);
    assert_eq!(response.headers().get_all("content-type").iter().collect::<Vec<_>>(), ["text/html"]);
}

#[test]
fn an_answer_without_the_content_drops_the_observer_in_silence() {
    let unsatisfiable = "range: bytes=9-";
    for (method, lines, status) in [
        (Method::HEAD, &[][..], 200),
        (Method::GET, &["if-none-match: *"], 304),
        (Method::GET, &["if-match: \"x\""], 412),
        (Method::GET, &[unsatisfiable], 416),
        (Method::POST, &[], 405),
        (Method::OPTIONS, &[], 204),
    ] {
        let notes = Notes::default();
        let mut response = content().observer(notes.clone()).respond(&method, &fields(lines));
        assert_eq!(response.status(), status);
        assert!(Outgoing::take(&mut response).is_none());
        assert!(response.body().is_end_stream());
        collect(response).unwrap();
        assert!(notes.lines().is_empty(), "{status}: {:?}", notes.lines());
    }
}

#[test]
fn the_length_of_a_content_is_that_of_its_spans() {
    assert_eq!((content().len(), content().is_empty()), (5, false));
    assert_eq!((Content::bytes("").len(), Content::bytes("").is_empty()), (0, true));
    let response = Content::bytes("").respond(&Method::GET, &HeaderMap::new());
    assert_eq!(
        (response.status().as_u16(), &response.headers()["content-length"]),
        (200, &HeaderValue::from_static("0"))
    );
}

#[test]
fn a_content_asked_for_again_answers_the_same() {
    let content = Content::bytes("Hello")
        .etag(EntityTag::strong("v1").unwrap())
        .last_modified(UNIX_EPOCH + Duration::from_secs(784_111_777))
        .attachment("hello.txt");
    let (once, again) = (content.clone_unobserved(), content);
    let (once, again) =
        (once.respond(&Method::GET, &HeaderMap::new()), again.respond(&Method::GET, &HeaderMap::new()));
    assert_eq!(once.headers()["last-modified"], "Sun, 06 Nov 1994 08:49:37 GMT");
    assert_eq!((once.status(), once.headers()), (again.status(), again.headers()));
}
