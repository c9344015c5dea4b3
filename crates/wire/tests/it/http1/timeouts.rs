//! Clients that take their time: each wait has an end.

use std::io::{ErrorKind, Read as _};
use std::time::{Duration, Instant};

use outflow_content::AbortReason;
use outflow_wire::ServerOptions;

use crate::support::{Event, TestFile, noise, serve_content_with, serve_with, temp, text, watcher};

const SHORT: Duration = Duration::from_millis(200);

fn server(options: ServerOptions) -> crate::support::Running {
    serve_with(options, 1, |_| async { Ok(text("hello")) })
}

#[test]
fn a_head_that_does_not_come_to_its_end_is_408() {
    let server = server(ServerOptions { head_timeout: SHORT, ..ServerOptions::default() });
    for head in ["G", "GET / HTTP/1.1\r\n", "GET / HTTP/1.1\r\nHost: x\r\n"] {
        let begun = Instant::now();
        let mut client = server.client();
        let reply = client.send(head).reply();
        assert_eq!((reply.status, reply.find("connection")), (408, Some("close")), "{head:?}");
        assert!(begun.elapsed() >= SHORT, "given up early");
        client.expect_closed();
    }
}

#[test]
fn a_second_head_on_a_connection_is_timed_as_the_first() {
    let server = server(ServerOptions { head_timeout: SHORT, ..ServerOptions::default() });
    let mut client = server.client();
    // Its beginning comes right behind the first request, and later.
    assert_eq!(client.request("GET", "/", "").send("GET / HT").reply().status, 200);
    assert_eq!(client.reply().status, 408);
    let mut client = server.client();
    assert_eq!(client.request("GET", "/", "").reply().status, 200);
    assert_eq!(client.send("GET / HT").reply().status, 408);
}

#[test]
fn a_head_that_trickles_in_has_no_more_time_than_another() {
    let server = server(ServerOptions { head_timeout: SHORT, ..ServerOptions::default() });
    let mut client = server.client();
    // One byte at a time, with a rest between that is far shorter than the timeout.
    client.stream.set_read_timeout(Some(Duration::from_millis(10))).expect("a timeout");
    let begun = Instant::now();
    client.send("GET / HTTP/1.1\r\nHost: x\r\nA: ");
    let mut first = [0; 12];
    loop {
        match client.stream.read(&mut first) {
            Ok(n) => {
                assert_eq!(first[..n].escape_ascii().to_string(), "HTTP/1.1 408");
                break;
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => client.send("a"),
            Err(error) => panic!("{error}"),
        };
        assert!(begun.elapsed() < crate::support::PATIENCE, "served for ever");
    }
    assert!(begun.elapsed() >= SHORT, "given up early");
}

#[test]
fn a_request_gives_an_idle_connection_its_time_anew() {
    let server = server(ServerOptions { keep_alive_timeout: SHORT, ..ServerOptions::default() });
    let mut client = server.client();
    let answered = loop {
        // The answers come for longer than the timeout altogether.
        let begun = Instant::now();
        for _ in 0..3 {
            assert_eq!(client.request("GET", "/", "").reply().text(), "hello");
        }
        if begun.elapsed() < SHORT {
            break Instant::now();
        }
    };
    client.expect_closed();
    // Told by the client's clock, which saw the answer a little later than the server sent it.
    assert!(answered.elapsed() >= SHORT / 2, "given up early");
}

/// Reads a little, rests a little, until the delivery ends; how it ended.
fn read_slowly(min_rate: u32, len: usize) -> Event {
    let options =
        ServerOptions { stall_timeout: Duration::from_millis(500), min_rate, ..ServerOptions::default() };
    let (_folder, path) = temp("file", &noise(79, len));
    let file = TestFile::open(&path);
    let (observer, events) = watcher();
    let observer = parking_lot::Mutex::new(Some(observer));
    let server = serve_content_with(options, move |_| {
        file.content().observer(observer.lock().take().expect("one request"))
    });
    let mut client = server.narrow_client(16 * 1024);
    client.request("GET", "/", "").take_until(b"\r\n\r\n").expect("a head");
    let mut told = Vec::new();
    let mut piece = [0; 64 * 1024];
    let mut left = len;
    while !told.iter().any(|event| matches!(event, Event::Cleanup)) {
        // Data that is there is read even after the server broke the connection.
        if left > 0 {
            left = left.saturating_sub(client.take_some(&mut piece));
        }
        // As slow as this reader is.
        std::thread::sleep(Duration::from_millis(1));
        told.extend(events.so_far());
    }
    told.swap_remove(told.len() - 2)
}

#[test]
fn a_reader_below_the_least_rate_is_cut_off_although_it_never_stops() {
    // With these rests no client reaches 4 GB/s.
    let end = read_slowly(u32::MAX, 64 * 1024 * 1024);
    assert!(matches!(end, Event::Aborted(_, AbortReason::Stalled)), "{end:?}");
}

#[test]
fn the_same_reader_is_served_to_its_end_above_the_least_rate() {
    assert_eq!(read_slowly(1, 16 * 1024 * 1024), Event::Completed(16 * 1024 * 1024));
}
