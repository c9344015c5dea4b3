//! Services and bodies that fail: the client is told, or cut off, and never left with a whole wrong answer.

use std::pin::Pin;
use std::sync::Mutex;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::{HeaderValue, Response};
use http_body::{Body, Frame};
use http_body_util::BodyExt as _;

use crate::support::{AnyBody, Client, PATIENCE, Running, frames, locked, serve, text};

fn announcing(length: &'static str, body: AnyBody) -> Response<AnyBody> {
    let mut response = text("").map(|_| body);
    response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from_static(length));
    response
}

/// GETs `path` and wants the connection broken with an RST before there is a whole response.
#[track_caller]
fn assert_cut(server: &Running, path: &str) {
    let mut client = Client::connect(server.addr);
    client.get(path, "");
    let error = client.try_reply(false).expect_err("a whole response");
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{path}: {error}");
}

#[test]
fn a_service_that_fails_is_a_500_and_the_connection_closes() {
    let server = serve(|_| async { Err("the database is on fire".to_owned()) });
    let mut client = Client::connect(server.addr);
    let reply = client.get("/", "").get("/second", "").reply();
    assert_eq!((reply.status, reply.header("connection")), (500, Some("close")));
    assert!(!reply.text().contains("fire"), "the client is told too much");
    client.expect_closed();
}

#[test]
fn a_service_that_fails_on_head_sends_no_body() {
    let server = serve(|_| async { Err("the database is on fire".to_owned()) });
    let mut client = Client::connect(server.addr);
    client.send("HEAD / HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(client.reply_to_head().status, 500);
    client.expect_closed();
}

#[test]
fn a_service_that_panics_costs_its_own_connection_only() {
    let server = serve(|request| async move {
        assert_ne!(request.uri().path(), "/panic", "as the test wants it");
        Ok(text("fine"))
    });
    let mut other = Client::connect(server.addr);
    assert_eq!(other.get("/", "").reply().text(), "fine");
    let mut client = Client::connect(server.addr);
    assert!(client.get("/panic", "").try_reply(false).is_err());
    assert_eq!(other.get("/", "").reply().text(), "fine");
    assert_eq!(Client::connect(server.addr).get("/", "").reply().text(), "fine");
}

#[test]
fn a_body_that_fails_is_cut_without_its_final_chunk() {
    let server = serve(|_| async { Ok(text("").map(|_| frames([Ok("one"), Err("broken")]))) });
    let mut client = Client::connect(server.addr);
    client.get("/", "");
    let received = client.expect_cut(usize::MAX);
    assert!(!String::from_utf8_lossy(&received).contains("0\r\n\r\n"), "{}", received.escape_ascii());
}

#[test]
fn a_close_delimited_body_that_fails_ends_with_an_rst() {
    let server = serve(|_| async { Ok(text("").map(|_| frames([Ok("one"), Err("broken")]))) });
    let mut client = Client::connect(server.addr);
    client.send("GET / HTTP/1.0\r\n\r\n");
    client.expect_cut(usize::MAX);
}

#[test]
fn a_body_shorter_than_announced_is_cut() {
    let server = serve(|request| async move {
        Ok(announcing(
            "10",
            if request.uri().path() == "/empty" { frames([]) } else { frames([Ok("hello")]) },
        ))
    });
    assert_cut(&server, "/");
    assert_cut(&server, "/empty");
}

#[test]
fn a_body_longer_than_announced_is_cut() {
    let server = serve(|request| async move {
        Ok(match request.uri().path() {
            "/one-frame" => announcing("5", frames([Ok("hello world")])),
            "/second-frame" => announcing("5", frames([Ok("hello"), Ok(" world")])),
            "/behind-an-empty-one" => announcing("5", frames([Ok("hello"), Ok(""), Ok(" world")])),
            "/error" => announcing("5", frames([Ok("hello"), Err("and then it broke")])),
            "/nothing" => announcing("0", frames([Ok("hello")])),
            _ => announcing("5", frames([Ok("hello"), Ok("")])),
        })
    });
    for path in ["/one-frame", "/second-frame", "/behind-an-empty-one", "/error", "/nothing"] {
        assert_cut(&server, path);
    }
    let mut client = Client::connect(server.addr);
    assert_eq!(client.get("/right", "").reply().text(), "hello");
    assert_eq!(client.get("/right", "").reply().text(), "hello");
}

#[test]
fn a_large_body_longer_than_announced_is_cut() {
    let body = Bytes::from(vec![7; 300_001]);
    let server = serve(move |_| {
        let response = announcing("300000", text(body.clone()).into_body());
        async move { Ok(response) }
    });
    assert_cut(&server, "/");
}

/// Yields nothing, for ever. Its channel closes when it is dropped.
struct Silent {
    _alive: Sender<()>,
}

impl Body for Silent {
    type Data = Bytes;
    type Error = String;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, String>>> {
        Poll::Pending
    }
}

#[test]
fn a_body_that_yields_nothing_is_dropped_when_the_client_resets() {
    let (alive, dropped) = channel();
    let alive = Mutex::new(Some(alive));
    let server = serve(move |_| {
        let body = Silent { _alive: locked(&alive).take().expect("one request") };
        async move { Ok(text("").map(|_| body.boxed_unsync())) }
    });
    let mut client = Client::connect(server.addr);
    client.get("/", "").take_until(b"\r\n\r\n").expect("a head");
    client.reset();
    assert_eq!(dropped.recv_timeout(PATIENCE), Err(RecvTimeoutError::Disconnected));
}
