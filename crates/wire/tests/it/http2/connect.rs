//! Streams of HTTP/2 that stop being HTTP: `CONNECT`, with a protocol or without.

use std::sync::mpsc::channel;

use bytes::Bytes;
use h2::ext::Protocol;
use h2::{Reason, SendStream};
use http::{Method, Request, StatusCode};
use outflow_wire::{RequestBody, ServerOptions, upgrade};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::support::h2::{H2, collect, request, run, whole};
use crate::support::{Answer, Running, assert_same, noise, serve_h2, text};

/// Agrees to `CONNECT` for all but `refused`, and says on the stream what it was asked for, then
/// all that comes in upper case, then that it is over.
async fn shout(mut request: Request<RequestBody>) -> Answer {
    let asked = format!(
        "{} {} {:?} {:?}\n",
        request.method(),
        request.uri(),
        request.headers().get("host").map(|host| host.to_str().expect("text")),
        request.extensions().get::<upgrade::ConnectProtocol>().map(|protocol| protocol.0.to_string()),
    );
    let Some(promise) = upgrade::on(&mut request) else { return Ok(text("plain")) };
    if asked.contains("refused") {
        let mut response = text("not there");
        *response.status_mut() = StatusCode::FORBIDDEN;
        return Ok(response);
    }
    tokio::spawn(async move {
        let mut raw = promise.await.expect("the stream");
        assert!(raw.socket().is_none(), "a socket that is not its own");
        raw.write_all(asked.as_bytes()).await.expect("written");
        let mut piece = vec![0; 10_000];
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
    Ok(text(""))
}

fn server() -> Running {
    serve_h2(ServerOptions::default(), shout)
}

/// A `CONNECT` to `authority`.
fn connect(authority: &str) -> Request<()> {
    Request::builder().method(Method::CONNECT).uri(authority).body(()).expect("a request")
}

/// One with a protocol, to a path.
fn extended(path: &str, protocol: &'static str) -> Request<()> {
    let mut request = request(Method::CONNECT, path, &[]);
    request.extensions_mut().insert(Protocol::from_static(protocol));
    request
}

/// Sends all of it as the window allows, then ends the direction.
async fn send_all(stream: &mut SendStream<Bytes>, mut bytes: Bytes) {
    while !bytes.is_empty() {
        stream.reserve_capacity(bytes.len().min(100_000));
        let room = std::future::poll_fn(|cx| stream.poll_capacity(cx)).await.expect("open").expect("room");
        stream.send_data(bytes.split_to(room.min(bytes.len())), false).expect("sent");
    }
    stream.send_data(Bytes::new(), true).expect("ended");
}

#[test]
fn a_stream_becomes_a_tunnel_and_each_direction_ends_by_itself() {
    let server = server();
    run(async {
        let mut client = H2::connect(server.addr, None).await;
        for (request, asked) in [
            (connect("far.test:443"), "CONNECT far.test:443 Some(\"far.test:443\") None\n"),
            (extended("/there?a", "connect-tcp"), "CONNECT /there?a Some(\"test\") Some(\"connect-tcp\")\n"),
        ] {
            let (response, mut sender) = client.send(request, false).await;
            let response = response.await.expect("a head");
            assert_eq!((response.status(), response.headers().get("content-length")), (StatusCode::OK, None));
            // More than any window, both ways at once.
            let large = noise(7, 3_000_000);
            let want = [asked.as_bytes(), &large.to_ascii_uppercase(), b" bye"].concat();
            let sending = tokio::spawn(async move { send_all(&mut sender, large.into()).await });
            assert_same(&collect(response.into_body()).await.expect("an end"), &want, "what came back");
            sending.await.expect("sent");
            // The connection serves requests as before.
            assert_eq!(client.get("/", &[]).await.text(), "plain");
        }
    });
}

#[test]
fn a_tunnel_that_the_service_refuses_stays_http() {
    let server = server();
    run(async {
        let mut client = H2::connect(server.addr, None).await;
        for request in [connect("refused.test:22"), extended("/refused", "websocket")] {
            let (response, _sender) = client.send(request, false).await;
            let got = whole(response).await.expect("a whole response");
            assert_eq!((got.status, got.text()), (403, "not there"));
        }
    });
}

#[test]
fn a_tunnel_that_breaks_on_one_side_is_reset_on_the_other() {
    let (sender, receiver) = channel();
    let server = serve_h2(ServerOptions::default(), move |mut request| {
        let (promise, sender) = (upgrade::on(&mut request), sender.clone());
        async move {
            let promise = promise.expect("a promise");
            tokio::spawn(async move { drop(sender.send(promise.await.expect("the stream"))) });
            Ok(text(""))
        }
    });
    run(async {
        let mut client = H2::connect(server.addr, None).await;
        let (response, _sending) = client.send(connect("far.test:1"), false).await;
        let mut body = response.await.expect("a head").into_body();
        let mut stream = receiver.recv().expect("a stream");
        stream.write_all(b"some").await.expect("written");
        assert_eq!(body.data().await.expect("data").expect("data"), "some");
        stream.reset();
        let error = body.data().await.expect("more than an end").expect_err("a reset");
        assert_eq!(error.reason(), Some(Reason::CONNECT_ERROR));

        let (response, mut sending) = client.send(connect("far.test:2"), false).await;
        let _body = response.await.expect("a head").into_body();
        let mut stream = receiver.recv().expect("a stream");
        sending.send_data(Bytes::from_static(b"half"), false).expect("sent");
        let mut half = [0; 4];
        stream.read_exact(&mut half).await.expect("read");
        sending.send_reset(Reason::CANCEL);
        stream.read(&mut half).await.expect_err("not an end");
    });
}
