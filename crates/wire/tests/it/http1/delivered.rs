//! Deliveries over HTTP/1 alone: closing responses, pipelines, half-closed clients. What holds over
//! every protocol is in `every_protocol::delivered`.

use std::time::Duration;

use bytes::Bytes;
use outflow_content::{AbortReason, Content, Ending, Evidence};
use outflow_wire::ServerOptions;

use super::watched::watched;
use crate::support::{Event, Events, noise};

/// Small enough to be in the kernel's hands at once, far more than a narrow client's buffer takes.
const MEDIUM: usize = 1_000_000;

/// Longer than any test takes.
const NEVER: Duration = Duration::from_secs(600);

fn memory(len: usize) -> impl Fn() -> Content + Send + Sync + 'static {
    let bytes = Bytes::from(noise(91, len));
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

/// A segment on the loopback. What a client has read is acknowledged a little later, and what has
/// come with a reset is not looked at any more.
const SEGMENT: u64 = 65_536;

/// The client left: nothing is called complete, and about `read` bytes were acknowledged.
#[track_caller]
fn assert_left((event, ending): (Event, Ending), read: usize) {
    assert!(matches!(event, Event::Aborted(_, AbortReason::Disconnected(_))), "{event:?}");
    let acked = ending.acked.expect("the kernel knows");
    assert!(acked + SEGMENT >= read as u64 && acked <= ending.sent, "{ending:?}, {read} read");
}

#[test]
fn an_orderly_close_confirms_a_response_that_ends_the_connection() {
    for (total, version) in [(10_000, "1.0"), (MEDIUM, "1.0"), (10_000, "1.1"), (MEDIUM, "1.1")] {
        let (server, events) = watched(1, patient(), memory(total));
        let mut client = server.client();
        client.send(format!("GET / HTTP/{version}\r\nHost: x\r\nConnection: close\r\n\r\n"));
        assert_eq!(client.reply().body.len(), total);
        client.expect_closed();
        drop(client);
        assert_arrived(one(events, total), total, Evidence::Confirmed);
    }
}

#[test]
fn a_closing_response_to_a_client_that_stays_is_acknowledged_in_time() {
    let options = ServerOptions { confirm_timeout: Duration::from_millis(100), ..ServerOptions::default() };
    let (server, events) = watched(1, options, memory(MEDIUM));
    let mut client = server.client();
    assert_eq!(client.request("GET", "/", "Connection: close\r\n").reply().body.len(), MEDIUM);
    assert_arrived(one(events, MEDIUM), MEDIUM, Evidence::Acked);
    client.expect_closed();
}

#[test]
fn pipelined_requests_confirm_nothing_but_what_follows_them_does() {
    for total in [1_000, 300_000] {
        let (server, events) = watched(4, patient(), memory(total));
        let mut client = server.client();
        client.request("GET", "/", "").request("GET", "/", "").request("GET", "/", "");
        for _ in 0..3 {
            assert_eq!(client.reply().body.len(), total);
        }
        assert_eq!(client.request("GET", "/", "").reply().body.len(), total);
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
    let mut client = server.narrow_client(8 * 1024);
    for _ in 0..n {
        client.request("GET", "/", "");
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
    let mut client = server.narrow_client(16 * 1024);
    client.request("GET", "/", "").finish();
    assert_eq!(client.reply().body.len(), MEDIUM);
    client.expect_closed();
    assert_arrived(one(events, MEDIUM), MEDIUM, Evidence::Acked);
}

#[test]
fn a_reader_of_nearly_everything_that_leaves_is_never_complete() {
    for narrow in [true, false] {
        let (server, events) = watched(1, patient(), memory(MEDIUM));
        let mut client = match narrow {
            true => server.narrow_client(16 * 1024),
            false => server.client(),
        };
        client.request("GET", "/", "Connection: close\r\n").take_until(b"\r\n\r\n").expect("a head");
        let read = MEDIUM - MEDIUM / 1000;
        client.take_exactly(read);
        drop(client);
        assert_left(one(events, MEDIUM), read);
    }
}

#[test]
fn what_is_acknowledged_but_never_read_is_not_complete_when_the_client_leaves() {
    let (server, events) = watched(1, patient(), memory(20_000));
    let mut client = server.client();
    client.request("GET", "/", "").take_until(b"\r\n\r\n").expect("a head");
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
        let mut client = server.narrow_client(16 * 1024);
        client.request("GET", "/", lines).take_until(b"\r\n\r\n").expect("a head");
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
fn an_upload_that_was_told_to_go_on_does_not_spoil_the_count() {
    let (server, events) = watched(1, patient(), memory(1_000));
    let mut client = server.client();
    // The content answers GET only; its body is read by nobody, so the connection closes behind the
    // answer.
    client.send("GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\nhello");
    assert_eq!(client.reply().body.len(), 1_000);
    client.expect_closed();
    drop(client);
    assert_arrived(one(events, 1_000), 1_000, Evidence::Confirmed);
}
