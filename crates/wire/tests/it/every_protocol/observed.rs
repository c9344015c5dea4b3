//! What an observer is notified of: in order, with sums that add up, and always to the end.

use std::sync::Arc;

use bytes::Bytes;
use http::Method;
use outflow_content::{Content, Ending, EntityTag, Observer, SpanError};
use outflow_wire::ServerOptions;
use parking_lot::Mutex;

use super::{Protocol, watched};
use crate::support::{Event, TestFile, Watcher, noise, respond, temp, watcher};

over_every_protocol! {
    a_delivery_is_told_from_start_to_cleanup,
    a_small_delivery_is_told_in_four_words,
    an_empty_content_is_delivered_too,
    a_multipart_answer_is_told_with_its_frames,
    answers_without_a_body_of_the_content_tell_nothing,
    head_tells_nothing_even_when_the_service_answers_it_like_a_get,
    an_observer_that_panics_costs_its_own_connection_only,
}

/// Makes a content for each request.
type Make = Box<dyn Fn() -> Content + Send + Sync>;

fn a_delivery_is_told_from_start_to_cleanup(protocol: Protocol) {
    let (_folder, path) = temp("file", &noise(73, 5_000_000));
    let file = TestFile::open(&path);
    for (total, content) in [
        (5_000_000, Box::new(move || file.content()) as Make),
        (1000, Box::new(|| Content::bytes(vec![0; 1000]))),
        (100_000, Box::new(|| Content::bytes(vec![0; 100_000]))),
    ] {
        let (site, mut events) = watched(protocol, 1, ServerOptions::default(), content);
        assert_eq!(site.peer().get("/", &[]).body.len() as u64, total);
        assert_eq!(events.remove(0).ending(total), Event::Completed(total));
    }
}

fn a_small_delivery_is_told_in_four_words(protocol: Protocol) {
    let (site, events) = watched(protocol, 1, ServerOptions::default(), || Content::bytes("hello"));
    assert_eq!(site.peer().get("/", &[]).text(), "hello");
    let told: Vec<Event> = std::iter::from_fn(|| events[0].next()).collect();
    assert_eq!(told, [Event::Started(5), Event::Sent(5, 5), Event::Completed(5), Event::Cleanup]);
}

fn an_empty_content_is_delivered_too(protocol: Protocol) {
    let (site, events) = watched(protocol, 1, ServerOptions::default(), || Content::bytes(""));
    assert_eq!(site.peer().get("/", &[]).body, b"");
    let told: Vec<Event> = std::iter::from_fn(|| events[0].next()).collect();
    assert_eq!(told, [Event::Started(0), Event::Completed(0), Event::Cleanup]);
}

fn a_multipart_answer_is_told_with_its_frames(protocol: Protocol) {
    let (site, mut events) =
        watched(protocol, 1, ServerOptions::default(), || Content::bytes(vec![7; 10_000]));
    let reply = site.peer().get("/", &[("range", "bytes=0-0,5000-5000")]);
    let total = reply.body.len() as u64;
    assert!(reply.status == 206 && total > 100, "{reply:?}");
    assert_eq!(events.remove(0).ending(total), Event::Completed(total));
}

fn answers_without_a_body_of_the_content_tell_nothing(protocol: Protocol) {
    let (site, events) = watched(protocol, 5, ServerOptions::default(), || {
        Content::bytes("hello").etag(EntityTag::strong("v1").expect("a tag"))
    });
    let mut peer = site.peer();
    assert_eq!(peer.fetch("HEAD", "/", &[]).status, 200);
    assert_eq!(peer.get("/", &[("if-none-match", "\"v1\"")]).status, 304);
    assert_eq!(peer.get("/", &[("if-match", "\"v2\"")]).status, 412);
    assert_eq!(peer.get("/", &[("range", "bytes=5-")]).status, 416);
    assert_eq!(peer.fetch("DELETE", "/", &[]).status, 405);
    for events in events {
        assert_eq!(events.next(), None);
    }
}

fn head_tells_nothing_even_when_the_service_answers_it_like_a_get(protocol: Protocol) {
    let (observer, events) = watcher();
    let observer = Mutex::new(Some(observer));
    let site = protocol.serve(ServerOptions::default(), move |request| {
        let observer = observer.lock().take().expect("one request");
        let content = Content::bytes("hello").observer(observer);
        let response = respond(content, &Method::GET, request.headers());
        async move { Ok(response) }
    });
    let head = site.peer().fetch("HEAD", "/", &[]);
    assert_eq!((head.find("content-length"), &*head.body), (Some("5"), &b""[..]));
    assert_eq!(events.next(), None);
}

/// Panics on its first piece.
struct Panicking(Watcher);

impl Observer for Panicking {
    fn sent(&mut self, _: u64, _: u64) {
        panic!("as the test wants it");
    }
    fn failed(&mut self, ending: &Ending, error: &SpanError) {
        self.0.failed(ending, error);
    }
    fn completed(&mut self, ending: &Ending) {
        self.0.completed(ending);
    }
}

fn an_observer_that_panics_costs_its_own_connection_only(protocol: Protocol) {
    /// Far more than the socket's buffers take.
    const LARGE: usize = 32 * 1024 * 1024;
    let (observer, events) = watcher();
    let observer = Mutex::new(Some(Panicking(observer)));
    let bytes = Arc::new(Bytes::from(vec![0; LARGE]));
    let site = protocol.serve_content(ServerOptions::default(), move |_| {
        let content = Content::bytes(Bytes::clone(&bytes));
        match observer.lock().take() {
            Some(observer) => content.observer(observer),
            None => content,
        }
    });
    let mut reader = site.reader();
    reader.request("/", &[]).expect_cut(LARGE);
    assert_eq!(events.next(), None);
    assert_eq!(site.peer().get("/", &[]).body.len(), LARGE);
}
