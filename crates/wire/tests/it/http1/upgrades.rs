//! Connections that stop being HTTP: nothing that either side says is lost on the way.

use std::future::Future;

use http::header::{CONNECTION, UPGRADE};
use http::{HeaderValue, Request, StatusCode};
use outflow_wire::{RequestBody, upgrade};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::support::{Answer, Running, serve, text};

/// Answers `switch` by echoing whatever comes on the raw connection, in upper case.
fn shouting(switch: StatusCode) -> Running {
    serve(move |request| shout(request, switch))
}

fn shout(mut request: Request<RequestBody>, switch: StatusCode) -> impl Future<Output = Answer> + Send {
    let promise = upgrade::on(&mut request);
    async move {
        let Some(promise) = promise else { return Ok(text("plain")) };
        tokio::spawn(async move {
            let mut raw = promise.await.expect("the connection");
            let mut piece = [0; 1000];
            loop {
                let n = raw.read(&mut piece).await.expect("read");
                if n == 0 {
                    break;
                }
                piece[..n].make_ascii_uppercase();
                raw.write_all(&piece[..n]).await.expect("written");
            }
            raw.write_all(b" bye").await.expect("written");
            raw.shutdown().await.expect("shut down");
        });
        let mut response = text("");
        *response.status_mut() = switch;
        if switch == StatusCode::SWITCHING_PROTOCOLS {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("upgrade"));
            response.headers_mut().insert(UPGRADE, HeaderValue::from_static("shout"));
        }
        Ok(response)
    }
}

const UPGRADING: &str =
    "GET / HTTP/1.1\r\nHost: x\r\nConnection: keep-alive, Upgrade\r\nUpgrade: shout\r\n\r\n";

#[test]
fn an_upgraded_connection_carries_bytes_both_ways_from_right_behind_the_request() {
    let server = shouting(StatusCode::SWITCHING_PROTOCOLS);
    for early in ["", "get / http/1.1\r\n\r\n"] {
        let mut client = server.client();
        let reply = client.send(format!("{UPGRADING}{early}")).reply();
        assert_eq!((reply.status, reply.find("upgrade")), (101, Some("shout")));
        assert_eq!(reply.find("connection"), Some("upgrade"));
        assert_eq!((reply.find("content-length"), reply.find("transfer-encoding")), (None, None));
        client.send("and more").finish();
        let said = client.read_to_end().expect("an orderly end");
        assert_eq!(String::from_utf8_lossy(&said), early.to_uppercase() + "AND MORE bye");
    }
}

#[test]
fn bytes_sent_early_are_not_taken_for_a_request() {
    let server = shouting(StatusCode::SWITCHING_PROTOCOLS);
    let mut client = server.client();
    client.send(format!("{UPGRADING}GET /second HTTP/1.1\r\nHost: x\r\n\r\n")).finish();
    assert_eq!(client.reply().status, 101);
    let said = client.read_to_end().expect("an orderly end");
    assert_eq!(String::from_utf8_lossy(&said), "GET /SECOND HTTP/1.1\r\nHOST: X\r\n\r\n bye");
    assert_eq!(server.counters.requests.get(), 1);
}

#[test]
fn connect_becomes_a_tunnel() {
    let server = shouting(StatusCode::OK);
    let mut client = server.client();
    client.send("CONNECT example.org:443 HTTP/1.1\r\nHost: example.org:443\r\n\r\nearly ");
    let head = client.take_until(b"\r\n\r\n").expect("a head");
    let head = String::from_utf8(head).expect("text");
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert!(!head.contains("content-length") && !head.contains("transfer-encoding"), "{head}");
    client.send("late").finish();
    let said = client.read_to_end().expect("an orderly end");
    assert_eq!(String::from_utf8_lossy(&said), "EARLY LATE bye");
}

#[test]
fn an_upgrade_that_the_service_does_not_want_stays_http() {
    let server = serve(|_| async { Ok(text("no")) });
    let mut client = server.client();
    for _ in 0..2 {
        let reply = client.send(UPGRADING).reply();
        assert_eq!((reply.status, reply.text()), (200, "no"));
    }
}

#[test]
fn only_who_asks_for_an_upgrade_is_promised_one() {
    let server = shouting(StatusCode::SWITCHING_PROTOCOLS);
    let mut client = server.client();
    for lines in ["", "Upgrade: shout\r\n", "Connection: upgrade\r\n"] {
        let reply = client.request("GET", "/", lines).reply();
        assert_eq!((reply.status, reply.text()), (200, "plain"), "{lines:?}");
    }
}

/// Hands every connection over to whoever receives.
fn handing_over(
    options: outflow_wire::ServerOptions,
) -> (Running, std::sync::mpsc::Receiver<upgrade::Upgraded>) {
    let (sender, receiver) = std::sync::mpsc::channel();
    let server = crate::support::serve_with(options, 1, move |request| {
        let sender = sender.clone();
        async move {
            let mut response = text(if request.uri().path() == "/plain" { "plain" } else { "ignored" });
            if request.uri().path() != "/plain" {
                let handoff = upgrade::Handoff::new(move |connection| drop(sender.send(connection)));
                response.extensions_mut().insert(handoff);
            }
            Ok(response)
        }
    });
    (server, receiver)
}

#[test]
fn a_connection_that_is_handed_over_carries_what_the_service_writes_until_it_closes() {
    let (server, receiver) = handing_over(outflow_wire::ServerOptions::default());
    let mut client = server.client();
    assert_eq!(client.request("GET", "/plain", "").reply().text(), "plain");
    client.request("GET", "/", "").send("early");
    let head = client.take_until(b"\r\n\r\n").expect("a head");
    let head = String::from_utf8(head).expect("text");
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n") && head.contains("connection: close\r\n"), "{head}");
    assert!(!head.contains("content-length") && !head.contains("transfer-encoding"), "{head}");
    let (stream, early, _counted) =
        receiver.recv().expect("a connection").into_parts().ok().expect("in the clear");
    assert!(b"early".starts_with(&early), "{early:?}");
    for event in ["data: 1\n\n", "data: 2\n\n"] {
        assert_eq!(stream.try_write(event.as_bytes()).expect("written"), event.len());
        assert_eq!(client.take(event.len()).expect("an event"), event.as_bytes());
    }
    drop(stream);
    assert_eq!(client.read_to_end().unwrap_or_default(), b"");
}

#[test]
fn a_connection_that_is_handed_over_still_counts() {
    let options =
        outflow_wire::ServerOptions { max_connections: 1, ..outflow_wire::ServerOptions::default() };
    let (server, receiver) = handing_over(options);
    let mut first = server.client();
    first.request("GET", "/", "").take_until(b"\r\n\r\n").expect("a head");
    let connection = receiver.recv().expect("a connection");
    let mut second = server.client();
    second.request("GET", "/plain", "");
    assert_eq!(server.counters.connections.get(), 1);
    drop(connection);
    assert_eq!(second.reply().text(), "plain");
    assert_eq!(server.counters.connections.get(), 2);
}

#[test]
fn what_is_answered_to_head_or_with_an_error_is_not_handed_over() {
    let (server, receiver) = handing_over(outflow_wire::ServerOptions::default());
    let mut client = server.client();
    client.send("HEAD / HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(client.reply_to_head().status, 200);
    assert_eq!(client.request("GET", "/plain", "").reply().text(), "plain");
    assert!(receiver.try_recv().is_err());
}
