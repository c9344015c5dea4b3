//! What an observer is told: in order, with sums that add up, and always to the end.

use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use outflow_content::{AbortReason, Content, Ending, EntityTag, Observer, SpanError};
use outflow_wire::ServerOptions;

use crate::support::{
    Client, Event, Events, Running, TestFile, locked, pattern, serve_content, serve_content_with, serve_with,
    temp, watcher,
};

/// A server that answers with `content` and gives each delivery the next of so many watchers.
fn watched(
    n: usize,
    options: ServerOptions,
    content: impl Fn() -> Content + Send + Sync + 'static,
) -> (Running, Vec<Events>) {
    let (observers, events): (Vec<_>, Vec<_>) = (0..n).map(|_| watcher()).unzip();
    let observers = Mutex::new(observers.into_iter());
    let server = serve_content_with(options, move |_| {
        content().observer(locked(&observers).next().expect("a watcher for every request"))
    });
    (server, events)
}

/// Far more than the socket's buffers take.
const LARGE: usize = 32 * 1024 * 1024;

fn large() -> (tempfile::TempDir, TestFile) {
    let (folder, path) = temp("file", &pattern(LARGE, 71));
    let file = TestFile::open(&path);
    (folder, file)
}

#[test]
fn a_delivery_is_told_from_start_to_cleanup() {
    let (_folder, path) = temp("file", &pattern(5_000_000, 73));
    let file = TestFile::open(&path);
    for (total, content) in [
        (5_000_000, Box::new(move || file.content()) as Box<dyn Fn() -> Content + Send + Sync>),
        (1000, Box::new(|| Content::bytes(vec![0; 1000]))),
        (100_000, Box::new(|| Content::bytes(vec![0; 100_000]))),
    ] {
        let (server, mut events) = watched(1, ServerOptions::default(), content);
        assert_eq!(Client::connect(server.addr).get("/", "").reply().body.len() as u64, total);
        assert_eq!(events.remove(0).ending(total), Event::Completed(total));
    }
}

#[test]
fn a_small_delivery_is_told_in_four_words() {
    let (server, events) = watched(1, ServerOptions::default(), || Content::bytes("hello"));
    assert_eq!(Client::connect(server.addr).get("/", "").reply().text(), "hello");
    let told: Vec<Event> = std::iter::from_fn(|| events[0].next()).collect();
    assert_eq!(told, [Event::Started(5), Event::Sent(5, 5), Event::Completed(5), Event::Cleanup]);
}

#[test]
fn an_empty_content_is_delivered_too() {
    let (server, events) = watched(1, ServerOptions::default(), || Content::bytes(""));
    assert_eq!(Client::connect(server.addr).get("/", "").reply().body, b"");
    let told: Vec<Event> = std::iter::from_fn(|| events[0].next()).collect();
    assert_eq!(told, [Event::Started(0), Event::Completed(0), Event::Cleanup]);
}

#[test]
fn a_multipart_answer_is_told_with_its_frames() {
    let (server, mut events) = watched(1, ServerOptions::default(), || Content::bytes(vec![7; 10_000]));
    let reply = Client::connect(server.addr).get("/", "Range: bytes=0-0,5000-5000\r\n").reply();
    let total = reply.body.len() as u64;
    assert!(reply.status == 206 && total > 100, "{reply:?}");
    assert_eq!(events.remove(0).ending(total), Event::Completed(total));
}

#[test]
fn pipelined_deliveries_are_told_one_by_one() {
    let (server, events) = watched(3, ServerOptions::default(), || Content::bytes(vec![0; 100]));
    let mut client = Client::connect(server.addr);
    client.get("/", "").get("/", "").get("/", "");
    for events in events {
        assert_eq!(client.reply().body.len(), 100);
        assert_eq!(events.ending(100), Event::Completed(100));
    }
}

#[test]
fn answers_without_a_body_of_the_content_tell_nothing() {
    let (observers, events): (Vec<_>, Vec<_>) = (0..5).map(|_| watcher()).unzip();
    let observers = Mutex::new(observers.into_iter());
    let server = serve_content(move |_| {
        let observer = locked(&observers).next().expect("a watcher for every request");
        Content::bytes("hello").etag(EntityTag::strong("v1").expect("a tag")).observer(observer)
    });
    let mut client = Client::connect(server.addr);
    client.send("HEAD / HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(client.reply_to_head().status, 200);
    assert_eq!(client.get("/", "If-None-Match: \"v1\"\r\n").reply().status, 304);
    assert_eq!(client.get("/", "If-Match: \"v2\"\r\n").reply().status, 412);
    assert_eq!(client.get("/", "Range: bytes=5-\r\n").reply().status, 416);
    assert_eq!(client.send("DELETE / HTTP/1.1\r\nHost: x\r\n\r\n").reply().status, 405);
    for events in events {
        assert_eq!(events.next(), None);
    }
}

#[test]
fn head_tells_nothing_even_when_the_service_answers_it_like_a_get() {
    let (observer, events) = watcher();
    let observer = Mutex::new(Some(observer));
    let server = serve_with(ServerOptions::default(), 1, move |request| {
        let observer = locked(&observer).take().expect("one request");
        let content = Content::bytes("hello").observer(observer);
        let response = crate::support::respond(content, &Method::GET, request.headers());
        async move { Ok(response) }
    });
    let mut client = Client::connect(server.addr);
    client.send("HEAD / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    assert_eq!(client.reply_to_head().header("content-length"), Some("5"));
    client.expect_closed();
    assert_eq!(events.next(), None);
}

#[test]
fn a_client_that_breaks_the_connection_aborts_the_delivery() {
    let (_folder, file) = large();
    let total = file.len();
    let (server, mut events) = watched(1, ServerOptions::default(), move || file.content());
    let mut client = Client::connect_narrow(server.addr, 16 * 1024);
    client.get("/", "").take(100_000).expect("the first bytes");
    client.reset();
    let end = events.remove(0).ending(total);
    let Event::Aborted(sum, AbortReason::Disconnected(why)) = end else { panic!("ended by {end:?}") };
    assert!((90_000..total).contains(&sum), "{sum} bytes");
    assert!(!why.is_empty());
}

#[test]
fn a_client_that_closes_early_aborts_the_delivery() {
    let (_folder, file) = large();
    let total = file.len();
    let (server, mut events) = watched(1, ServerOptions::default(), move || file.content());
    let mut client = Client::connect_narrow(server.addr, 16 * 1024);
    client.get("/", "").take(100_000).expect("the first bytes");
    drop(client);
    let end = events.remove(0).ending(total);
    assert!(matches!(end, Event::Aborted(_, AbortReason::Disconnected(_))), "{end:?}");
}

#[test]
fn a_client_that_half_closes_behind_its_request_still_gets_the_answer() {
    let (server, mut events) = watched(1, ServerOptions::default(), || Content::bytes(vec![1; 1_000_000]));
    let mut client = Client::connect(server.addr);
    assert_eq!(client.get("/", "").finish().reply().body.len(), 1_000_000);
    assert_eq!(events.remove(0).ending(1_000_000), Event::Completed(1_000_000));
}

#[test]
fn a_client_that_takes_nothing_is_cut_off_as_stalled() {
    let options = ServerOptions { stall_timeout: Duration::from_millis(150), ..ServerOptions::default() };
    let (_folder, file) = large();
    let total = file.len();
    let memory = Bytes::from(vec![0; total as usize]);
    for in_memory in [false, true] {
        let (file, memory) = (file.clone(), memory.clone());
        let (server, mut events) = watched(1, options.clone(), move || {
            if in_memory { Content::bytes(memory.clone()) } else { file.content() }
        });
        let mut client = Client::connect_narrow(server.addr, 16 * 1024);
        client.get("/", "");
        let end = events.remove(0).ending(total);
        assert!(matches!(end, Event::Aborted(_, AbortReason::Stalled)), "{end:?}");
        client.take_until(b"\r\n\r\n").expect("a head");
        client.expect_cut(total as usize);
    }
}

/// Panics on its first piece.
struct Panicking(crate::support::Watcher);

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

#[test]
fn an_observer_that_panics_costs_its_own_connection_only() {
    let (observer, events) = watcher();
    let observer = Mutex::new(Some(Panicking(observer)));
    let server = serve_content(move |_| {
        let content = Content::bytes(vec![0; LARGE]);
        match locked(&observer).take() {
            Some(observer) => content.observer(observer),
            None => content,
        }
    });
    let mut client = Client::connect(server.addr);
    client.get("/", "").take_until(b"\r\n\r\n").expect("a head");
    client.expect_cut(LARGE);
    assert_eq!(events.next(), None);
    assert_eq!(Client::connect(server.addr).get("/", "").reply().body.len(), LARGE);
}
