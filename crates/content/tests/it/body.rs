//! The content as an ordinary body: its bytes, and what the observer is told (fast_send's order).

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::Body;
use http_body_util::BodyExt;
use outflow_content::{Content, SpanError};

use crate::double::{Fed, Notes, block_on, collect, get};

fn fed(len: u64, chunks: &[Option<&'static str>]) -> Content {
    Content::new(Arc::new(Fed { len, chunks: chunks.to_vec() }))
}

#[test]
fn a_delivery_is_started_sent_completed_cleaned_up() {
    let notes = Notes::default();
    let content = fed(10, &[Some("01234"), Some("567"), Some("89")]).observer(notes.clone());
    assert_eq!(collect(get(content, &[])).unwrap(), "0123456789");
    assert_eq!(
        notes.lines(),
        ["started 10", "sent 5 5", "sent 3 8", "sent 2 10", "completed Sent 10", "cleanup"]
    );
}

#[test]
fn completed_is_told_with_the_last_chunk_because_nobody_asks_for_more() {
    let notes = Notes::default();
    let mut body = get(Content::bytes("hello").observer(notes.clone()), &[]).into_body();
    let frame = block_on(body.frame()).unwrap().unwrap();
    assert_eq!(frame.into_data().unwrap(), "hello");
    assert!(body.is_end_stream());
    assert_eq!(notes.lines(), ["started 5", "sent 5 5", "completed Sent 5", "cleanup"]);
    drop(body);
    assert_eq!(notes.lines().len(), 4);
}

#[test]
fn the_parts_of_a_multipart_answer_are_counted_as_they_leave() {
    let notes = Notes::default();
    let content = Content::bytes(vec![b'x'; 1000]).observer(notes.clone());
    let response = get(content, &["range: bytes=0-0,500-500"]);
    let length = response.headers()["content-length"].to_str().unwrap().to_owned();
    collect(response).unwrap();
    let lines = notes.lines();
    assert_eq!(lines[0], format!("started {length}"));
    assert_eq!(lines[lines.len() - 2], format!("completed Sent {length}"));
    assert_eq!(lines.len(), 1 + 5 + 2);
}

#[test]
fn a_feed_that_yields_more_than_its_span_is_cut() {
    assert_eq!(collect(get(fed(4, &[Some("012"), Some("345"), Some("678")]), &[])).unwrap(), "0123");
}

#[test]
fn an_error_in_the_middle_is_failed_and_ends_the_body() {
    let notes = Notes::default();
    let response = get(fed(10, &[Some("01234"), None]).observer(notes.clone()), &[]);
    let mut body = response.into_body();
    assert!(block_on(body.frame()).unwrap().is_ok());
    assert!(matches!(block_on(body.frame()), Some(Err(SpanError::Changed { .. }))));
    assert!(block_on(body.frame()).is_none());
    drop(body);
    let failed = "failed 5 report.pdf was changed while it was being sent: size";
    assert_eq!(notes.lines(), ["started 10", "sent 5 5", failed, "cleanup"]);
}

#[test]
fn a_feed_that_ends_early_is_an_error_and_never_a_short_body() {
    let notes = Notes::default();
    let error = collect(get(fed(10, &[Some("01234")]).observer(notes.clone()), &[])).unwrap_err();
    assert!(matches!(error, SpanError::Truncated { missing: 5, .. }), "{error}");
    assert!(notes.lines()[2].starts_with("failed 5"));
    assert_eq!(notes.lines().len(), 4);
}

#[test]
fn a_body_dropped_in_the_middle_is_aborted() {
    let notes = Notes::default();
    let mut body = get(fed(10, &[Some("01234"), Some("56789")]).observer(notes.clone()), &[]).into_body();
    assert!(block_on(body.frame()).unwrap().is_ok());
    assert!(!body.is_end_stream());
    assert_eq!(body.size_hint().exact(), Some(5));
    drop(body);
    assert_eq!(notes.lines(), ["started 10", "sent 5 5", "aborted 5 response was dropped", "cleanup"]);
}

#[test]
fn a_body_dropped_before_it_was_polled_has_delivered_nothing() {
    let notes = Notes::default();
    drop(get(Content::bytes("hello").observer(notes.clone()), &[]));
    assert!(notes.lines().is_empty());
}

#[test]
fn an_empty_content_is_delivered_whether_its_body_is_polled_or_only_dropped() {
    let told = ["started 0", "completed Sent 0", "cleanup"];
    let dropped = Notes::default();
    let response = get(Content::bytes("").observer(dropped.clone()), &[]);
    assert!(response.body().is_end_stream());
    drop(response);
    assert_eq!(dropped.lines(), told);

    let polled = Notes::default();
    let mut body = get(Content::bytes("").observer(polled.clone()), &[]).into_body();
    let mut cx = Context::from_waker(std::task::Waker::noop());
    assert!(matches!(Pin::new(&mut body).poll_frame(&mut cx), Poll::Ready(None)));
    assert_eq!(polled.lines(), told);
    drop(body);
    assert_eq!(polled.lines(), told);
}

#[test]
fn a_chunk_at_a_time_leaves_the_rest_untouched() {
    let mut body = get(fed(6, &[Some("012"), Some("345")]), &[]).into_body();
    let next = |body: &mut outflow_content::ContentBody| {
        block_on(body.frame()).unwrap().unwrap().into_data().unwrap()
    };
    assert_eq!(next(&mut body), Bytes::from("012"));
    assert_eq!(body.size_hint().exact(), Some(3));
    assert_eq!(next(&mut body), Bytes::from("345"));
}
