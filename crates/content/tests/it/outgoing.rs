//! Taking the spans out of a response, as an engine that sends span by span does.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{HeaderValue, header};
use http_body::Body;
use outflow_content::{
    BodyMap, Content, Ending, Evidence, Observer, Outgoing, Span, SpanError, SpanList, Spans,
};

use crate::double::{Notes, block_on, collect, get};

fn drain(mut outgoing: Outgoing) -> Vec<Bytes> {
    let mut runs = Vec::new();
    while let Some(span) = outgoing.next_span() {
        let Span::Memory(bytes) = span.unwrap() else { panic!("memory only") };
        runs.push(bytes);
    }
    assert!(outgoing.is_empty());
    runs
}

#[test]
fn the_spans_of_a_range_begin_and_end_inside_the_runs() {
    let mut list = SpanList::new();
    ["0123", "4567", "89"].into_iter().for_each(|run| list.push_bytes(run));
    let mut response = get(Content::new(Arc::new(list)), &["range: bytes=2-8"]);
    let outgoing = Outgoing::take(&mut response).unwrap();
    assert_eq!(outgoing.len(), 7);
    assert_eq!(drain(outgoing), ["23", "4567", "8"]);
}

#[test]
fn what_was_taken_is_not_sent_again_by_the_body() {
    let notes = Notes::default();
    let mut response = get(Content::bytes("hello").observer(notes.clone()), &[]);
    let mut outgoing = Outgoing::take(&mut response).unwrap();
    assert!(Outgoing::take(&mut response).is_none());
    let mut watch = outgoing.watch();
    watch.started();
    assert!(collect(response).unwrap().is_empty());
    watch.sent(5);
    watch.completed(Evidence::Sent);
    assert_eq!(notes.lines(), ["started 5", "sent 5 5", "completed Sent 5", "cleanup"]);
}

#[test]
fn an_empty_content_can_be_taken_and_is_told_once() {
    let notes = Notes::default();
    let mut response = get(Content::bytes("").observer(notes.clone()), &[]);
    let mut outgoing = Outgoing::take(&mut response).unwrap();
    drop(response);
    assert!(notes.lines().is_empty());
    let watch = outgoing.watch();
    assert!(outgoing.next_span().is_none());
    watch.completed(Evidence::Sent);
    assert_eq!(notes.lines(), ["started 0", "completed Sent 0", "cleanup"]);
}

#[test]
fn a_watch_that_is_dropped_is_an_abort() {
    let notes = Notes::default();
    let mut response = get(Content::bytes("hello").observer(notes.clone()), &[]);
    let mut watch = Outgoing::take(&mut response).unwrap().watch();
    watch.sent(2);
    drop(watch);
    assert_eq!(notes.lines(), ["started 5", "sent 2 2", "aborted 2 response was dropped", "cleanup"]);
}

#[test]
fn what_is_acknowledged_is_told_once_only_grows_and_is_never_more_than_was_sent() {
    let notes = Notes::default();
    let mut response = get(Content::bytes("hello").observer(notes.clone()), &[]);
    let mut watch = Outgoing::take(&mut response).unwrap().watch();
    watch.sent(3);
    for acked in [0, 2, 1, 2, 5] {
        watch.acked(acked);
    }
    watch.measured(Some(1), None);
    watch.aborted(&outflow_content::AbortReason::Stalled);
    let told =
        ["started 5", "sent 3 3", "acked 2", "acked 3", "aborted 3, 3 acked client stalled", "cleanup"];
    assert_eq!(notes.lines(), told);
}

/// Keeps the map that it was given, and the ending.
#[derive(Default)]
struct Keeping(Option<BodyMap>, Arc<Mutex<Option<(BodyMap, Ending)>>>);

impl Observer for Keeping {
    fn started(&mut self, body: &BodyMap) {
        self.0 = Some(body.clone());
    }
    fn completed(&mut self, ending: &Ending) {
        *self.1.lock().unwrap() = Some((self.0.clone().expect("it was started"), ending.clone()));
    }
}

/// So long that ranges at both ends are not made one.
fn long() -> String {
    format!("012{}89", "x".repeat(995))
}

fn kept(lines: &[&str], evidence: Evidence) -> (BodyMap, Ending) {
    let keeping = Keeping::default();
    let kept = Arc::clone(&keeping.1);
    let mut response = get(Content::bytes(long()).observer(keeping), lines);
    let mut outgoing = Outgoing::take(&mut response).unwrap();
    let (mut watch, len) = (outgoing.watch(), outgoing.len());
    watch.sent(len);
    watch.completed(evidence);
    let kept = kept.lock().unwrap().take();
    kept.expect("it was completed")
}

#[test]
fn the_map_of_a_body_says_which_bytes_of_the_content_it_carries() {
    let (whole, _) = kept(&[], Evidence::Sent);
    assert_eq!(whole, BodyMap::whole(1000));
    let (range, _) = kept(&["range: bytes=2-5"], Evidence::Sent);
    assert_eq!(range, BodyMap::range(1000, 2..6));
    assert_eq!(range.acked(3).collect::<Vec<_>>(), [2..5]);
}

#[test]
fn the_map_of_a_multipart_body_leaves_its_frames_out() {
    let lines = ["range: bytes=998-999, 0-2"];
    let (map, _) = kept(&lines, Evidence::Sent);
    let body = collect(get(Content::bytes(long()), &lines)).unwrap();
    assert_eq!((map.len(), map.content_len()), (body.len() as u64, 1000));
    assert_eq!(map.ranges().collect::<Vec<_>>(), [998..1000, 0..3]);
    let at = |part: &[u8]| body.windows(part.len()).position(|window| window == part).unwrap() as u64;
    let (first, second) = (at(b"\r\n89\r\n") + 2, at(b"\r\n012\r\n") + 2);
    assert_eq!(map.acked(first).count(), 0);
    assert_eq!(map.acked(first + 1).collect::<Vec<_>>(), [998..999]);
    assert_eq!(map.acked(second).collect::<Vec<_>>(), [998..1000]);
    assert_eq!(map.acked(second + 2).collect::<Vec<_>>(), [998..1000, 0..2]);
}

#[test]
fn better_evidence_than_sent_says_that_all_is_acknowledged() {
    for (evidence, acked) in
        [(Evidence::Sent, None), (Evidence::Acked, Some(1000)), (Evidence::Confirmed, Some(1000))]
    {
        let (_, ending) = kept(&[], evidence);
        assert_eq!(ending, Ending { sent: 1000, acked, evidence, transport: None });
    }
}

#[test]
fn a_polled_body_cannot_be_taken() {
    let mut response = get(Content::bytes("hello"), &[]);
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(std::pin::Pin::new(response.body_mut()).poll_frame(&mut cx).is_ready());
    assert!(Outgoing::take(&mut response).is_none());
}

#[test]
fn a_response_with_other_framing_has_to_be_sent_by_its_body() {
    for (name, value) in
        [(header::CONTENT_LENGTH, "3"), (header::CONTENT_LENGTH, "x"), (header::CONTENT_ENCODING, "br")]
    {
        let mut response = get(Content::bytes("hello"), &[]);
        response.headers_mut().insert(name, HeaderValue::from_static(value));
        assert!(Outgoing::take(&mut response).is_none());
        assert_eq!(collect(response).unwrap(), "hello");
    }
    let mut response = get(Content::bytes("hello"), &[]);
    response.headers_mut().remove(header::CONTENT_LENGTH);
    assert!(Outgoing::take(&mut response).is_none());
}

#[test]
fn a_content_with_its_own_encoding_can_be_taken_unless_that_was_changed() {
    let encoded =
        || Content::bytes("hello").header(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    assert!(Outgoing::take(&mut get(encoded(), &[])).is_some());
    let mut response = get(encoded(), &[]);
    response.headers_mut().remove(header::CONTENT_ENCODING);
    assert!(Outgoing::take(&mut response).is_none());
}

#[test]
fn the_slot_survives_a_body_that_a_framework_boxes() {
    use http_body_util::BodyExt;
    let mut response = get(Content::bytes("hello"), &[]).map(BodyExt::boxed_unsync);
    assert_eq!(drain(Outgoing::take(&mut response).unwrap()), ["hello"]);
    assert!(block_on(response.into_body().collect()).unwrap().to_bytes().is_empty());
}

/// Says that it has bytes, and has none.
struct Hollow;

impl Spans for Hollow {
    fn len(&self) -> u64 {
        7
    }
    fn span_at(&self, _: u64) -> Result<Span, SpanError> {
        Ok(Span::Memory(Bytes::new()))
    }
}

#[test]
fn spans_that_break_their_word_are_an_error_and_not_an_endless_loop() {
    let error = collect(get(Content::new(Arc::new(Hollow)), &[])).unwrap_err();
    assert!(matches!(error, SpanError::Truncated { offset: 0, missing: 7, .. }), "{error}");
}
