//! Delivered means acknowledged: what is known of a delivery behind its last byte, and what is never claimed.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use bytes::Bytes;
use outflow_content::{AbortReason, Content, Ending, Evidence};
use outflow_wire::ServerOptions;

use crate::support::{
    Client, Event, Events, Running, TestFile, locked, pattern, serve_content_with, temp, watcher,
};

/// Small enough to be in the kernel's hands at once, far more than a narrow client's buffer takes.
const MEDIUM: usize = 1_000_000;

/// Longer than any test takes.
const NEVER: Duration = Duration::from_secs(600);

/// A server that gives each delivery the next of so many watchers.
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

fn memory(len: usize) -> impl Fn() -> Content + Send + Sync + 'static {
    let bytes = Bytes::from(pattern(len, 91));
    move || Content::bytes(bytes.clone())
}

/// With a confirmation that is waited for for ever: what ends, ends by what the client does.
fn patient() -> ServerOptions {
    ServerOptions { confirm_timeout: NEVER, ..ServerOptions::default() }
}

fn one(mut events: Vec<Events>, total: usize) -> (Event, Ending) {
    events.remove(0).end(total as u64)
}

#[track_caller]
fn assert_arrived((event, ending): (Event, Ending), total: usize, evidence: Evidence) {
    assert_eq!(event, Event::Completed(total as u64), "{ending:?}");
    assert_eq!((ending.evidence, ending.acked), (evidence, Some(total as u64)));
    assert_eq!(ending.transport.is_some(), total >= 256 * 1024, "{ending:?}");
}

/// A segment on the loopback. What a client has read is acknowledged a little later, and what has come with a reset is
/// not looked at any more.
const SEGMENT: u64 = 65_536;

/// What a narrow client's buffer takes: the kernel doubles what is asked for.
const BUFFER: u64 = 2 * 16 * 1024;

/// The client left: nothing is called complete, and about `read` bytes were acknowledged.
#[track_caller]
fn assert_left((event, ending): (Event, Ending), read: usize) {
    assert!(matches!(event, Event::Aborted(_, AbortReason::Disconnected(_))), "{event:?}");
    let acked = ending.acked.expect("the kernel knows");
    assert!(acked + SEGMENT >= read as u64 && acked <= ending.sent, "{ending:?}, {read} read");
}

#[test]
fn an_orderly_close_behind_the_last_byte_confirms() {
    for total in [0, 10, 10_000, MEDIUM] {
        let (server, events) = watched(1, patient(), memory(total));
        let mut client = Client::connect(server.addr);
        assert_eq!(client.get("/", "").reply().body.len(), total);
        drop(client);
        assert_arrived(one(events, total), total, Evidence::Confirmed);
    }
}

#[test]
fn an_orderly_close_confirms_a_response_that_ends_the_connection() {
    for (total, version) in [(10_000, "1.0"), (MEDIUM, "1.0"), (10_000, "1.1"), (MEDIUM, "1.1")] {
        let (server, events) = watched(1, patient(), memory(total));
        let mut client = Client::connect(server.addr);
        client.send(format!("GET / HTTP/{version}\r\nHost: x\r\nConnection: close\r\n\r\n"));
        assert_eq!(client.reply().body.len(), total);
        client.expect_closed();
        drop(client);
        assert_arrived(one(events, total), total, Evidence::Confirmed);
    }
}

#[test]
fn a_next_request_confirms_the_one_before() {
    for total in [10, 10_000, MEDIUM] {
        let (server, events) = watched(12, patient(), memory(total));
        let mut client = Client::connect(server.addr);
        let last = events.len() - 1;
        for (i, events) in events.into_iter().enumerate() {
            assert_eq!(client.get("/", "").reply().body.len(), total, "{i}");
            if i == last {
                drop(client);
                assert_arrived(events.end(total as u64), total, Evidence::Confirmed);
                break;
            }
            // Nothing has confirmed it yet.
            assert!(
                events
                    .so_far()
                    .iter()
                    .all(|event| matches!(event, Event::Started(_) | Event::Sent(..) | Event::Acked(_)))
            );
        }
    }
}

#[test]
fn requests_one_after_the_other_confirm_each_other_in_order() {
    let (server, events) = watched(12, patient(), memory(5_000));
    let mut client = Client::connect(server.addr);
    let mut before: Option<Events> = None;
    for events in events {
        assert_eq!(client.get("/", "").reply().body.len(), 5_000);
        if let Some(before) = before.replace(events) {
            assert_arrived(before.end(5_000), 5_000, Evidence::Confirmed);
        }
    }
}

#[test]
fn a_connection_that_stays_open_and_says_nothing_is_acknowledged_in_time() {
    for total in [10_000, MEDIUM] {
        let options =
            ServerOptions { confirm_timeout: Duration::from_millis(100), ..ServerOptions::default() };
        let (server, events) = watched(1, options, memory(total));
        let mut client = Client::connect(server.addr);
        assert_eq!(client.get("/", "").reply().body.len(), total);
        assert_arrived(one(events, total), total, Evidence::Acked);
        client.finish().expect_closed();
    }
}

#[test]
fn a_closing_response_to_a_client_that_stays_is_acknowledged_in_time() {
    let options = ServerOptions { confirm_timeout: Duration::from_millis(100), ..ServerOptions::default() };
    let (server, events) = watched(1, options, memory(MEDIUM));
    let mut client = Client::connect(server.addr);
    assert_eq!(client.get("/", "Connection: close\r\n").reply().body.len(), MEDIUM);
    assert_arrived(one(events, MEDIUM), MEDIUM, Evidence::Acked);
    client.expect_closed();
}

#[test]
fn pipelined_requests_confirm_nothing_but_what_follows_them_does() {
    for total in [1_000, 300_000] {
        let (server, events) = watched(4, patient(), memory(total));
        let mut client = Client::connect(server.addr);
        client.get("/", "").get("/", "").get("/", "");
        for _ in 0..3 {
            assert_eq!(client.reply().body.len(), total);
        }
        assert_eq!(client.get("/", "").reply().body.len(), total);
        drop(client);
        for events in events {
            assert_arrived(events.end(total as u64), total, Evidence::Confirmed);
        }
    }
}

#[test]
fn a_client_that_asks_on_and_on_without_reading_waits_when_too_much_is_pending() {
    let total = 100_000;
    let n = 60;
    let (server, events) = watched(n, patient(), memory(total));
    let mut client = Client::connect_narrow(server.addr, 8 * 1024);
    for _ in 0..n {
        client.get("/", "");
    }
    for i in 0..n {
        assert_eq!(client.reply().body.len(), total, "{i}");
    }
    drop(client);
    for events in events {
        let (event, ending) = events.end(total as u64);
        assert_eq!(event, Event::Completed(total as u64));
        assert!(ending.evidence >= Evidence::Acked, "{ending:?}");
    }
}

#[test]
fn a_client_that_had_ended_its_side_before_confirms_nothing() {
    let (server, events) = watched(1, patient(), memory(MEDIUM));
    let mut client = Client::connect_narrow(server.addr, 16 * 1024);
    client.get("/", "").finish();
    assert_eq!(client.reply().body.len(), MEDIUM);
    client.expect_closed();
    assert_arrived(one(events, MEDIUM), MEDIUM, Evidence::Acked);
}

#[test]
fn a_reader_of_nearly_everything_that_leaves_is_never_complete() {
    for (keep, narrow) in [(true, true), (true, false), (false, true), (false, false)] {
        let (server, events) = watched(1, patient(), memory(MEDIUM));
        let mut client = match narrow {
            true => Client::connect_narrow(server.addr, 16 * 1024),
            false => Client::connect(server.addr),
        };
        let lines = if keep { "" } else { "Connection: close\r\n" };
        client.get("/", lines).take_until(b"\r\n\r\n").expect("a head");
        let read = MEDIUM - MEDIUM / 1000;
        client.take_exactly(read);
        drop(client);
        assert_left(one(events, MEDIUM), read);
    }
}

#[test]
fn a_narrow_reader_that_leaves_half_way_has_acknowledged_what_fits_its_buffer_and_no_more() {
    let (server, events) = watched(1, patient(), memory(MEDIUM));
    let mut client = Client::connect_narrow(server.addr, 16 * 1024);
    client.get("/", "").take_until(b"\r\n\r\n").expect("a head");
    client.take_exactly(MEDIUM / 2);
    drop(client);
    let end = one(events, MEDIUM);
    let acked = end.1.acked.expect("the kernel knows");
    assert_left(end, MEDIUM / 2);
    assert!(acked <= MEDIUM as u64 / 2 + BUFFER + SEGMENT, "{acked} acknowledged");
}

#[test]
fn what_is_acknowledged_but_never_read_is_not_complete_when_the_client_leaves() {
    let (server, events) = watched(1, patient(), memory(20_000));
    let mut client = Client::connect(server.addr);
    client.get("/", "").take_until(b"\r\n\r\n").expect("a head");
    client.wait_for(20_000);
    drop(client);
    let (event, ending) = one(events, 20_000);
    assert!(matches!(event, Event::Aborted(20_000, AbortReason::Disconnected(_))), "{event:?}");
    assert_eq!((ending.acked, ending.evidence), (Some(20_000), Evidence::Acked));
}

#[test]
fn a_reader_that_stops_for_ever_is_aborted_as_stalled() {
    let options = ServerOptions {
        stall_timeout: Duration::from_millis(300),
        min_rate: u32::MAX,
        ..ServerOptions::default()
    };
    for lines in ["", "Connection: close\r\n"] {
        let (server, events) = watched(1, options.clone(), memory(MEDIUM));
        let mut client = Client::connect_narrow(server.addr, 16 * 1024);
        client.get("/", lines).take_until(b"\r\n\r\n").expect("a head");
        client.take_exactly(100_000);
        let (event, ending) = one(events, MEDIUM);
        assert!(matches!(event, Event::Aborted(_, AbortReason::Stalled)), "{event:?}");
        let acked = ending.acked.expect("the kernel knows");
        assert!(
            acked + SEGMENT >= 100_000 && acked < MEDIUM as u64 && ending.evidence == Evidence::Sent,
            "{ending:?}"
        );
        assert!(ending.transport.is_some_and(|transport| transport.receiver_limited > Duration::ZERO));
        client.expect_cut(MEDIUM - 100_000);
    }
}

#[test]
fn a_slow_reader_is_never_complete_before_its_last_bytes() {
    let (server, events) = watched(1, patient(), memory(MEDIUM));
    let mut client = Client::connect_narrow(server.addr, 16 * 1024);
    client.get("/", "").take_until(b"\r\n\r\n").expect("a head");
    let events = events.into_iter().next().expect("one");
    let mut read = 0;
    while read < MEDIUM {
        let piece = 50_000.min(MEDIUM - read);
        client.take_exactly(piece);
        read += piece;
        for event in events.so_far() {
            match event {
                Event::Acked(acked) => {
                    assert!(acked <= read as u64 + BUFFER + SEGMENT, "{acked} told, {read} read");
                }
                Event::Started(_) | Event::Sent(..) => {}
                other => panic!("{other:?} when {read} bytes were read"),
            }
        }
    }
}

#[test]
fn a_long_delivery_is_told_what_has_arrived_and_not_too_often() {
    // So long that no reader comes to its end: holes take no room.
    let (_folder, path) = temp("file", b"");
    std::fs::File::options().write(true).open(&path).unwrap().set_len(1 << 40).unwrap();
    let file = TestFile::open(&path);
    let (server, events) = watched(1, patient(), move || file.content());
    let mut client = Client::connect_narrow(server.addr, 64 * 1024);
    let begun = Instant::now();
    client.get("/", "").take_until(b"\r\n\r\n").expect("a head");
    let events = events.into_iter().next().expect("one");
    let mut told = Vec::new();
    while told.len() < 2 {
        client.take_exactly(20_000);
        told.extend(events.so_far().into_iter().filter_map(|event| match event {
            Event::Acked(acked) => Some(acked),
            _ => None,
        }));
    }
    let often = begun.elapsed().as_millis() / 250 + 1;
    assert!(told.is_sorted() && told[0] > 0, "{told:?}");
    assert!(told.len() as u128 <= often, "{told:?} in {:?}", begun.elapsed());
}

#[test]
fn a_server_that_drains_waits_for_what_has_been_sent() {
    let (server, events) = watched(1, ServerOptions::default(), memory(MEDIUM));
    let mut client = Client::connect_narrow(server.addr, 16 * 1024);
    client.get("/", "").take_until(b"\r\n\r\n").expect("a head");
    client.take_exactly(100_000);
    server.handle.drain(NEVER);
    client.take_exactly(MEDIUM - 100_000);
    client.expect_closed();
    drop(client);
    server.join();
    assert_arrived(one(events, MEDIUM), MEDIUM, Evidence::Confirmed);
}

#[test]
fn a_server_that_stops_tells_what_had_arrived() {
    let (server, events) = watched(2, patient(), memory(MEDIUM));
    let mut client = Client::connect_narrow(server.addr, 16 * 1024);
    client.get("/", "").take_until(b"\r\n\r\n").expect("a head");
    client.take_exactly(100_000);
    let mut whole = Client::connect(server.addr);
    assert_eq!(whole.get("/", "").reply().body.len(), MEDIUM);
    server.handle.stop();
    server.join();
    let mut events = events.into_iter();
    let (event, ending) = events.next().expect("two").end(MEDIUM as u64);
    assert!(matches!(event, Event::Aborted(_, AbortReason::Shutdown)), "{event:?}");
    let acked = ending.acked.expect("the kernel knows");
    assert!(acked + SEGMENT >= 100_000 && acked < MEDIUM as u64, "{ending:?}");
    assert_arrived(events.next().expect("two").end(MEDIUM as u64), MEDIUM, Evidence::Acked);
}

#[test]
fn a_multipart_answer_that_breaks_off_says_which_bytes_of_the_content_arrived() {
    let (server, mut events) = watched(1, patient(), memory(MEDIUM));
    let mut client = Client::connect_narrow(server.addr, 16 * 1024);
    client.get("/", "Range: bytes=600000-999999, 0-399999\r\n").take_until(b"\r\n\r\n").expect("a head");
    let head = client.take_until(b"\r\n\r\n").expect("a part's head").len();
    client.take_exactly(300_000);
    drop(client);
    let events = events.remove(0);
    let (map, ending) = events.mapped();
    let acked = ending.acked.expect("the kernel knows");
    let ranges: Vec<_> = map.acked(acked).collect();
    assert_eq!(ranges[0].start, 600_000);
    assert_eq!(ranges[0].end, 600_000 + (acked - head as u64).min(400_000));
    assert!(acked + SEGMENT >= 300_000 && acked < map.len(), "{ending:?}");
}

#[test]
fn an_upload_that_was_told_to_go_on_does_not_spoil_the_count() {
    let (server, events) = watched(1, patient(), memory(1_000));
    let mut client = Client::connect(server.addr);
    // The content answers GET only; its body is read by nobody, so the connection closes behind the answer.
    client.send("GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\nhello");
    assert_eq!(client.reply().body.len(), 1_000);
    client.expect_closed();
    drop(client);
    assert_arrived(one(events, 1_000), 1_000, Evidence::Confirmed);
}
