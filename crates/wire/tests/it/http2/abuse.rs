//! Clients that break HTTP/2's rules, frame by frame: each has an end, and nobody else notices.

use std::io::Write as _;
use std::time::{Duration, Instant};

use outflow_wire::{ServerOptions, TlsOptions};

use crate::support::frames::{
    CANCEL, CONTINUATION, DATA, END, END_HEADERS, Framed, GOAWAY, HEADERS, PING, PREFACE, PRIORITY,
    PROTOCOL_ERROR, RST_STREAM, SETTINGS, WINDOW_UPDATE, block, frame, get,
};
use crate::support::{Identity, Running, alone, memory, noise, serve_h2, serve_tls, text};

const FLOW_CONTROL_ERROR: u32 = 3;
const STREAM_CLOSED: u32 = 5;
const FRAME_SIZE_ERROR: u32 = 6;
const COMPRESSION_ERROR: u32 = 9;

const SHORT: Duration = Duration::from_millis(200);

/// A server, and somebody else's connection to it.
pub(super) struct Attacked {
    pub(super) server: Running,
    other: Framed,
    next: u32,
}

pub(super) fn attacked() -> Attacked {
    attacked_with(ServerOptions::default())
}

/// Answers `/large` with a megabyte, `/never` never, all else with `fine`.
pub(super) fn attacked_with(options: ServerOptions) -> Attacked {
    let large = bytes::Bytes::from(noise(3, 1_000_000));
    let server = serve_h2(options, move |request| {
        let large = large.clone();
        async move {
            match request.uri().path() {
                "/never" => std::future::pending().await,
                "/large" => Ok(text(large)),
                _ => Ok(text("fine")),
            }
        }
    });
    let other = Framed::wide(server.client());
    Attacked { server, other, next: 1 }
}

impl Attacked {
    pub(super) fn client(&self) -> Framed {
        Framed::wide(self.server.client())
    }

    /// Somebody else is served as ever, on the connection from before and on a new one.
    #[track_caller]
    pub(super) fn goes_on(&mut self) {
        let stream = self.next;
        self.next += 2;
        assert_eq!(self.other.get(stream, "/").body(stream), (b"fine".to_vec(), None));
        assert_eq!(self.client().get(1, "/").body(1), (b"fine".to_vec(), None));
    }

    /// These bytes, behind a beginning as it should be, end the connection with one of these codes,
    /// or with the one for all that is against the rules.
    #[track_caller]
    fn ends(&mut self, what: &str, bytes: &[u8], codes: &[u32]) {
        let mut client = self.client();
        client.client.send(bytes);
        let code = client.goaway();
        let good = code.is_some_and(|code| code == PROTOCOL_ERROR || codes.contains(&code));
        assert!(good, "{what}: {code:?}, not {codes:?}");
        self.goes_on();
    }

    /// These bytes reset the stream 1 with one of these codes, and the connection goes on; or they
    /// are taken for an error of the whole connection (RFC 9113, 5.4.1).
    #[track_caller]
    fn resets(&mut self, what: &str, bytes: &[u8], codes: &[u32]) {
        let mut client = self.client();
        client.client.send(bytes);
        let reset = client.next(&[HEADERS, RST_STREAM, GOAWAY]);
        assert!(reset.kind != HEADERS, "{what} was answered");
        assert!(codes.contains(&reset.code()), "{what}: {reset:?}, not {codes:?}");
        if reset.kind == GOAWAY {
            client.rest();
            return self.goes_on();
        }
        assert_eq!(reset.stream, 1, "{what}: {reset:?}");
        assert_eq!(client.get(101, "/").body(101), (b"fine".to_vec(), None), "{what}");
        self.goes_on();
    }
}

#[test]
fn a_preface_that_is_none_is_no_http_2() {
    let mut attacked = attacked();
    // What does not begin as it should is HTTP/1, and no good one.
    for bytes in
        ["PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n", "PRI * HTTP/1.1\r\n\r\n", "\0\0\0\x04\0\0\0\0\0\r\n\r\n"]
    {
        let mut client = attacked.server.client();
        let status = client.send(bytes).reply().status;
        assert!([400, 505].contains(&status), "{bytes:?}: {status}");
        attacked.goes_on();
    }
    // One that stops within it is waited for no longer than a head.
    drop(attacked);
    let mut attacked = attacked_with(ServerOptions { head_timeout: SHORT, ..ServerOptions::default() });
    let mut client = attacked.server.client();
    client.send(&PREFACE[..10]);
    assert_eq!(client.read_to_end().unwrap_or_default(), b"");
    attacked.goes_on();
}

#[test]
fn within_tls_a_client_that_chose_http_2_has_to_speak_it() {
    let identity = Identity::new();
    let options = ServerOptions { head_timeout: SHORT, ..ServerOptions::default() };
    let server = serve_tls(options, identity.tls(&TlsOptions::default()), |_| async { Ok(text("fine")) });
    let config = identity.client(outflow_wire::rustls::ALL_VERSIONS, &[b"h2"]);
    let connect = || server.client().secure("localhost", &config).expect("a handshake");
    // HTTP/1, silence, and half a preface.
    for bytes in [&b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..], b"", &PREFACE[..12]] {
        let mut client = connect();
        client.send(bytes);
        let rest = client.read_to_end().unwrap_or_default();
        assert!(!rest.starts_with(b"HTTP/1.1 200"), "{}", rest.escape_ascii());
    }
    // And who chose HTTP/1 may not change over.
    let http1 = identity.client(outflow_wire::rustls::ALL_VERSIONS, &[b"http/1.1"]);
    let mut client = server.client().secure("localhost", &http1).expect("a handshake");
    assert_eq!(client.send(PREFACE).reply().status, 505);
    assert_eq!(Framed::wide(connect()).get(1, "/").body(1), (b"fine".to_vec(), None));
    assert_eq!(server.counters.requests.get(), 1);
}

#[test]
fn frames_that_break_the_rules_of_the_connection_end_it() {
    let mut attacked = attacked();
    let long = vec![0; 16_385];
    let request = frame(HEADERS, END | END_HEADERS, 1, &get("/"));
    let open = frame(HEADERS, END_HEADERS, 1, &get("/never"));
    let tables: &[(&str, Vec<u8>, &[u32])] = &[
        ("a frame too large", frame(DATA, 0, 1, &long), &[FRAME_SIZE_ERROR]),
        ("another one", frame(0xbb, 0, 0, &long), &[FRAME_SIZE_ERROR]),
        ("data on stream 0", frame(DATA, 0, 0, b"x"), &[PROTOCOL_ERROR]),
        ("headers on stream 0", frame(HEADERS, 5, 0, &get("/")), &[PROTOCOL_ERROR]),
        ("a stream of the server's", frame(HEADERS, 5, 2, &get("/")), &[PROTOCOL_ERROR]),
        (
            "a stream that goes back",
            [frame(HEADERS, 5, 9, &get("/")), frame(HEADERS, 5, 7, &get("/"))].concat(),
            &[PROTOCOL_ERROR, STREAM_CLOSED],
        ),
        ("data on a stream that never was", frame(DATA, 0, 7, b"x"), &[PROTOCOL_ERROR]),
        ("a reset of one that never was", frame(RST_STREAM, 0, 7, &[0; 4]), &[PROTOCOL_ERROR]),
        ("a reset of stream 0", frame(RST_STREAM, 0, 0, &[0; 4]), &[PROTOCOL_ERROR]),
        (
            "a reset of another size",
            [open.clone(), frame(RST_STREAM, 0, 1, &[0; 5])].concat(),
            &[FRAME_SIZE_ERROR],
        ),
        ("settings on a stream", frame(SETTINGS, 0, 1, &[]), &[PROTOCOL_ERROR]),
        ("settings of another size", frame(SETTINGS, 0, 0, &[0; 7]), &[FRAME_SIZE_ERROR]),
        ("an answer to settings with some", frame(SETTINGS, END, 0, &[0; 6]), &[FRAME_SIZE_ERROR]),
        ("a frame size that may not be", frame(SETTINGS, 0, 0, &[0, 5, 0, 0, 0, 1]), &[PROTOCOL_ERROR]),
        (
            "a window that may not be",
            frame(SETTINGS, 0, 0, &[0, 4, 255, 255, 255, 255]),
            &[FLOW_CONTROL_ERROR, PROTOCOL_ERROR],
        ),
        ("a push that may not be", frame(SETTINGS, 0, 0, &[0, 2, 0, 0, 0, 2]), &[PROTOCOL_ERROR]),
        ("a ping on a stream", frame(PING, 0, 1, &[0; 8]), &[PROTOCOL_ERROR]),
        ("a ping of another size", frame(PING, 0, 0, &[0; 7]), &[FRAME_SIZE_ERROR]),
        ("a goaway on a stream", frame(GOAWAY, 0, 1, &[0; 8]), &[PROTOCOL_ERROR]),
        ("no room at all", frame(WINDOW_UPDATE, 0, 0, &[0; 4]), &[PROTOCOL_ERROR]),
        (
            "no room for a stream",
            [open.clone(), frame(WINDOW_UPDATE, 0, 1, &[0; 4])].concat(),
            &[PROTOCOL_ERROR],
        ),
        (
            "more room than there can be",
            frame(WINDOW_UPDATE, 0, 0, &0x7fff_ffff_u32.to_be_bytes()),
            &[FLOW_CONTROL_ERROR],
        ),
        ("room of another size", frame(WINDOW_UPDATE, 0, 0, &[0; 3]), &[FRAME_SIZE_ERROR]),
        ("room for a stream that never was", frame(WINDOW_UPDATE, 0, 7, &[0, 0, 0, 1]), &[PROTOCOL_ERROR]),
        ("a continuation of nothing", frame(CONTINUATION, END_HEADERS, 1, &get("/")), &[PROTOCOL_ERROR]),
        (
            "something within a head",
            [frame(HEADERS, END, 1, &get("/")), frame(PING, 0, 0, &[0; 8])].concat(),
            &[PROTOCOL_ERROR],
        ),
        (
            "another stream's continuation",
            [frame(HEADERS, END, 1, &get("/")), frame(CONTINUATION, END_HEADERS, 3, &[])].concat(),
            &[PROTOCOL_ERROR],
        ),
        ("a promise of the client's", frame(5, END_HEADERS, 1, &[0, 0, 0, 2]), &[PROTOCOL_ERROR]),
        ("padding beyond the frame", frame(DATA, 8, 1, &[9, 0]), &[PROTOCOL_ERROR]),
        ("an index that is not there", frame(HEADERS, 5, 1, &[0xff, 0x7f]), &[COMPRESSION_ERROR]),
        ("an integer without an end", frame(HEADERS, 5, 1, &[0xff; 20]), &[COMPRESSION_ERROR]),
        (
            "a table that may not be",
            frame(HEADERS, 5, 1, &[&[0x3f, 0xff, 0xff, 0x7f][..], &get("/")].concat()),
            &[COMPRESSION_ERROR],
        ),
        ("a text without an end", frame(HEADERS, 5, 1, &[0, 0x7f, 9, b'a']), &[COMPRESSION_ERROR]),
        ("data behind the end", [request, frame(DATA, 0, 1, b"x")].concat(), &[STREAM_CLOSED]),
    ];
    for (what, bytes, codes) in tables {
        // Behind the end of a stream, either it or the connection may be taken to task.
        if *what == "data behind the end" {
            let mut client = attacked.client();
            client.client.send(bytes);
            let said = client.next(&[RST_STREAM, GOAWAY]);
            assert!(said.code() == PROTOCOL_ERROR || codes.contains(&said.code()), "{what}: {said:?}");
            attacked.goes_on();
        } else {
            attacked.ends(what, bytes, codes);
        }
    }
}

#[test]
fn frames_that_break_the_rules_of_a_stream_end_that() {
    let mut attacked = attacked();
    let open = frame(HEADERS, END_HEADERS, 1, &get("/never"));
    let head = |fields: &[(&str, &str)]| {
        let base = [(":method", "GET"), (":scheme", "http"), (":authority", "test"), (":path", "/")];
        frame(HEADERS, END | END_HEADERS, 1, &block(&[&base[..], fields].concat()))
    };
    let bare = |fields: &[(&str, &str)]| frame(HEADERS, END | END_HEADERS, 1, &block(fields));
    let update = |by: u32| frame(WINDOW_UPDATE, 0, 1, &by.to_be_bytes());
    let tables: &[(&str, Vec<u8>, &[u32])] = &[
        ("more room than there can be", [open.clone(), update(0x7fff_ffff)].concat(), &[FLOW_CONTROL_ERROR]),
        ("a name in upper case", head(&[("Name", "value")]), &[PROTOCOL_ERROR]),
        ("a field of the connection", head(&[("connection", "close")]), &[PROTOCOL_ERROR]),
        ("a framing of HTTP/1", head(&[("transfer-encoding", "chunked")]), &[PROTOCOL_ERROR]),
        ("te", head(&[("te", "gzip")]), &[PROTOCOL_ERROR]),
        ("a second path", head(&[(":path", "/")]), &[PROTOCOL_ERROR]),
        ("a status", head(&[(":status", "200")]), &[PROTOCOL_ERROR]),
        ("an unknown one", head(&[(":what", "200")]), &[PROTOCOL_ERROR]),
        ("one behind the others", head(&[("a", "b"), (":protocol", "x")]), &[PROTOCOL_ERROR]),
        (
            "no path",
            bare(&[(":method", "GET"), (":scheme", "http"), (":authority", "test")]),
            &[PROTOCOL_ERROR],
        ),
        (
            "an empty path",
            bare(&[(":method", "GET"), (":scheme", "http"), (":authority", "test"), (":path", "")]),
            &[PROTOCOL_ERROR],
        ),
        (
            "no method",
            bare(&[(":scheme", "http"), (":authority", "test"), (":path", "/")]),
            &[PROTOCOL_ERROR],
        ),
        (
            "a path that is none",
            bare(&[(":method", "GET"), (":scheme", "http"), (":authority", "test"), (":path", "a b")]),
            &[PROTOCOL_ERROR],
        ),
        ("a line end in a value", head(&[("a", "b\r\nc: d")]), &[PROTOCOL_ERROR]),
        ("a length and no body", head(&[("content-length", "5")]), &[PROTOCOL_ERROR]),
        ("a length that is none", head(&[("content-length", "x")]), &[PROTOCOL_ERROR]),
    ];
    for (what, bytes, codes) in tables {
        attacked.resets(what, bytes, codes);
    }
    // A body that is not as long as it is said to be.
    let post = block(&[
        (":method", "POST"),
        (":scheme", "http"),
        (":authority", "test"),
        (":path", "/never"),
        ("content-length", "5"),
    ]);
    let post = frame(HEADERS, END_HEADERS, 1, &post);
    for (what, data) in [
        ("a longer body", frame(DATA, 0, 1, b"hello world")),
        ("a shorter one", frame(DATA, END, 1, b"hell")),
    ] {
        attacked.resets(what, &[post.clone(), data].concat(), &[PROTOCOL_ERROR]);
    }
    // The same requests had no answer.
    let counted = attacked.server.counters.requests.get();
    attacked.goes_on();
    assert_eq!(attacked.server.counters.requests.get(), counted + 2);
}

#[test]
fn what_is_not_known_and_what_does_not_matter_is_ignored() {
    let mut attacked = attacked();
    let mut client = attacked.client();
    for bytes in [
        frame(0xbb, 0xff, 0, b"unknown"),
        frame(0xbb, 0xff, 99, b"unknown"),
        frame(PRIORITY, 0, 1, &[0, 0, 0, 9, 255]),
        frame(PRIORITY, 0, 77, &[128, 0, 0, 3, 0]),
        // A setting that nobody knows.
        frame(SETTINGS, 0, 0, &[0xff, 0xff, 1, 2, 3, 4]),
        // An answer to no question, and bits that nobody uses.
        frame(PING, END, 0, b"answered"),
        frame(PING, 0xfe, 0, b"question"),
    ] {
        client.client.send(bytes);
    }
    assert_eq!(client.get(1, "/").body(1), (b"fine".to_vec(), None));
    // A head in pieces, padded, with a priority.
    let fields = get("/");
    let (first, rest) = fields.split_at(7);
    let first = [&[3, 0, 0, 0, 0, 10][..], first, &[0; 3]].concat();
    client.send(HEADERS, END | 0x28, 3, &first).send(CONTINUATION, 0, 3, &[]);
    client.send(CONTINUATION, END_HEADERS, 3, rest);
    assert_eq!(client.body(3), (b"fine".to_vec(), None));
    // Room for a stream that is over.
    client.send(WINDOW_UPDATE, 0, 3, &[0, 0, 0, 1]).reset(3, CANCEL);
    assert_eq!(client.get(5, "/").body(5), (b"fine".to_vec(), None));
    attacked.goes_on();
}

#[test]
fn more_data_than_there_is_room_for_ends_the_connection() {
    let mut attacked = attacked();
    let mut client = attacked.client();
    client.send(HEADERS, END_HEADERS, 1, &get("/never"));
    client.client.stream.set_write_timeout(Some(SHORT)).expect("a timeout");
    let data = frame(DATA, 0, 1, &[0; 16_384]);
    // A quarter of a megabyte is allowed, a megabyte on all streams.
    let mut sent = 0;
    while sent < 8 * 1024 * 1024 && client.client.stream.write_all(&data).is_ok() {
        sent += data.len();
    }
    let said = client.rest();
    let said = said.iter().find(|frame| frame.kind == RST_STREAM || frame.kind == GOAWAY).expect("a word");
    assert_eq!(said.code(), FLOW_CONTROL_ERROR);
    attacked.goes_on();
}

#[test]
fn a_head_too_large_is_refused_and_takes_no_memory() {
    alone("http2::abuse::a_head_too_large_is_refused_and_takes_no_memory", || {
        let options = ServerOptions { max_head_bytes: 8 * 1024, ..ServerOptions::default() };
        let mut attacked = attacked_with(options);
        let base = [(":method", "GET"), (":scheme", "http"), (":authority", "test"), (":path", "/")];
        // One field that is too long by itself, and many that are together.
        let long = "x".repeat(10_000);
        let many: Vec<(String, &str)> = (0..500).map(|n| (format!("field-{n}"), "x")).collect();
        let many: Vec<(&str, &str)> = many.iter().map(|(name, value)| (&**name, *value)).collect();
        for fields in [&[("field", &*long)][..], &many] {
            let block = block(&[&base[..], fields].concat());
            let mut client = attacked.client();
            client.send(HEADERS, END | END_HEADERS, 1, &block[..block.len().min(16_384)]);
            let answer = client.next(&[HEADERS, RST_STREAM, GOAWAY]);
            // A status, and no request: 431 by the library's own word, or the stream's or the
            // connection's end.
            if answer.kind == HEADERS {
                assert!(answer.ends(), "{answer:?}");
                assert_eq!(client.get(3, "/").body(3), (b"fine".to_vec(), None));
            }
            attacked.goes_on();
        }
        // A bomb: one long field in the table, named a thousand times (RFC 7541, 7.3).
        let mut bomb = block(&base);
        bomb.extend([0x40, 1, b'a', 0x7f]);
        let value = [b'v'; 3_900];
        // 3900 - 127 = 3773 = 0x1d * 128 + 0x3d
        bomb.extend([0xbd, 0x1d]);
        bomb.extend(value);
        bomb.extend([0xbe; 12_000]);
        let before = memory();
        for _ in 0..10 {
            let mut client = attacked.client();
            client.send(HEADERS, END | END_HEADERS, 1, &bomb);
            let answer = client.next(&[HEADERS, RST_STREAM, GOAWAY]);
            assert!(answer.kind != HEADERS || answer.ends(), "{answer:?}");
        }
        // Each would have been 47 MB.
        let grown = memory().saturating_sub(before);
        assert!(grown < 40 * 1024 * 1024, "{grown} bytes more");
        let served = attacked.server.counters.requests.get();
        attacked.goes_on();
        assert_eq!(attacked.server.counters.requests.get(), served + 2);
    });
}

/// A client that opens streams, takes nothing, and changes its mind about its windows.
#[test]
fn windows_that_shrink_and_grow_lose_no_byte() {
    let mut attacked = attacked();
    let mut client = Framed::over(attacked.server.client(), &[(4, 100_000)]);
    client.get(1, "/large");
    let mut body = Vec::new();
    // The connection's first window: 65,535.
    while body.len() < 65_535 {
        body.extend(client.next(&[DATA]).payload);
    }
    client.send(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 10]);
    client.send(WINDOW_UPDATE, 0, 0, &0x3fff_0000_u32.to_be_bytes());
    // 90 kB less than nothing, then a byte, then all.
    client.send(WINDOW_UPDATE, 0, 1, &65_526_u32.to_be_bytes());
    let one = client.next(&[DATA, RST_STREAM]);
    assert_eq!((one.kind, one.payload.len()), (DATA, 1), "{one:?}");
    body.extend(one.payload);
    client.send(SETTINGS, 0, 0, &[0, 4, 0x3f, 0xff, 0, 0]);
    let (rest, reset) = client.body(1);
    body.extend(rest);
    assert_eq!(reset, None);
    crate::support::assert_same(&body, &noise(3, 1_000_000), "the body");
    attacked.goes_on();
}

#[test]
fn connections_that_stop_in_the_middle_of_a_frame_end_in_time() {
    let options =
        ServerOptions { keep_alive_timeout: SHORT, stall_timeout: SHORT, ..ServerOptions::default() };
    let server = serve_h2(options, |_| async { Ok(text("fine")) });
    let request = frame(HEADERS, END | END_HEADERS, 1, &get("/"));
    let open = frame(HEADERS, END, 1, &get("/"));
    let post = frame(HEADERS, END_HEADERS, 1, &get("/"));
    let data = frame(DATA, 0, 1, &[0; 1000]);
    let begun = Instant::now();
    let mut clients = Vec::new();
    for bytes in [&request[..3], &request[..9], &request[..20], &open, &[&post[..], &data[..500]].concat()] {
        for _ in 0..20 {
            let mut client = Framed::wide(server.client());
            client.client.send(bytes);
            clients.push(client);
        }
    }
    for client in &mut clients {
        client.rest();
    }
    assert!(begun.elapsed() >= SHORT);
    assert_eq!(Framed::wide(server.client()).get(1, "/").body(1).0, b"fine");
}

/// They may break off, too.
#[test]
fn connections_that_break_off_anywhere_leave_nothing_behind() {
    let options = ServerOptions { max_connections: 4, ..ServerOptions::default() };
    let server = serve_h2(options, |_| async { Ok(text(vec![7; 100_000])) });
    let request = [PREFACE, &frame(SETTINGS, 0, 0, &[]), &frame(HEADERS, 5, 1, &get("/"))].concat();
    for end in 0..request.len() {
        let mut client = server.client();
        client.send(&request[..end]);
        if end % 2 == 0 {
            client.reset();
        }
    }
    // Each was given its place, which would be used up if one of them still had it.
    assert_eq!(Framed::wide(server.client()).get(1, "/").body(1).0.len(), 100_000);
}
