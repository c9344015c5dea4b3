//! What is not HTTP, or could be understood in two ways, is refused, and nothing behind it is
//! answered.

use std::sync::Arc;

use http::{Response, StatusCode};
use http_body_util::BodyExt as _;
use parking_lot::Mutex;

use crate::support::{AnyBody, Running, serve, text};

const SECOND: &str = "GET /second HTTP/1.1\r\nHost: x\r\n\r\n";

/// A server that reads each request's body and answers with it; a malformed one gets 400. The
/// targets it saw are written down.
fn reading_server() -> (Running, Arc<Mutex<Vec<String>>>) {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let list = Arc::clone(&seen);
    let server = serve(move |request| {
        list.lock().push(request.uri().to_string());
        async move {
            Ok(match request.into_body().collect().await {
                Ok(body) => text(body.to_bytes()),
                Err(error) => status(400, error.to_string()),
            })
        }
    });
    (server, seen)
}

fn status(status: u16, body: String) -> Response<AnyBody> {
    let mut response = text(body);
    *response.status_mut() = StatusCode::from_u16(status).expect("a status");
    response
}

/// Sends `request` and a good one behind it. Wants one answer of this status and the connection
/// closed.
#[track_caller]
fn assert_refused(server: &Running, request: &[u8], status: u16) {
    let shown = request[..request.len().min(120)].escape_ascii();
    let mut client = server.client();
    client.send([request, SECOND.as_bytes()].concat());
    let reply = client.reply();
    assert_eq!(reply.status, status, "{shown}: {reply:?}");
    assert_eq!(reply.find("connection"), Some("close"), "{shown}");
    assert!(!reply.body.is_empty(), "{shown}: no reason given");
    client.expect_closed();
}

#[test]
fn malformed_heads_are_refused_and_what_follows_is_not_answered() {
    let (server, seen) = reading_server();
    let table: [(&str, u16); 43] = [
        // Line ends.
        ("GET / HTTP/1.1\nHost: x\n\n", 400),
        ("GET / HTTP/1.1\nHost: x\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: x\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: x\r\n\n", 400),
        ("GET / HTTP/1.1\rHost: x\r\r", 400),
        ("GET / HTTP/1.1\r\nHost: x\r\nA: b\rc: d\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: x\r\nA: b\r\r\n\r\n", 400),
        ("\nGET / HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        // Fields.
        ("GET / HTTP/1.1\r\nHost: x\r\nA: b\r\n c\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: x\r\nA: b\r\n\tc\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\n A: b\r\nHost: x\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost : x\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: x\r\nContent-Length : 5\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: x\r\nno colon\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: x\r\n: no name\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: x\r\nA(b): c\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: x\r\nA: \0\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: x\r\nA: \x07\r\n\r\n", 400),
        // Host.
        ("GET / HTTP/1.1\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: x\r\nhost: y\r\n\r\n", 400),
        ("GET / HTTP/1.0\r\nHost: x\r\nHost: y\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: x, y\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: user@x\r\n\r\n", 400),
        // The request line.
        ("GET  / HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (" GET / HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        ("GET / HTTP/1.1 \r\nHost: x\r\n\r\n", 400),
        ("GET /\r\nHost: x\r\n\r\n", 400),
        ("GET / HTTP/0.9\r\nHost: x\r\n\r\n", 505),
        ("GET / HTTP/1.2\r\nHost: x\r\n\r\n", 505),
        ("GET / http/1.1\r\nHost: x\r\n\r\n", 505),
        ("G<T / HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        ("GET x HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        ("GET * HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        ("GET /a\0b HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        ("CONNECT /path HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        // Other protocols.
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
        ("SSH-2.0-OpenSSH_9.2\r\n", 400),
        ("EHLO mail.example\r\n", 400),
        ("\0\x01\x02\x03\x04\x05\x06\x07\r\n\r\n", 400),
        ("{\"json\": true}\r\n\r\n", 400),
        // What the engine cannot do.
        ("GET / HTTP/1.1\r\nHost: x\r\nExpect: a-miracle\r\n\r\n", 417),
    ];
    for (request, status) in table {
        assert_refused(&server, request.as_bytes(), status);
    }
    assert_eq!(*seen.lock(), [""; 0], "the service saw a request");
    assert_eq!(server.counters.refused.get(), table.len() as u64);
    assert_eq!(server.counters.requests.get(), 0);
}

#[test]
fn a_body_whose_end_is_in_doubt_is_refused() {
    let (server, seen) = reading_server();
    let table: [(&str, u16); 22] = [
        ("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", 400),
        ("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", 400),
        ("Content-Length: 5\r\nContent-Length: 5\r\n", 400),
        ("Content-Length: 5\r\nContent-Length: 6\r\n", 400),
        ("Content-Length: 5, 5\r\n", 400),
        ("Content-Length: 5,\r\n", 400),
        ("Content-Length: +5\r\n", 400),
        ("Content-Length: -5\r\n", 400),
        ("Content-Length: 0x5\r\n", 400),
        ("Content-Length: 5 \t5\r\n", 400),
        ("Content-Length: 5.0\r\n", 400),
        ("Content-Length: \"5\"\r\n", 400),
        ("Content-Length:\r\n", 400),
        ("Content-Length: five\r\n", 400),
        ("Content-Length: 18446744073709551616\r\n", 413),
        ("Content-Length: 99999999999999999999999999999999\r\n", 413),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", 400),
        ("Transfer-Encoding: chunked, chunked\r\n", 501),
        ("Transfer-Encoding: gzip, chunked\r\n", 501),
        ("Transfer-Encoding: chunked, gzip\r\n", 501),
        ("Transfer-Encoding: xchunked\r\n", 501),
        ("Transfer-Encoding: identity\r\n", 501),
    ];
    for (fields, status) in table {
        for body in ["", "hello", "5\r\nhello\r\n0\r\n\r\n"] {
            let request = format!("POST / HTTP/1.1\r\nHost: x\r\n{fields}\r\n{body}");
            assert_refused(&server, request.as_bytes(), status);
        }
    }
    assert_refused(&server, b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400);
    assert_eq!(*seen.lock(), [""; 0], "the service saw a request");
}

#[test]
fn malformed_chunks_fail_the_body_and_end_the_connection() {
    let (server, seen) = reading_server();
    let long_extension = format!("1;{}\r\na\r\n0\r\n\r\n", "x".repeat(2000));
    let long_trailer = format!("0\r\nA: {}\r\n\r\n", "x".repeat(2000));
    let many_trailers = format!("0\r\n{}\r\n", "A: b\r\n".repeat(3000));
    let table = [
        "\r\nhello\r\n0\r\n\r\n",
        "x\r\nhello\r\n0\r\n\r\n",
        "5\nhello\r\n0\r\n\r\n",
        "5\r\nhello\n0\r\n\r\n",
        "5\r\nhello0\r\n\r\n",
        "4\r\nhello\r\n0\r\n\r\n",
        "6\r\nhello\r\n0\r\n\r\n",
        "-5\r\nhello\r\n0\r\n\r\n",
        "+5\r\nhello\r\n0\r\n\r\n",
        "0x5\r\nhello\r\n0\r\n\r\n",
        " 5\r\nhello\r\n0\r\n\r\n",
        "5 \r\nhello\r\n0\r\n\r\n",
        "5;a\nb\r\nhello\r\n0\r\n\r\n",
        "10000000000000000\r\nhello\r\n0\r\n\r\n",
        "00000000000000005\r\nhello\r\n0\r\n\r\n",
        "5\r\nhello\r\n0\r\nA: b\n\r\n",
        "5\r\nhello\r\n0\r\n\rX",
        &long_extension,
        &long_trailer,
        &many_trailers,
    ];
    for chunks in table {
        let head = "POST /first HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
        assert_refused(&server, [head, chunks].concat().as_bytes(), 400);
    }
    assert_eq!(*seen.lock(), ["/first"; 20]);
}

#[test]
fn a_head_beyond_the_limit_is_431_and_one_at_the_limit_is_served() {
    let (server, _) = reading_server();
    let of_length = |len: usize| {
        let frame = "GET / HTTP/1.1\r\nHost: x\r\nA: \r\n\r\n".len();
        format!("GET / HTTP/1.1\r\nHost: x\r\nA: {}\r\n\r\n", "a".repeat(len - frame))
    };
    let limit = 64 * 1024;
    let mut client = server.client();
    for len in [48 * 1024 - 1, 48 * 1024, 48 * 1024 + 1, limit - 1, limit] {
        assert_eq!(client.send(of_length(len)).reply().status, 200, "{len} bytes");
    }
    for len in [limit + 1, 100_000] {
        assert_refused(&server, of_length(len).as_bytes(), 431);
    }
    // Without an end in sight, too: in one line, and in many.
    assert_refused(&server, format!("GET /{}", "a".repeat(100_000)).as_bytes(), 431);
    let lines = format!("A: {}\r\n", "a".repeat(1200)).repeat(90);
    assert_refused(&server, format!("GET / HTTP/1.1\r\nHost: x\r\n{lines}").as_bytes(), 431);
}

#[test]
fn a_hundred_fields_are_served_and_one_more_is_431() {
    let (server, _) = reading_server();
    let with_fields = |n: usize| format!("GET / HTTP/1.1\r\nHost: x\r\n{}\r\n", "A: b\r\n".repeat(n - 1));
    assert_eq!(server.client().send(with_fields(100)).reply().status, 200);
    assert_refused(&server, with_fields(101).as_bytes(), 431);
}

#[test]
fn a_tls_client_is_told_and_not_kept_waiting() {
    let (server, _) = reading_server();
    let hello = [&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3][..], &[0xab; 506]].concat();
    assert_refused(&server, &hello, 400);
    // Its first bytes alone will do: the client waits for an answer before it says more.
    let mut client = server.client();
    assert_eq!(client.send(&hello[..11]).reply().status, 400);
    client.expect_closed();
}

#[test]
fn garbage_of_any_kind_never_hangs_nor_harms_the_server() {
    let (server, seen) = reading_server();
    for seed in 1..=100 {
        let mut garbage = crate::support::noise(seed, 300);
        garbage.extend_from_slice(b"\r\n\r\n");
        assert_refused(&server, &garbage, 400);
    }
    assert_eq!(*seen.lock(), [""; 0], "the service saw a request");
    assert_eq!(server.client().send(SECOND).reply().status, 200);
}
