//! Delivered means acknowledged: what is known of a delivery behind its last byte, and what is
//! never claimed.

use std::time::{Duration, Instant};

use bytes::Bytes;
use outflow_content::{AbortReason, Content, Ending, Evidence};
use outflow_wire::ServerOptions;

use super::{Protocol, watched};
use crate::support::{Event, Events, TestFile, noise, temp};

over_every_protocol! {
    a_delivery_is_confirmed_by_what_the_client_sends_next,
    an_orderly_close_behind_the_last_byte_confirms,
    a_client_that_says_nothing_more_is_acknowledged_in_time,
    a_client_that_leaves_has_acknowledged_what_it_got_and_no_more,
    a_connection_that_is_reset_says_how_far_the_delivery_got,
    a_reader_that_stops_for_ever_is_aborted_as_stalled,
    a_slow_reader_is_never_complete_before_its_last_bytes,
    a_long_delivery_is_told_what_has_arrived_and_not_too_often,
    a_server_that_drains_waits_for_what_has_been_sent,
    a_server_that_stops_tells_what_had_arrived,
    a_multipart_answer_that_breaks_off_says_which_bytes_of_the_content_arrived,
}

/// Small enough to be in the kernel's hands at once, far more than a narrow client's buffer takes.
const MEDIUM: usize = 1_000_000;

/// Longer than any test takes.
const NEVER: Duration = Duration::from_secs(600);

/// The receive buffer of a narrow client.
const NARROW: usize = 16 * 1024;

fn memory(len: usize) -> impl Fn() -> Content + Send + Sync + 'static {
    let bytes = Bytes::from(noise(91, len));
    move || Content::bytes(bytes.clone())
}

/// Waits for a confirmation for ever: what ends, ends by what the client does.
fn patient() -> ServerOptions {
    ServerOptions { confirm_timeout: NEVER, ..ServerOptions::default() }
}

fn one(mut events: Vec<Events>, total: usize) -> (Event, Ending) {
    events.remove(0).end(total as u64)
}

/// Nothing has ended so far.
#[track_caller]
fn assert_ongoing(events: &Events) {
    let so_far = events.so_far();
    let ongoing = |event: &Event| matches!(event, Event::Started(_) | Event::Sent(..) | Event::Acked(_));
    assert!(so_far.iter().all(ongoing), "{so_far:?}");
}

#[track_caller]
fn assert_arrived((event, ending): (Event, Ending), total: usize, evidence: Evidence) {
    assert_eq!(event, Event::Completed(total as u64), "{ending:?}");
    assert_eq!((ending.evidence, ending.acked), (evidence, Some(total as u64)));
    assert_eq!(ending.transport.is_some(), total >= 256 * 1024, "{ending:?}");
}

/// About `read` bytes were acknowledged.
#[track_caller]
fn assert_about(protocol: Protocol, ending: &Ending, read: u64) {
    let acked = ending.acked.expect("the kernel knows");
    assert!(acked <= read + protocol.ahead(), "{ending:?}, {read} read");
    assert!(acked + protocol.behind() >= read, "{ending:?}, {read} read");
    assert!(acked <= ending.sent, "{ending:?}");
}

/// The client left: nothing is called complete, and about `read` bytes were acknowledged.
#[track_caller]
fn assert_left(protocol: Protocol, (event, ending): (Event, Ending), read: u64) {
    assert!(matches!(event, Event::Aborted(_, AbortReason::Disconnected(_))), "{event:?}");
    assert_about(protocol, &ending, read);
}

/// The next request, or over HTTP/2 the answer to the server's PING; behind the last one the end of
/// the connection.
fn a_delivery_is_confirmed_by_what_the_client_sends_next(protocol: Protocol) {
    // Over HTTP/2 the server rests for a second before each question.
    let deliveries = if protocol.is_http2() { 3 } else { 12 };
    for total in [10, 5_000, 10_000, MEDIUM] {
        let (site, events) = watched(protocol, deliveries, patient(), memory(total));
        let mut reader = site.reader();
        let mut before: Option<Events> = None;
        for events in events {
            assert_eq!(reader.whole("/", total).len(), total);
            if let Some(before) = before.take() {
                assert_arrived(before.end(total as u64), total, Evidence::Confirmed);
            }
            let question = reader.question();
            // Nothing has confirmed it yet.
            assert_ongoing(&events);
            match question {
                None => before = Some(events),
                Some(question) => {
                    reader.answer(&question);
                    assert_arrived(events.end(total as u64), total, Evidence::Confirmed);
                }
            }
        }
        reader.close();
        if let Some(last) = before {
            assert_arrived(last.end(total as u64), total, Evidence::Confirmed);
        }
    }
}

fn an_orderly_close_behind_the_last_byte_confirms(protocol: Protocol) {
    for total in [0, 10, 10_000, MEDIUM] {
        if total == 0 && protocol.is_http2() {
            // The server does not ask whether nothing has arrived.
            continue;
        }
        let (site, events) = watched(protocol, 1, patient(), memory(total));
        let mut reader = site.reader();
        assert_eq!(reader.whole("/", total).len(), total);
        // Over HTTP/2 the server's question has been read, and is not answered.
        reader.question();
        reader.close();
        assert_arrived(one(events, total), total, Evidence::Confirmed);
    }
}

fn a_client_that_says_nothing_more_is_acknowledged_in_time(protocol: Protocol) {
    // Over HTTP/2 longer than it takes to ask.
    let timeout = Duration::from_millis(if protocol.is_http2() { 1000 } else { 100 });
    for total in [10_000, MEDIUM] {
        let options = ServerOptions { confirm_timeout: timeout, ..ServerOptions::default() };
        let (site, events) = watched(protocol, 1, options, memory(total));
        let mut reader = site.reader();
        assert_eq!(reader.whole("/", total).len(), total);
        assert_arrived(one(events, total), total, Evidence::Acked);
        if protocol == Protocol::Http1 {
            reader.http1().finish().expect_closed();
        }
    }
}

fn a_client_that_leaves_has_acknowledged_what_it_got_and_no_more(protocol: Protocol) {
    for (total, read, narrow) in [
        (MEDIUM, MEDIUM - MEDIUM / 1000, true),
        (MEDIUM, MEDIUM - MEDIUM / 1000, false),
        (MEDIUM, MEDIUM / 2, true),
        (32 * MEDIUM, 5 * MEDIUM, true),
    ] {
        if protocol.is_secure() && total - read < 16 * 1024 {
            // A client of TLS reads whole records, and has all of it.
            continue;
        }
        let (site, events) = watched(protocol, 1, patient(), memory(total));
        let mut reader = if narrow { site.narrow_reader(NARROW) } else { site.reader() };
        reader.begin("/").read(read);
        let taken = reader.taken;
        drop(reader);
        let end = one(events, total);
        match narrow {
            true => assert_left(protocol, end, taken),
            // Its kernel may have had all of it.
            false => {
                let (event, ending) = end;
                assert!(matches!(event, Event::Aborted(_, AbortReason::Disconnected(_))), "{event:?}");
                let acked = ending.acked.expect("the kernel knows");
                assert!(acked + protocol.behind() >= taken && acked <= ending.sent, "{ending:?}");
            }
        }
    }
}

fn a_connection_that_is_reset_says_how_far_the_delivery_got(protocol: Protocol) {
    let (site, events) = watched(protocol, 1, patient(), memory(MEDIUM));
    let mut reader = site.narrow_reader(NARROW);
    reader.begin("/").read(MEDIUM / 3);
    let taken = reader.taken;
    reader.reset();
    assert_left(protocol, one(events, MEDIUM), taken);
}

/// All of it may be in the kernel's hands, so that neither a window nor a full socket shows that
/// the client has stopped.
fn a_reader_that_stops_for_ever_is_aborted_as_stalled(protocol: Protocol) {
    let options =
        ServerOptions { stall_timeout: Duration::from_millis(300), min_rate: u32::MAX, ..patient() };
    for total in [300_000, MEDIUM, 32 * MEDIUM] {
        let (site, events) = watched(protocol, 1, options.clone(), memory(total));
        let mut reader = site.narrow_reader(NARROW);
        reader.begin("/").read(100_000);
        let (event, ending) = one(events, total);
        assert!(matches!(event, Event::Aborted(_, AbortReason::Stalled)), "{event:?}");
        assert_about(protocol, &ending, reader.taken);
        assert!(ending.acked < Some(total as u64) && ending.evidence == Evidence::Sent, "{ending:?}");
        if !protocol.is_http2() {
            assert!(ending.transport.is_some_and(|transport| transport.receiver_limited > Duration::ZERO));
        }
        // What the client finds later is no whole body.
        reader.expect_cut(total - 100_000);
    }
}

fn a_slow_reader_is_never_complete_before_its_last_bytes(protocol: Protocol) {
    let (site, events) = watched(protocol, 1, patient(), memory(MEDIUM));
    let mut reader = site.narrow_reader(NARROW);
    reader.begin("/");
    let events = events.into_iter().next().expect("one");
    let mut read = 0;
    while read < MEDIUM {
        let piece = 50_000.min(MEDIUM - read);
        reader.read(piece);
        read += piece;
        for event in events.so_far() {
            match event {
                Event::Acked(acked) => {
                    assert!(acked <= reader.taken + protocol.ahead(), "{acked} told, {read} read");
                }
                Event::Started(_) | Event::Sent(..) => {}
                other => panic!("{other:?} when {read} bytes were read"),
            }
        }
    }
}

fn a_long_delivery_is_told_what_has_arrived_and_not_too_often(protocol: Protocol) {
    // Longer than any reader reads; its holes take no disk space.
    let (_folder, path) = temp("file", b"");
    std::fs::File::options().write(true).open(&path).expect("a file").set_len(1 << 40).expect("holes");
    let file = TestFile::open(&path);
    let (site, events) = watched(protocol, 1, patient(), move || file.content());
    let mut reader = site.narrow_reader(64 * 1024);
    let begun = Instant::now();
    reader.begin("/");
    let events = events.into_iter().next().expect("one");
    let mut told = Vec::new();
    while told.len() < 2 {
        reader.read(20_000);
        told.extend(events.so_far().into_iter().filter_map(|event| match event {
            Event::Acked(acked) => Some(acked),
            _ => None,
        }));
    }
    let often = begun.elapsed().as_millis() / 250 + 1;
    assert!(told.is_sorted() && told[0] > 0, "{told:?}");
    assert!(told.len() as u128 <= often, "{told:?} in {:?}", begun.elapsed());
}

fn a_server_that_drains_waits_for_what_has_been_sent(protocol: Protocol) {
    let (site, events) = watched(protocol, 1, ServerOptions::default(), memory(MEDIUM));
    let mut reader = site.narrow_reader(NARROW);
    reader.begin("/").read(100_000);
    site.server.handle.drain(NEVER);
    reader.finish(MEDIUM - 100_000);
    reader.expect_end();
    drop(reader);
    site.server.join();
    let (event, ending) = one(events, MEDIUM);
    if protocol.is_http2() {
        // The answer to a PING may come before or behind the end.
        assert_eq!(event, Event::Completed(MEDIUM as u64));
        assert!(ending.evidence >= Evidence::Acked && ending.acked == Some(MEDIUM as u64), "{ending:?}");
    } else {
        assert_arrived((event, ending), MEDIUM, Evidence::Confirmed);
    }
}

fn a_server_that_stops_tells_what_had_arrived(protocol: Protocol) {
    let (site, events) = watched(protocol, 2, patient(), memory(MEDIUM));
    let mut reader = site.narrow_reader(NARROW);
    reader.begin("/").read(100_000);
    let mut whole = site.reader();
    assert_eq!(whole.whole("/", MEDIUM).len(), MEDIUM);
    whole.question();
    site.server.handle.stop();
    site.server.join();
    let mut events = events.into_iter();
    let (event, ending) = events.next().expect("two").end(MEDIUM as u64);
    assert!(matches!(event, Event::Aborted(_, AbortReason::Shutdown)), "{event:?}");
    assert_about(protocol, &ending, reader.taken);
    assert!(ending.acked < Some(MEDIUM as u64), "{ending:?}");
    assert_arrived(events.next().expect("two").end(MEDIUM as u64), MEDIUM, Evidence::Acked);
}

fn a_multipart_answer_that_breaks_off_says_which_bytes_of_the_content_arrived(protocol: Protocol) {
    let (site, mut events) = watched(protocol, 1, patient(), memory(MEDIUM));
    let mut reader = site.narrow_reader(NARROW);
    let start = reader.begin_with("/", &[("range", "bytes=600000-999999, 0-399999")]).read(300_000);
    let head = start.windows(4).position(|window| window == b"\r\n\r\n").expect("a part's head") + 4;
    drop(reader);
    let (map, ending) = events.remove(0).mapped();
    let acked = ending.acked.expect("the kernel knows");
    let ranges: Vec<_> = map.acked(acked).collect();
    assert_eq!(ranges[0].start, 600_000);
    assert_eq!(ranges[0].end, 600_000 + (acked - head as u64).min(400_000));
    assert!(acked + protocol.behind() >= 300_000 && acked < map.len(), "{ending:?}");
}
