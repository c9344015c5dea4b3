//! The same responses under plain hyper, which knows nothing of spans.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use outflow_content::Content;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::double::{Fed, Notes, block_on};

/// Sends `request` to a hyper server that answers with `content`; what the client reads until the
/// end.
fn exchange(content: Content, request: &str) -> String {
    let content = Arc::new(Mutex::new(Some(content)));
    let service = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
        let content = content.lock().unwrap().take().expect("one request");
        async move { Ok::<_, Infallible>(content.respond(request.method(), request.headers())) }
    });
    block_on(async {
        let (mut client, server) = tokio::io::duplex(64 * 1024);
        let server = tokio::spawn(async move {
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(server), service)
                .await;
        });
        client.write_all(request.as_bytes()).await.unwrap();
        let mut read = Vec::new();
        client.read_to_end(&mut read).await.unwrap();
        server.await.unwrap();
        String::from_utf8(read).unwrap()
    })
}

const GET: &str = "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
const HEAD: &str = "HEAD / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";

#[test]
fn a_content_arrives_whole_and_completed() {
    let notes = Notes::default();
    let answer = exchange(Content::bytes("hello").observer(notes.clone()), GET);
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.contains("content-length: 5\r\n") && answer.ends_with("\r\n\r\nhello"), "{answer}");
    assert_eq!(notes.lines(), ["started 5", "sent 5 5", "completed Sent 5", "cleanup"]);
}

#[test]
fn an_empty_content_is_completed_though_its_body_is_never_polled() {
    let notes = Notes::default();
    let answer = exchange(Content::bytes("").observer(notes.clone()), GET);
    assert!(answer.contains("content-length: 0\r\n") && answer.ends_with("\r\n\r\n"), "{answer}");
    assert_eq!(notes.lines(), ["started 0", "completed Sent 0", "cleanup"]);
}

#[test]
fn head_has_the_length_and_no_delivery() {
    let notes = Notes::default();
    let answer = exchange(Content::bytes("hello").observer(notes.clone()), HEAD);
    assert!(answer.contains("content-length: 5\r\n") && answer.ends_with("\r\n\r\n"), "{answer}");
    assert!(notes.lines().is_empty());
}

#[test]
fn an_error_in_the_middle_cuts_the_connection_short_of_the_length() {
    let notes = Notes::default();
    let content = Content::new(Arc::new(Fed { len: 10, chunks: vec![Some("01234"), None] }));
    let answer = exchange(content.observer(notes.clone()), GET);
    assert!(!answer.contains("0123456789") && answer.len() < 400, "{answer}");
    assert_eq!(notes.lines().last().unwrap(), "cleanup");
    assert!(notes.lines()[2].starts_with("failed 5"), "{:?}", notes.lines());
}
