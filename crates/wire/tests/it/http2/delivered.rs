//! Deliveries over HTTP/2 alone: each stream has its own numbers, and the answer to a PING
//! confirms. What holds over every protocol is in `every_protocol::delivered`.

use std::time::Duration;

use bytes::Bytes;
use outflow_content::{AbortReason, Content, Ending, Evidence};
use outflow_wire::{ServerOptions, TlsOptions};
use parking_lot::Mutex;

use crate::support::frames::{CANCEL, DATA, Framed, GOAWAY, HEADERS, PING};
use crate::support::{
    Event, Events, HttpClient, Identity, Running, noise, respond, serve_h2, serve_tls, watcher,
};

/// Small enough to be in the kernel's hands at once, far more than a narrow client's buffer takes.
const MEDIUM: usize = 1_000_000;

/// Longer than any test takes.
const NEVER: Duration = Duration::from_secs(600);

/// A segment on the loopback. What a client has read is acknowledged a little later.
const SEGMENT: u64 = 65_536;

/// What a narrow client's buffer takes: the kernel doubles what is asked for.
const BUFFER: u64 = 2 * 16 * 1024;

/// How far behind the truth a stream's number may be: it is noted every 64 KiB, between two calls.
const COARSE: u64 = 2 * SEGMENT + 48 * 1024;

/// A server that answers with `total` bytes and gives each delivery the next of so many watchers.
fn watched(n: usize, options: ServerOptions, total: usize) -> (Running, Vec<Events>) {
    let (observers, events): (Vec<_>, Vec<_>) = (0..n).map(|_| watcher()).unzip();
    let observers = Mutex::new(observers.into_iter());
    let bytes = Bytes::from(noise(91, total));
    let server = serve_h2(options, move |request| {
        let content = Content::bytes(bytes.clone())
            .observer(observers.lock().next().expect("a watcher for every request"));
        let response = respond(content, request.method(), request.headers());
        async move { Ok(response) }
    });
    (server, events)
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
}

/// The client left, having read so many of the body's bytes.
#[track_caller]
fn assert_left((event, ending): (Event, Ending), read: usize) {
    assert!(matches!(event, Event::Aborted(_, AbortReason::Disconnected(_))), "{event:?}");
    assert_about(&ending, read);
}

#[track_caller]
fn assert_about(ending: &Ending, read: usize) {
    let (acked, read) = (ending.acked.expect("the kernel knows"), read as u64);
    assert!(acked <= read + BUFFER + SEGMENT, "{ending:?}, {read} read");
    assert!(acked + COARSE >= read, "{ending:?}, {read} read");
    assert!(acked <= ending.sent, "{ending:?}");
}

fn ongoing(events: &Events) -> bool {
    let ongoing = |event: &Event| matches!(event, Event::Started(_) | Event::Sent(..) | Event::Acked(_));
    events.so_far().iter().all(ongoing)
}

#[test]
fn nothing_is_complete_before_the_client_has_said_so() {
    let (server, events) = watched(1, patient(), MEDIUM);
    let mut client = Framed::wide(server.client());
    client.get(1, "/").body(1);
    let ping = client.next(&[PING]);
    // A question of the client's own is answered; that is no answer of its own.
    client.send(PING, 0, 0, b"question");
    while client.frame().expect("a frame").kind != PING {}
    assert!(ongoing(&events[0]));
    client.pong(&ping);
    let told: Vec<Event> = std::iter::from_fn(|| events[0].next()).collect();
    assert!(told.ends_with(&[Event::Completed(MEDIUM as u64), Event::Cleanup]), "{told:?}");
}

/// A server within TLS, or not, that gives each delivery the next of so many watchers; and clients
/// of it.
fn both_ways(n: usize, test: impl Fn(&dyn Fn() -> HttpClient, Vec<Events>, usize)) {
    for total in [10_000, MEDIUM, 5 * MEDIUM] {
        let (server, events) = watched(n, patient(), total);
        test(&|| server.client(), events, total);

        let (observers, events): (Vec<_>, Vec<_>) = (0..n).map(|_| watcher()).unzip();
        let observers = Mutex::new(observers.into_iter());
        let (bytes, identity) = (Bytes::from(noise(93, total)), Identity::new());
        let tls = identity.tls(&TlsOptions::default());
        let server = serve_tls(patient(), tls, move |request| {
            let observer = observers.lock().next().expect("a watcher for every request");
            let content = Content::bytes(bytes.clone()).observer(observer);
            let response = respond(content, request.method(), request.headers());
            async move { Ok(response) }
        });
        let config = identity.client(outflow_wire::rustls::ALL_VERSIONS, &[b"h2"]);
        let connect = || server.client().secure("localhost", &config).expect("a handshake");
        test(&connect, events, total);
    }
}

/// As curl does: a question that comes behind the last byte would be unread then, and its kernel
/// would answer by RST.
#[test]
fn a_client_that_closes_at_once_behind_the_last_byte_confirms() {
    both_ways(10, |connect, events, total| {
        for events in events {
            let mut client = Framed::wide(connect());
            assert_eq!(client.get(1, "/").body(1).0.len(), total);
            drop(client);
            assert_arrived(events.end(total as u64), total, Evidence::Confirmed);
        }
    });
}

/// What had arrived before it was asked about has not been lost by it.
#[test]
fn a_client_that_closes_with_the_question_unread_has_what_it_got() {
    both_ways(1, |connect, events, total| {
        let mut client = Framed::wide(connect());
        assert_eq!(client.get(1, "/").body(1).0.len(), total);
        // The question is there, and nobody reads it.
        client.client.wait_for(17);
        drop(client);
        assert_arrived(one(events, total), total, Evidence::Acked);
    });
}

#[test]
fn a_stream_that_is_reset_has_acknowledged_what_its_client_got_and_no_more() {
    let (server, events) = watched(2, patient(), MEDIUM);
    let mut client = Framed::wide(server.narrow_client(16 * 1024));
    let read = client.get(1, "/").bytes(MEDIUM / 2);
    client.reset(1, CANCEL);
    let mut events = events.into_iter();
    let (event, ending) = events.next().expect("two").end(MEDIUM as u64);
    let Event::Aborted(_, AbortReason::Disconnected(why)) = &event else { panic!("{event:?}") };
    assert!(why.contains("reset"), "{why}");
    assert_about(&ending, read);
    // The connection goes on, and what was cut does not count for what follows.
    let (body, reset) = client.get(3, "/").body(3);
    assert_eq!((body.len(), reset), (MEDIUM, None));
    let ping = client.next(&[PING]);
    client.pong(&ping);
    assert_arrived(events.next().expect("two").end(MEDIUM as u64), MEDIUM, Evidence::Confirmed);
}

/// A client that cancels a download while its last bytes are on their way has not got it, though
/// all of it has left and the connection acknowledges and answers on.
#[test]
fn a_stream_that_is_reset_behind_its_last_byte_is_not_complete() {
    for total in [20_000, 300_000] {
        let (server, events) = watched(1, patient(), total);
        let mut client = Framed::wide(server.narrow_client(16 * 1024));
        client.get(1, "/");
        let events = events.into_iter().next().expect("one");
        let mut told = Vec::new();
        while !matches!(told.last(), Some(Event::Sent(_, sum)) if *sum == total as u64) {
            told.push(events.next().expect("more"));
        }
        client.reset(1, CANCEL);
        let (body, _) = client.body(1);
        assert_eq!(body.len(), total);
        // Whatever it asks is answered, until it has answered, too.
        client.send(PING, 0, 0, b"question");
        loop {
            match client.frame().expect("a frame") {
                frame if frame.kind == PING && frame.flags == 0 => drop(client.pong(&frame)),
                frame if frame.kind == PING => break,
                _ => {}
            }
        }
        told.extend(std::iter::from_fn(|| events.next()));
        let (last, before) = told.split_last().expect("events");
        assert_eq!(*last, Event::Cleanup);
        let end = before.last().expect("an end");
        let Event::Aborted(sent, AbortReason::Disconnected(why)) = end else { panic!("ended by {end:?}") };
        assert_eq!(*sent, total as u64);
        assert!(why.contains("reset"), "{why}");
    }
}

#[test]
fn a_reset_without_an_error_behind_the_last_byte_takes_nothing_back() {
    let (server, events) = watched(1, patient(), MEDIUM);
    let mut client = Framed::wide(server.client());
    assert_eq!(client.get(1, "/").body(1).0.len(), MEDIUM);
    client.reset(1, 0);
    let ping = client.next(&[PING]);
    client.pong(&ping);
    assert_arrived(one(events, MEDIUM), MEDIUM, Evidence::Confirmed);
}

#[test]
fn streams_that_take_turns_have_their_own_numbers() {
    let total = 4 * MEDIUM;
    let (server, events) = watched(3, patient(), total);
    let mut client = Framed::wide(server.narrow_client(16 * 1024));
    client.get(1, "/").get(3, "/").get(5, "/");
    let mut read = [0_usize; 6];
    while read.iter().sum::<usize>() < total {
        let frame = client.next(&[DATA]);
        read[frame.stream as usize] += frame.payload.len();
    }
    assert!([1, 3, 5].iter().all(|stream| read[*stream] > total / 6), "no turns: {read:?}");
    drop(client);
    for (stream, events) in [1, 3, 5].into_iter().zip(events) {
        assert_left(events.end(total as u64), read[stream]);
    }
}

#[test]
fn one_stream_is_reset_and_its_neighbour_arrives() {
    let (server, events) = watched(2, patient(), MEDIUM);
    let mut client = Framed::wide(server.narrow_client(16 * 1024));
    client.get(1, "/").get(3, "/");
    let mut read = [0_usize; 4];
    while read[1] < MEDIUM / 4 {
        let frame = client.next(&[DATA]);
        read[frame.stream as usize] += frame.payload.len();
    }
    client.reset(1, CANCEL);
    let mut events = events.into_iter();
    let (event, ending) = events.next().expect("two").end(MEDIUM as u64);
    assert!(matches!(event, Event::Aborted(_, AbortReason::Disconnected(_))), "{event:?}");
    assert_about(&ending, read[1]);
    let (rest, reset) = client.body(3);
    assert_eq!((read[3] + rest.len(), reset), (MEDIUM, None));
    let ping = client.next(&[PING]);
    client.pong(&ping);
    assert_arrived(events.next().expect("two").end(MEDIUM as u64), MEDIUM, Evidence::Confirmed);
}

/// What is not known yet of small bodies takes memory, too.
#[test]
fn a_client_that_asks_on_and_on_and_answers_no_ping_does_not_pile_up_deliveries() {
    let (n, total) = (600, 1_000);
    let (server, events) = watched(n, patient(), total);
    let mut client = Framed::wide(server.client());
    let mut ping = None;
    for batch in 0..n / 100 {
        let streams: Vec<u32> = (0..100).map(|i| 2 * (batch as u32 * 100 + i) + 1).collect();
        for stream in &streams {
            client.get(*stream, "/");
        }
        let mut ended = 0;
        while ended < streams.len() {
            let frame = client.next(&[HEADERS, DATA, PING, GOAWAY]);
            assert_ne!(frame.kind, GOAWAY, "{frame:?}");
            if frame.kind == PING {
                assert!(ping.replace(frame).is_none(), "a second question before the first was answered");
            } else if frame.ends() {
                ended += 1;
            }
        }
    }
    client.client.finish();
    for events in events {
        let (event, ending) = events.end(total as u64);
        assert_eq!(event, Event::Completed(total as u64));
        assert!(ending.evidence >= Evidence::Acked, "{ending:?}");
    }
}
