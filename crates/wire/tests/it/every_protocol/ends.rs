//! Ending in good order, ending at once, and connections that rest too long.

use std::net::TcpStream;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body::{Body, Frame};
use http_body_util::BodyExt as _;
use outflow_content::{AbortReason, Content};
use outflow_wire::ServerOptions;
use parking_lot::Mutex;

use super::{Protocol, Reader, Site};
use crate::support::{Event, Events, PATIENCE, TestFile, assert_same, noise, temp, text, until, watcher};

over_every_protocol! {
    draining_lets_a_download_finish_and_closes_all_else,
    a_request_that_is_being_answered_while_the_server_drains_is_answered,
    a_server_without_connections_drains_at_once,
    draining_ends_when_its_time_is_over,
    stopping_cuts_downloads_at_once,
    stopping_ends_a_drain_that_would_take_longer,
    a_server_that_stops_never_makes_half_a_body_look_whole,
    an_idle_connection_is_closed_and_a_busy_one_is_not,
}

over_http_1! {
    a_client_that_ends_its_side_still_gets_the_answer,
}

const LEN: usize = 32 * 1024 * 1024;

const SHORT: Duration = Duration::from_millis(200);

/// A server with a large download on its way: the client has its first `100_000` bytes.
struct UnderWay {
    site: Site,
    reader: Reader,
    events: Events,
    bytes: Vec<u8>,
    _folder: tempfile::TempDir,
}

fn under_way(protocol: Protocol) -> UnderWay {
    let bytes = noise(101, LEN);
    let (folder, path) = temp("file", &bytes);
    let file = TestFile::open(&path);
    let (observer, events) = watcher();
    let observer = Mutex::new(Some(observer));
    let site = protocol.serve_content(ServerOptions::default(), move |_| match observer.lock().take() {
        Some(observer) => file.content().observer(observer),
        None => Content::bytes("small"),
    });
    let mut reader = site.narrow_reader(16 * 1024);
    let first = reader.begin("/").read(100_000);
    assert_same(&first, &bytes[..100_000], "the first bytes");
    UnderWay { site, reader, events, bytes, _folder: folder }
}

fn draining_lets_a_download_finish_and_closes_all_else(protocol: Protocol) {
    let UnderWay { site, mut reader, events, bytes, .. } = under_way(protocol);
    // Of three that are quiet, one has requested something, one has only made its handshakes, one
    // has sent nothing.
    let mut idle = site.reader();
    assert_eq!(idle.whole("/", 5), b"small");
    let mut quiet = site.reader();
    let mut silent = site.server.client();
    until("all have been accepted", || (site.server.counters.connections.get() == 4).then_some(()));
    site.server.handle.drain(PATIENCE * 100);
    idle.expect_end();
    quiet.expect_end();
    silent.expect_closed();
    // The listener was closed before the idle connections were.
    let refused = TcpStream::connect(site.server.addr).expect_err("a new connection");
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);

    let rest = reader.finish(LEN - 100_000);
    assert_same(&rest, &bytes[100_000..], "the rest");
    reader.expect_end();
    drop(reader);
    assert_eq!(events.ending(LEN as u64), Event::Completed(LEN as u64));
    site.server.join();
}

fn a_request_that_is_being_answered_while_the_server_drains_is_answered(protocol: Protocol) {
    let (asked, heard) = std::sync::mpsc::channel();
    let (go, wait) = tokio::sync::oneshot::channel::<()>();
    let wait = Mutex::new(Some(wait));
    let site = protocol.serve(ServerOptions::default(), move |_| {
        let wait = wait.lock().take();
        let _ = asked.send(());
        async move {
            let Some(wait) = wait else { return Ok(text("at once")) };
            wait.await.map_err(|error| error.to_string())?;
            Ok(text("late"))
        }
    });
    let mut reader = site.reader();
    reader.request("/", &[]);
    heard.recv_timeout(PATIENCE).expect("a request");
    let mut idle = site.reader();
    assert_eq!(idle.begin("/").text(), "at once");
    site.server.handle.drain(PATIENCE);
    idle.expect_end();
    go.send(()).expect("the service waits");
    assert_eq!(reader.head().text(), "late");
    reader.expect_end();
    drop(reader);
    site.server.join();
}

fn a_server_without_connections_drains_at_once(protocol: Protocol) {
    let site = protocol.serve(ServerOptions::default(), |_| async { Ok(text("hello")) });
    assert_eq!(site.peer().get("/", &[]).text(), "hello");
    site.server.handle.drain(PATIENCE * 100);
    site.server.join();
}

fn draining_ends_when_its_time_is_over(protocol: Protocol) {
    let UnderWay { site, mut reader, events, .. } = under_way(protocol);
    site.server.handle.drain(Duration::from_millis(100));
    site.server.join();
    reader.expect_lost(LEN - 100_000);
    let end = events.ending(LEN as u64);
    assert!(matches!(end, Event::Aborted(_, AbortReason::Shutdown)), "{end:?}");
}

fn stopping_cuts_downloads_at_once(protocol: Protocol) {
    let UnderWay { site, mut reader, events, .. } = under_way(protocol);
    site.server.handle.stop();
    site.server.join();
    reader.expect_lost(LEN - 100_000);
    let end = events.ending(LEN as u64);
    assert!(matches!(end, Event::Aborted(_, AbortReason::Shutdown)), "{end:?}");
}

fn stopping_ends_a_drain_that_would_take_longer(protocol: Protocol) {
    let UnderWay { site, events, reader, .. } = under_way(protocol);
    let mut idle = site.reader();
    assert_eq!(idle.whole("/", 5), b"small");
    site.server.handle.drain(PATIENCE * 100);
    idle.expect_end();
    site.server.handle.stop();
    site.server.join();
    assert!(matches!(events.ending(LEN as u64), Event::Aborted(..)));
    drop(reader);
}

/// A frame, and then nothing.
struct Half(Option<&'static str>);

impl Body for Half {
    type Data = Bytes;
    type Error = String;
    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, String>>> {
        match self.0.take() {
            Some(frame) => Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(frame.as_bytes()))))),
            None => Poll::Pending,
        }
    }
}

/// A body of unknown length. To HTTP/1.0 its end is that of the connection.
fn a_server_that_stops_never_makes_half_a_body_look_whole(protocol: Protocol) {
    const HALF: &str = "half of it";
    let service = |_| async { Ok(text("").map(|_| Half(Some(HALF)).boxed_unsync())) };
    for version in ["1.1", "1.0"] {
        if protocol.is_http2() && version == "1.0" {
            continue;
        }
        let site = protocol.serve(ServerOptions::default(), service);
        let mut reader = site.reader();
        if protocol.is_http2() {
            assert_eq!(reader.begin("/").read(HALF.len()), HALF.as_bytes());
        } else {
            let client = reader.http1();
            client.send(format!("GET / HTTP/{version}\r\nHost: test\r\n\r\n"));
            client.take_until(HALF.as_bytes()).expect("the first half");
        }
        site.server.handle.stop();
        site.server.join();
        reader.expect_cut(usize::MAX);
    }
}

fn an_idle_connection_is_closed_and_a_busy_one_is_not(protocol: Protocol) {
    let options = ServerOptions { keep_alive_timeout: SHORT, ..ServerOptions::default() };
    let (go, wait) = tokio::sync::watch::channel(false);
    let site = protocol.serve(options, move |request| {
        let mut wait = wait.clone();
        async move {
            if request.uri().path() == "/late" {
                wait.wait_for(|go| *go).await.map_err(|error| error.to_string())?;
            }
            Ok(text("hello"))
        }
    });
    let mut busy = site.reader();
    busy.request("/late", &[]);
    // Meanwhile others come, rest too long, and are closed: without a request, behind one, and
    // behind many.
    for requests in [0, 1, 20] {
        let begun = Instant::now();
        let mut idle = site.reader();
        for _ in 0..requests {
            assert_eq!(idle.begin("/").text(), "hello");
        }
        idle.expect_end();
        assert!(begun.elapsed() >= SHORT, "given up early");
    }
    go.send_replace(true);
    assert_eq!(busy.head().text(), "hello");
    busy.expect_end();
}

fn a_client_that_ends_its_side_still_gets_the_answer(protocol: Protocol) {
    let bytes = Bytes::from(noise(13, 2_000_000));
    for announced in [true, false] {
        let (observer, events) = watcher();
        let observer = Mutex::new(Some(observer));
        let content = bytes.clone();
        let site = protocol.serve_content(ServerOptions::default(), move |_| {
            Content::bytes(content.clone()).observer(observer.lock().take().expect("one request"))
        });
        let mut reader = site.reader();
        reader.request("/", &[]);
        let client = reader.http1();
        if announced && protocol.is_secure() {
            client.finish_within();
        }
        client.finish();
        assert_same(&reader.head().finish(bytes.len()), &bytes, "the answer");
        reader.expect_end();
        assert_eq!(events.ending(bytes.len() as u64), Event::Completed(bytes.len() as u64));
    }
}
