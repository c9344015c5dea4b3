//! Channels by WebSocket: frames both ways, and what becomes of those that may not be.

use super::delivery::{PUBLISH, await_count, publish, setup};
use crate::support::{FileTree, HttpClient, Server};

/// The handshake of RFC 6455, 1.3, without its end.
const ASK: &str = "Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

#[track_caller]
fn connect(server: &Server, path: &str, lines: &str) -> HttpClient {
    let mut client = server.client();
    let head = client.request("GET", path, &format!("{ASK}{PUBLISH}{lines}")).head().expect(101);
    for (name, value) in [
        ("upgrade", "websocket"),
        ("connection", "Upgrade"),
        ("sec-websocket-accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
    ] {
        assert_eq!(head.header(name), value);
    }
    client
}

/// A short frame of a client.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let key = [7, 77, 177, 250];
    let mut frame = vec![first, 0x80 | u8::try_from(payload.len()).unwrap()];
    frame.extend(key);
    frame.extend(payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key));
    frame
}

/// The very next frame: its first byte and its payload. Heartbeats come when they are due: pings of
/// the server's.
#[track_caller]
fn next(client: &mut HttpClient) -> (u8, Vec<u8>) {
    let head = client.take(2).unwrap();
    let len = match head[1] {
        126 => u16::from_be_bytes(client.take(2).unwrap().try_into().unwrap()).into(),
        127 => u64::from_be_bytes(client.take(8).unwrap().try_into().unwrap()),
        short => short.into(),
    };
    let payload = client.take(usize::try_from(len).unwrap()).unwrap();
    if head[0] == 0x89 { next(client) } else { (head[0], payload) }
}

#[track_caller]
fn expect_text(client: &mut HttpClient, text: &str) {
    let (first, payload) = next(client);
    assert_eq!((first, String::from_utf8(payload).unwrap().as_str()), (0x81, text));
}

/// A close frame with this code comes, and the end.
#[track_caller]
fn expect_farewell(client: &mut HttpClient, code: u16) {
    let (first, payload) = next(client);
    assert_eq!(first, 0x88);
    assert_eq!(payload[..2], code.to_be_bytes(), "{}", String::from_utf8_lossy(&payload[2..]));
    client.expect_closed();
}

#[test]
fn events_are_frames_of_text_with_all_that_they_have() {
    let tree = FileTree::new();
    let server = setup(&tree).start();
    let mut client = connect(&server, "/channels/a", "");
    await_count(&server, "/channels/a", 1);
    let long = "ä\n".repeat(30_000);
    let first = publish(&server, "/channels/a?event=up", "x\"y");
    let second = publish(&server, "/channels/a", &"x".repeat(200));
    let third = publish(&server, "/channels/a", &long[..65_535]);
    let events = [
        format!(r#"{{"id":"{first}","event":"up","data":"x\"y"}}"#),
        format!(r#"{{"id":"{second}","data":"{}"}}"#, "x".repeat(200)),
        format!(r#"{{"id":"{third}","data":"{}"}}"#, long[..65_535].replace('\n', "\\n")),
    ];
    events.iter().for_each(|event| expect_text(&mut client, event));
    // Back again, and behind.
    let mut client = connect(&server, &format!("/channels/a?last_event_id={second}"), "");
    expect_text(&mut client, &events[2]);
    let mut client = connect(&server, "/channels/a", "Last-Event-ID: 1-1\r\n");
    expect_text(&mut client, r#"{"event":"missed","data":""}"#);
    events.iter().for_each(|event| expect_text(&mut client, event));
    server.fetch("DELETE", "/channels/a", PUBLISH).expect(200);
    expect_farewell(&mut client, 1000);
}

#[test]
fn pings_are_answered_and_farewells_too() {
    let tree = FileTree::new();
    let server = setup(&tree).start();
    let mut client = connect(&server, "/channels/a", "");
    // One frame in three parts, and three in one.
    let ping = frame(0x89, b"hello");
    for part in [&ping[..1], &ping[1..8], &ping[8..]] {
        client.send(part);
    }
    assert_eq!(next(&mut client), (0x8a, b"hello".to_vec()));
    client.send([frame(0x8a, b"unasked"), frame(0x89, b""), frame(0x89, &[1; 125])].concat());
    assert_eq!(next(&mut client), (0x8a, Vec::new()));
    assert_eq!(next(&mut client), (0x8a, vec![1; 125]));
    let id = publish(&server, "/channels/a", "x");
    expect_text(&mut client, &format!(r#"{{"id":"{id}","data":"x"}}"#));
    client.send(frame(0x88, b"\x03\xe8bye"));
    expect_farewell(&mut client, 1000);
    await_count(&server, "/channels/a", 0);
}

#[test]
fn what_a_subscriber_may_not_say_ends_it_with_the_reason() {
    let tree = FileTree::new();
    let server = setup(&tree).start();
    let endless = [&[0x82, 0xff][..], &(1_u64 << 40).to_be_bytes(), &[0; 4]].concat();
    let flood = frame(0x89, b"x").repeat(10_000);
    for (bytes, code) in [
        (&b"\x81\x02hi"[..], 1002),
        (&b"GET / HTTP/1.1\r\n\r\n"[..], 1002),
        (&frame(0xc1, b"compressed"), 1002),
        (&frame(0x09, b"in parts"), 1002),
        (&frame(0x81, b"hi"), 1003),
        (&frame(0x82, b""), 1003),
        (&endless, 1009),
    ] {
        let mut client = connect(&server, "/channels/a", "");
        client.send(bytes);
        expect_farewell(&mut client, code);
        server.log_line(&["subscriber closed", &code.to_string()]);
    }
    // A client that requests too much at once is served or closed, and no memory grows.
    let mut client = connect(&server, "/channels/a", "");
    let _ = std::io::Write::write(&mut client.stream, &flood);
    let mut piece = [0; 1 << 12];
    while client.read(&mut piece).is_ok_and(|n| n > 0) {}
    await_count(&server, "/channels/a", 0);
}

#[test]
fn what_is_no_handshake_is_refused_and_pages_of_others_as_well() {
    let tree = FileTree::new();
    let server = setup(&tree).args(["--channel-origin", "https://app.example"]).start();
    let without = |line: &str| ASK.replace(line, "");
    for (lines, status) in [
        (ASK.replace("13", "8"), 426),
        (without("Sec-WebSocket-Version: 13\r\n"), 426),
        (without("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"), 400),
        (ASK.replace("dGhlIHNhbXBsZSBub25jZQ==", "c2hvcnQ="), 400),
        (format!("{ASK}Origin: https://evil.example\r\n"), 403),
        (format!("{ASK}Origin: null\r\n"), 403),
    ] {
        let mut client = server.client();
        let reply = client.fetch("GET", "/channels/a", &format!("{lines}{PUBLISH}")).expect(status);
        assert_eq!(reply.find("sec-websocket-version"), (status == 426).then_some("13"), "{lines}");
    }
    connect(&server, "/channels/a", "Origin: http://test\r\n");
    connect(&server, "/channels/a", "Origin: https://app.example\r\n");
    let reply = server.fetch("OPTIONS", "/channels/a", "Origin: https://app.example\r\n").expect(204);
    assert_eq!(reply.header("access-control-allow-origin"), "https://app.example");
    let reply =
        server.fetch("GET", "/channels/a?count", &format!("{PUBLISH}Origin: https://evil.example\r\n"));
    assert_eq!(reply.expect(200).find("access-control-allow-origin"), None);
    // Frames before the handshake's end are none.
    let mut client = server.client();
    client
        .send(format!("GET /channels/a HTTP/1.1\r\nHost: test\r\n{ASK}{PUBLISH}\r\n\u{9}"))
        .head()
        .expect(101);
    client.expect_closed();
    await_count(&server, "/channels/a", 0);
}
