//! Bodies of requests: read as the service asks for them, and never mistaken for the next request.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame};
use http_body_util::BodyExt as _;
use outflow_wire::RequestBody;
use parking_lot::Mutex;

use crate::support::{Running, assert_same, noise, serve, text};

/// Answers with the body; on `/unread` with something else, and without looking at the body.
fn echo_server() -> Running {
    serve(|request| async move {
        if request.uri().path() == "/unread" {
            return Ok(text("not interested"));
        }
        let body = request.into_body().collect().await.map_err(|error| error.to_string())?;
        Ok(text(body.to_bytes()))
    })
}

fn post(path: &str, lines: &str) -> String {
    format!("POST {path} HTTP/1.1\r\nHost: x\r\n{lines}\r\n")
}

#[test]
fn bodies_by_length_and_in_chunks_are_read_and_the_connection_goes_on() {
    let server = echo_server();
    let mut client = server.client();
    for len in [0, 1, 49_000, 1_000_000] {
        let body = noise(3, len);
        client.send(post("/", &format!("Content-Length: {len}\r\n"))).send(&body);
        assert_same(&client.reply().body, &body, "by length");

        client.send(post("/", "Transfer-Encoding: chunked\r\n"));
        for chunk in body.chunks(77_777) {
            client.send(format!("{:X};a=b\r\n", chunk.len())).send(chunk).send("\r\n");
        }
        client.send("0\r\nTrailer: x\r\n\r\n");
        assert_same(&client.reply().body, &body, "in chunks");
    }
    assert_eq!(server.counters.connections.get(), 1);
}

#[test]
fn what_follows_a_body_is_the_next_request() {
    let server = echo_server();
    let mut client = server.client();
    let requests = [
        post("/", "Content-Length: 5\r\n") + "hello",
        post("/", "Transfer-Encoding: chunked\r\n") + "5\r\nworld\r\n0\r\n\r\n",
        post("/", "Content-Length: 0\r\n"),
        post("/", "Content-Length: 4\r\n") + "last",
    ];
    client.send(requests.concat());
    for body in ["hello", "world", "", "last"] {
        assert_eq!(client.reply().text(), body);
    }
}

#[test]
fn a_client_that_expects_to_be_told_is_told_when_the_body_is_wanted() {
    let server = echo_server();
    let mut client = server.client();
    for _ in 0..2 {
        client.send(post("/", "Content-Length: 5\r\nExpect: 100-continue\r\n"));
        let interim = client.reply();
        assert_eq!((interim.status, interim.headers.len()), (100, 0));
        assert_eq!(client.send("hello").reply().text(), "hello");
    }
}

#[test]
fn a_client_that_did_not_wait_is_not_told() {
    let server = echo_server();
    let mut client = server.client();
    client.send(post("/", "Content-Length: 5\r\nExpect: 100-continue\r\n") + "hello");
    let reply = client.reply();
    assert_eq!((reply.status, reply.text()), (200, "hello"));
}

#[test]
fn a_client_whose_body_is_not_wanted_is_not_told_to_send_it() {
    let server = echo_server();
    let mut client = server.client();
    client.send(post("/unread", "Content-Length: 5\r\nExpect: 100-continue\r\n"));
    let reply = client.reply();
    assert_eq!((reply.status, reply.text()), (200, "not interested"));
    assert_eq!(reply.find("connection"), Some("close"));
    client.expect_closed();
}

#[test]
fn http_1_0_is_never_told_to_go_on() {
    let server = echo_server();
    let mut client = server.client();
    client.send("POST / HTTP/1.0\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n");
    client.send("hello");
    assert_eq!(client.reply().status, 200);
}

/// A body that says "first:" and then what the request's body says.
struct Prefixed {
    prefix: Option<Bytes>,
    body: RequestBody,
}

impl Body for Prefixed {
    type Data = Bytes;
    type Error = String;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, String>>> {
        if let Some(prefix) = self.prefix.take() {
            return Poll::Ready(Some(Ok(Frame::data(prefix))));
        }
        Pin::new(&mut self.body).poll_frame(cx).map_err(|error| error.to_string())
    }
}

#[test]
fn nobody_is_told_to_go_on_in_the_middle_of_the_final_response() {
    // Long enough to be on its way before the request's body is asked for.
    let prefix = Bytes::from(noise(5, 100_000));
    let first = prefix.clone();
    let server = serve(move |request| {
        let prefix = Some(prefix.clone());
        async move { Ok(text("").map(|_| Prefixed { prefix, body: request.into_body() }.boxed_unsync())) }
    });
    let mut client = server.client();
    client.send(post("/", "Content-Length: 5\r\nExpect: 100-continue\r\n"));
    let head = client.take_until(b"\r\n\r\n").expect("a head");
    assert!(head.starts_with(b"HTTP/1.1 200"), "{}", head.escape_ascii());
    client.send("hello");
    let received = client.read_to_end().expect("an orderly end");
    let want = [b"186a0\r\n", &*first, b"\r\n5\r\nhello\r\n0\r\n\r\n"].concat();
    assert_same(&received, &want, "the chunks");
}

#[test]
fn a_body_that_nobody_read_costs_the_connection_and_not_the_response() {
    let server = echo_server();
    let body = post("/smuggled", "");
    let mut client = server.client();
    client.send(post("/unread", &format!("Content-Length: {}\r\n", body.len())) + &body);
    let reply = client.reply();
    assert_eq!((reply.text(), reply.find("connection")), ("not interested", Some("close")));
    client.expect_closed();
    assert_eq!(server.counters.requests.get(), 1);
}

#[test]
fn a_client_in_the_middle_of_a_large_body_gets_the_whole_response() {
    let server = echo_server();
    let mut client = server.client();
    client.send(post("/unread", "Content-Length: 1000000000\r\n"));
    // It writes all this before it looks for an answer. An RST would destroy the answer meanwhile.
    client.send(vec![0; 3_000_000]);
    let reply = client.reply();
    assert_eq!((reply.status, reply.text()), (200, "not interested"));
    client.expect_closed();
}

#[test]
fn a_client_that_vanishes_within_its_body_is_an_error_to_the_service() {
    let seen = Arc::new(Mutex::new(None));
    let (told, heard) = std::sync::mpsc::channel();
    let result = Arc::clone(&seen);
    let server = serve(move |request| {
        let (result, told) = (Arc::clone(&result), told.clone());
        async move {
            let read = request.into_body().collect().await;
            *result.lock() = Some(read.map(|body| body.to_bytes()).map_err(|error| error.to_string()));
            let _ = told.send(());
            Ok(text(""))
        }
    });
    for lines in ["Content-Length: 10\r\n", "Transfer-Encoding: chunked\r\n"] {
        let mut client = server.client();
        client.send(post("/", lines) + "5\r\nhe").finish();
        heard.recv_timeout(crate::support::PATIENCE).expect("a result");
        let error = seen.lock().take().expect("a result").expect_err("half a body passed for a whole one");
        assert!(error.contains("failed within the request's body"), "{error}");
    }
}
