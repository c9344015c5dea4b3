//! Bodies of responses and requests: those that fail, stall or are given up never look whole.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::{HeaderValue, Request, Response, StatusCode};
use http_body::{Body, Frame};
use http_body_util::BodyExt as _;
use outflow_content::{AbortReason, Content, Feed, FeedSpan, Span, SpanError, Spans};
use outflow_wire::{RequestBody, ServerOptions};
use parking_lot::Mutex;

use super::Protocol;
use crate::sending::Fed;
use crate::support::{Answer, AnyBody, Event, PATIENCE, assert_same, body_of, noise, respond, text, watcher};

over_every_protocol! {
    copied_bodies_arrive_and_those_that_break_their_word_never_look_whole,
    a_service_that_panics_costs_its_own_connection_only,
    a_content_that_fails_is_a_500_before_its_first_byte_and_a_reset_later,
    a_feed_leaves_as_it_yields_and_no_further_than_its_span,
    a_service_that_fails_is_a_500_and_to_head_without_a_body,
    request_bodies_are_read_as_the_service_asks_for_them,
    a_request_body_that_stalls_is_an_error_to_the_service,
    a_client_that_vanishes_within_its_body_is_an_error_to_the_service,
    what_the_client_gives_up_is_dropped,
}

fn content(request: &Request<RequestBody>, content: Content) -> Answer {
    Ok(respond(content, request.method(), request.headers()))
}

fn announcing(length: &'static str, body: AnyBody) -> Response<AnyBody> {
    let mut response = text("").map(|_| body);
    response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from_static(length));
    response
}

/// One frame, and then a panic.
struct Panics(Option<&'static str>);

impl Body for Panics {
    type Data = Bytes;
    type Error = String;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, String>>> {
        match self.0.take() {
            Some("") => {
                // Once more, when what came before is on its way.
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Some(frame) => {
                self.0 = Some("");
                Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(frame.as_bytes())))))
            }
            None => panic!("as the test wants it"),
        }
    }
}

fn copied_bodies_arrive_and_those_that_break_their_word_never_look_whole(protocol: Protocol) {
    let large = Bytes::from(noise(7, 1_000_000));
    let want = large.clone();
    let site = protocol.serve(ServerOptions::default(), move |request| {
        let response = match request.uri().path() {
            "/large" => text(large.clone()),
            "/frames" => text("").map(|_| body_of([Ok("one"), Ok(""), Ok("two")])),
            "/nothing" => text("").map(|_| body_of([])),
            "/right" => announcing("5", body_of([Ok("hello"), Ok("")])),
            "/fails" => text("").map(|_| body_of([Ok("one"), Err("broken")])),
            "/fails-at-once" => text("").map(|_| body_of([Err("broken")])),
            "/short" => announcing("10", body_of([Ok("hello")])),
            "/short-empty" => announcing("10", body_of([])),
            "/long" => announcing("5", body_of([Ok("hello world")])),
            "/longer" => announcing("5", body_of([Ok("hello"), Ok(" world")])),
            "/longer-later" => announcing("5", body_of([Ok("hello"), Ok(""), Ok(" world")])),
            "/large-longer" => announcing("999999", text(large.clone()).into_body()),
            "/fails-behind" => announcing("5", body_of([Ok("hello"), Err("and then it broke")])),
            "/not-nothing" => announcing("0", body_of([Ok("hello")])),
            "/panics" => text("").map(|_| Panics(Some("half")).boxed_unsync()),
            other => panic!("{other}"),
        };
        async move { Ok(response) }
    });
    let mut peer = site.peer();
    assert_same(&peer.get("/large", &[]).body, &want, "known");
    for (path, want, length) in
        [("/frames", "onetwo", None), ("/nothing", "", None), ("/right", "hello", Some("5"))]
    {
        let got = peer.get(path, &[]);
        assert_eq!((got.text(), got.find("content-length")), (want, length), "{path}");
    }
    for path in [
        "/fails",
        "/fails-at-once",
        "/short",
        "/short-empty",
        "/long",
        "/longer",
        "/longer-later",
        "/large-longer",
        "/fails-behind",
        "/not-nothing",
        "/panics",
    ] {
        let result = peer.try_fetch("GET", path, &[]);
        peer.expect_cut(result, path);
        if !protocol.is_http2() {
            peer = site.peer();
        }
    }
    assert_same(&peer.get("/large", &[]).body, &want, "behind all that");
    if protocol.is_http2() {
        assert_eq!(site.server.counters.connections.get(), 1);
    }
}

fn a_service_that_panics_costs_its_own_connection_only(protocol: Protocol) {
    let site = protocol.serve(ServerOptions::default(), |request| async move {
        assert_ne!(request.uri().path(), "/panic", "as the test wants it");
        Ok(text("fine"))
    });
    let mut other = site.peer();
    assert_eq!(other.get("/", &[]).text(), "fine");
    let mut peer = site.peer();
    assert!(peer.try_fetch("GET", "/panic", &[]).is_err());
    if protocol.is_http2() {
        // Its stream only.
        assert_eq!(peer.get("/", &[]).text(), "fine");
    }
    assert_eq!(other.get("/", &[]).text(), "fine");
    assert_eq!(site.peer().get("/", &[]).text(), "fine");
}

fn a_content_that_fails_is_a_500_before_its_first_byte_and_a_reset_later(protocol: Protocol) {
    let bytes = Bytes::from(noise(9, 1_000_000));
    let fed = bytes.clone();
    let site = protocol.serve_content(ServerOptions::default(), move |request| {
        // The feed ends early: at once, or in its middle.
        let have = if request.uri().path() == "/at-once" { 0 } else { 500_000 };
        Content::new(Arc::new(Fed(fed.slice(..have), 1_000_000)))
    });
    assert_eq!(site.peer().get("/at-once", &[]).status, 500);
    let received = site.reader().begin("/midway").expect_failure(1_000_003);
    assert_same(&received, &bytes[..received.len()], "what came before");
    assert!(received.len() <= 500_000);
}

fn a_feed_leaves_as_it_yields_and_no_further_than_its_span(protocol: Protocol) {
    const MIB: usize = 1024 * 1024;
    let bytes = Bytes::from(noise(43, MIB));
    let fed = bytes.clone();
    let site = protocol.serve_content(ServerOptions::default(), move |request| {
        let len = request.uri().path()[1..].parse().expect("a length");
        Content::new(Arc::new(Fed(fed.clone(), len)))
    });
    let mut peer = site.peer();
    for len in [1, 1000, 100_000, MIB] {
        let reply = peer.get(&format!("/{len}"), &[]);
        assert_same(&reply.body, &[&bytes[..len], b"end"].concat(), "fed");
        let reply = peer.get(&format!("/{len}"), &[("range", "bytes=-4")]);
        assert_same(&reply.body, &[&bytes[len - 1..len], b"end"].concat(), "the end of it");
    }
    // One byte more than the feed has.
    let got = site.reader().begin(&format!("/{}", MIB + 1)).expect_failure(MIB + 4);
    assert_same(&got, &bytes[..got.len()], "what came before the cut");
}

fn a_service_that_fails_is_a_500_and_to_head_without_a_body(protocol: Protocol) {
    let site = protocol.serve(ServerOptions::default(), |request| async move {
        match request.uri().path() {
            "/fire" => Err("the database is on fire".to_owned()),
            "/early" => {
                let mut response = text("");
                *response.status_mut() = StatusCode::EARLY_HINTS;
                Ok(response)
            }
            _ => Ok(text("fine")),
        }
    });
    for path in ["/fire", "/early"] {
        let mut peer = site.peer();
        let got = peer.get(path, &[]);
        assert_eq!(got.status, 500);
        assert!(!got.text().contains("fire") && !got.text().is_empty(), "{}", got.text());
        if !protocol.is_http2() {
            assert_eq!(got.find("connection"), Some("close"));
            peer.expect_end();
            peer = site.peer();
        }
        let head = peer.fetch("HEAD", path, &[]);
        assert_eq!((head.status, &head.body[..]), (500, &b""[..]));
        assert_eq!(head.find("content-length"), got.find("content-length"));
        match protocol.is_http2() {
            true => assert_eq!(peer.get("/", &[]).text(), "fine"),
            false => peer.expect_end(),
        }
    }
}

/// Answers with the body and what it was said to be long; on `/unread` without looking at the body.
async fn echo(request: Request<RequestBody>) -> Answer {
    if request.uri().path() == "/unread" {
        return Ok(text("not interested"));
    }
    let hint = request.body().size_hint().exact();
    let body = request.into_body().collect().await.map_err(|error| error.to_string())?.to_bytes();
    assert!(hint.is_none_or(|hint| hint == body.len() as u64), "{hint:?} announced");
    Ok(text(body))
}

fn request_bodies_are_read_as_the_service_asks_for_them(protocol: Protocol) {
    let site = protocol.serve(ServerOptions::default(), echo);
    let mut peer = site.peer();
    for len in [0, 1, 49_000, 100_000, 1_000_000, 3_000_000] {
        let body = Bytes::from(noise(13, len));
        for announced in [false, true] {
            assert_same(&peer.post("/", &body, announced).body, &body, "the body");
        }
    }
    assert_eq!(site.server.counters.connections.get(), 1);
    // A client that is in the middle of a large body gets the answer. Over HTTP/1 it is the last
    // one.
    let large = Bytes::from(vec![0; 3_000_000]);
    for n in 0..20 {
        assert_eq!(peer.post("/unread", &large, n % 2 == 0).text(), "not interested");
        if !protocol.is_http2() {
            peer.expect_end();
            peer = site.peer();
        }
    }
    assert_eq!(peer.get("/unread", &[]).text(), "not interested");
    if protocol.is_http2() {
        assert_eq!(site.server.counters.connections.get(), 1);
    }
}

fn a_request_body_that_stalls_is_an_error_to_the_service(protocol: Protocol) {
    let options = ServerOptions { stall_timeout: Duration::from_millis(200), ..ServerOptions::default() };
    let site = protocol.serve(options, |request| async move {
        let error = request.into_body().collect().await.map(|_| ()).expect_err("a whole body");
        Ok(text(error.to_string()))
    });
    let reply = site.peer().post_part("/", b"hello");
    assert!(reply.text().starts_with("the client sent nothing for"), "{}", reply.text());
    if !protocol.is_http2() {
        assert_eq!(reply.find("connection"), Some("close"));
    }
}

fn a_client_that_vanishes_within_its_body_is_an_error_to_the_service(protocol: Protocol) {
    /// Says `false` when it is dropped.
    struct Ended(Sender<bool>);
    impl Drop for Ended {
        fn drop(&mut self) {
            let _ = self.0.send(false);
        }
    }
    let ((ended, results), (asked, begun)) = (channel(), channel());
    let site = protocol.serve(ServerOptions::default(), move |request| {
        let (ended, asked) = (Ended(ended.clone()), asked.clone());
        async move {
            let _ = asked.send(());
            // Over HTTP/2 the service may be dropped meanwhile.
            let _ = ended.0.send(request.into_body().collect().await.is_ok());
            Ok(text(""))
        }
    });
    site.peer().post_and_vanish("/", b"hello", &begun);
    let whole = results.recv_timeout(PATIENCE).expect("a result");
    assert!(!whole, "half a body passed for a whole one");
}

/// Tells when it is dropped.
struct Guard(#[allow(dead_code)] Sender<()>);

/// Never yields.
struct Silent(#[allow(dead_code)] Guard);

impl Body for Silent {
    type Data = Bytes;
    type Error = String;
    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, String>>> {
        Poll::Pending
    }
}

impl Feed for Silent {
    fn poll_next(&mut self, _: &mut Context<'_>) -> Poll<Option<Result<Bytes, SpanError>>> {
        Poll::Pending
    }
}

/// A content whose bytes never come, behind its first `0`.
struct Never(u64, Mutex<Option<Guard>>);

impl Spans for Never {
    fn len(&self) -> u64 {
        1000
    }

    fn span_at(&self, offset: u64) -> Result<Span, SpanError> {
        if offset < self.0 {
            return Ok(Span::Memory(Bytes::from(vec![0; (self.0 - offset) as usize])));
        }
        let feed = Box::new(Silent(self.1.lock().take().expect("asked once")));
        Ok(Span::Feed(FeedSpan { feed, len: 1000 - offset }))
    }
}

/// What a client does not want any more is dropped, wherever it waits: by the end of the
/// connection, and over HTTP/2 by a reset of the stream, which leaves the connection as it is.
fn what_the_client_gives_up_is_dropped(protocol: Protocol) {
    for path in ["/service", "/body", "/feed", "/midway"] {
        for resets_stream in [false, true] {
            // HTTP/1 has no streams to reset, and while the service works or its feed is silent
            // before the first byte, a connection that breaks may go unnoticed.
            if !protocol.is_http2() && (resets_stream || matches!(path, "/service" | "/feed")) {
                continue;
            }
            let (guard, dropped) = channel();
            let (asked, heard) = channel();
            let (observer, events) = watcher();
            let slot = Mutex::new(Some((Guard(guard), observer)));
            let site = protocol.serve(ServerOptions::default(), move |request| {
                if request.uri().path() == "/other" {
                    return Box::pin(async { Ok(text("fine")) })
                        as Pin<Box<dyn Future<Output = Answer> + Send>>;
                }
                let (guard, observer) = slot.lock().take().expect("one request");
                let asked = asked.clone();
                Box::pin(async move {
                    let _ = asked.send(());
                    let path = request.uri().path().to_owned();
                    match &*path {
                        "/service" => {
                            std::future::pending::<()>().await;
                            drop(guard);
                            Ok(text(""))
                        }
                        "/body" => Ok(text("").map(|_| Silent(guard).boxed_unsync())),
                        path => {
                            let first = if path == "/feed" { 0 } else { 10 };
                            let never = Never(first, Mutex::new(Some(guard)));
                            content(&request, Content::new(Arc::new(never)).observer(observer))
                        }
                    }
                })
            });
            let mut reader = site.reader();
            reader.request(path, &[]);
            heard.recv_timeout(PATIENCE).expect("a request");
            if path == "/midway" {
                reader.head().read(10);
            }
            if resets_stream {
                reader.reset_stream();
                assert_eq!(dropped.recv_timeout(PATIENCE), Err(RecvTimeoutError::Disconnected), "{path}");
                assert_eq!(reader.begin("/other").text(), "fine");
            } else {
                reader.reset();
                assert_eq!(dropped.recv_timeout(PATIENCE), Err(RecvTimeoutError::Disconnected), "{path}");
            }
            if path == "/feed" || path == "/midway" {
                let (event, _) = events.end(1000);
                let sent = if path == "/feed" { 0 } else { 10 };
                assert!(
                    matches!(&event, Event::Aborted(n, AbortReason::Disconnected(_)) if *n == sent),
                    "{path}, {resets_stream}: {event:?}"
                );
            }
        }
    }
}
