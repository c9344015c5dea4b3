//! Ending in good order, ending at once, and how many may come in.

use std::net::TcpStream;
use std::sync::Mutex;
use std::time::Duration;

use outflow_content::AbortReason;
use outflow_wire::ServerOptions;

use crate::support::{
    Client, Event, Events, PATIENCE, Running, TestFile, assert_same, frames, locked, pattern, serve,
    serve_content, serve_with, temp, text, watcher,
};

const LEN: usize = 32 * 1024 * 1024;

/// A server with a large download on its way: the client has its first `100_000` bytes.
struct UnderWay {
    server: Running,
    client: Client,
    events: Events,
    bytes: Vec<u8>,
    _folder: tempfile::TempDir,
}

fn under_way() -> UnderWay {
    let bytes = pattern(LEN, 101);
    let (folder, path) = temp("file", &bytes);
    let file = TestFile::open(&path);
    let (observer, events) = watcher();
    let observer = Mutex::new(Some(observer));
    let server = serve_content(move |_| match locked(&observer).take() {
        Some(observer) => file.content().observer(observer),
        None => outflow_content::Content::bytes("small"),
    });
    let mut client = Client::connect_narrow(server.addr, 16 * 1024);
    client.get("/", "").take_until(b"\r\n\r\n").expect("a head");
    let first = client.take(100_000).expect("the first bytes");
    assert_same(&first, &bytes[..100_000], "the first bytes");
    UnderWay { server, client, events, bytes, _folder: folder }
}

#[test]
fn draining_lets_a_download_finish_and_closes_all_else() {
    let UnderWay { server, mut client, events, bytes, .. } = under_way();
    let mut idle = Client::connect(server.addr);
    assert_eq!(idle.get("/", "").reply().text(), "small");
    server.handle.drain(PATIENCE);
    idle.expect_closed();
    // The listener was closed before the idle connections were.
    let refused = TcpStream::connect(server.addr).expect_err("a new connection");
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);

    let rest = client.take(LEN - 100_000).expect("the rest");
    assert_same(&rest, &bytes[100_000..], "the rest");
    client.expect_closed();
    assert_eq!(events.ending(LEN as u64), Event::Completed(LEN as u64));
    server.join();
}

#[test]
fn draining_closes_idle_connections_of_every_thread() {
    let server = serve_with(ServerOptions::default(), 4, |_| async { Ok(text("hello")) });
    let mut clients: Vec<Client> = (0..12).map(|_| Client::connect(server.addr)).collect();
    for client in &mut clients {
        assert_eq!(client.get("/", "").reply().text(), "hello");
    }
    server.handle.drain(PATIENCE);
    for client in &mut clients {
        client.expect_closed();
    }
    server.join();
}

#[test]
fn a_request_that_is_being_answered_while_the_server_drains_is_told_to_close() {
    let (asked, heard) = std::sync::mpsc::channel();
    let (go, wait) = tokio::sync::oneshot::channel::<()>();
    let wait = Mutex::new(Some(wait));
    let server = serve(move |_| {
        let wait = locked(&wait).take();
        let _ = asked.send(());
        async move {
            let Some(wait) = wait else { return Ok(text("at once")) };
            wait.await.map_err(|error| error.to_string())?;
            Ok(text("late"))
        }
    });
    let mut client = Client::connect(server.addr);
    client.get("/", "").get("/second", "");
    heard.recv_timeout(PATIENCE).expect("a request");
    let mut idle = Client::connect(server.addr);
    assert_eq!(idle.get("/", "").reply().text(), "at once");
    server.handle.drain(PATIENCE);
    idle.expect_closed();
    go.send(()).expect("the service waits");
    let reply = client.reply();
    assert_eq!((reply.text(), reply.header("connection")), ("late", Some("close")));
    client.expect_closed();
    server.join();
}

#[test]
fn a_server_without_connections_drains_at_once() {
    let server = serve(|_| async { Ok(text("hello")) });
    assert_eq!(Client::connect(server.addr).get("/", "").reply().text(), "hello");
    server.handle.drain(PATIENCE * 100);
    server.join();
}

#[test]
fn draining_ends_when_its_time_is_over() {
    let UnderWay { server, mut client, events, .. } = under_way();
    server.handle.drain(Duration::from_millis(100));
    server.join();
    assert!(client.take(LEN - 100_000).is_err(), "the whole body came");
    let end = events.ending(LEN as u64);
    assert!(matches!(end, Event::Aborted(_, AbortReason::Shutdown)), "{end:?}");
}

#[test]
fn stopping_cuts_downloads_at_once() {
    let UnderWay { server, mut client, events, .. } = under_way();
    server.handle.stop();
    server.join();
    assert!(client.take(LEN - 100_000).is_err(), "the whole body came");
    let end = events.ending(LEN as u64);
    assert!(matches!(end, Event::Aborted(_, AbortReason::Shutdown)), "{end:?}");
}

#[test]
fn stopping_ends_a_drain_that_would_take_longer() {
    let UnderWay { server, events, client, .. } = under_way();
    let mut idle = Client::connect(server.addr);
    assert_eq!(idle.get("/", "").reply().text(), "small");
    server.handle.drain(PATIENCE * 100);
    idle.expect_closed();
    server.handle.stop();
    server.join();
    assert!(matches!(events.ending(LEN as u64), Event::Aborted(..)));
    drop(client);
}

#[test]
fn stopping_never_makes_half_a_body_look_whole() {
    // To HTTP/1.0 the end of the connection is the end of a body of unknown length.
    let server = serve(|_| async { Ok(text("").map(|_| pending_behind("half of it"))) });
    let mut client = Client::connect(server.addr);
    client.send("GET / HTTP/1.0\r\n\r\n").take_until(b"half of it").expect("the first half");
    server.handle.stop();
    server.join();
    client.expect_cut(usize::MAX);
}

/// A body of one frame, behind which nothing ever comes.
fn pending_behind(frame: &'static str) -> crate::support::AnyBody {
    use http_body_util::BodyExt as _;
    struct Pending(crate::support::AnyBody);
    impl http_body::Body for Pending {
        type Data = bytes::Bytes;
        type Error = String;
        fn poll_frame(
            mut self: std::pin::Pin<&mut Self>,
            cx: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<Result<http_body::Frame<bytes::Bytes>, String>>> {
            match std::pin::Pin::new(&mut self.0).poll_frame(cx) {
                std::task::Poll::Ready(None) => std::task::Poll::Pending,
                other => other,
            }
        }
    }
    Pending(frames([Ok(frame)])).boxed_unsync()
}

#[test]
fn one_more_than_may_come_in_waits_until_another_leaves() {
    let options = ServerOptions { max_connections: 2, ..ServerOptions::default() };
    let server = serve_with(options, 2, |request| {
        let path = request.uri().path().to_owned();
        async move { Ok(text(path)) }
    });
    let mut first = Client::connect(server.addr);
    let mut second = Client::connect(server.addr);
    assert_eq!(first.get("/1", "").reply().text(), "/1");
    assert_eq!(second.get("/2", "").reply().text(), "/2");
    let mut third = Client::connect(server.addr);
    third.get("/3", "");
    for _ in 0..20 {
        assert_eq!(first.get("/1", "").reply().text(), "/1");
        assert_eq!(second.get("/2", "").reply().text(), "/2");
    }
    assert_eq!(server.counters.connections(), 2);
    drop(first);
    assert_eq!(third.reply().text(), "/3");
    assert_eq!(second.get("/2", "").reply().text(), "/2");
    assert_eq!(server.counters.connections(), 3);
}
