//! Responses and connections: framing by version and method, what persists and what closes.

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, DATE, ETAG};
use http::{HeaderValue, Method, StatusCode};
use outflow_wire::SendPath;

use crate::support::{body_of, serve, text};

/// Answers with the request's path.
fn path_server() -> crate::support::Running {
    serve(|request| {
        let path = request.uri().path().to_owned();
        async move { Ok(text(path)) }
    })
}

#[test]
fn a_connection_serves_one_request_after_the_other() {
    let server = path_server();
    let mut client = server.client();
    for i in 0..50 {
        let reply = client.request("GET", &format!("/{i}"), "").reply();
        assert_eq!((reply.status, reply.text()), (200, &*format!("/{i}")));
        assert_eq!(reply.find("connection"), None);
    }
    assert_eq!(server.counters.connections.get(), 1);
    assert_eq!(server.counters.requests.get(), 50);
}

#[test]
fn pipelined_requests_are_answered_in_their_order() {
    let server = path_server();
    let requests: String =
        (0..500).map(|i| format!("GET /{i} HTTP/1.1\r\nHost: x\r\nA: {}\r\n\r\n", "a".repeat(200))).collect();
    let mut client = server.client();
    client.send(requests).finish();
    for i in 0..500 {
        assert_eq!(client.reply().text(), format!("/{i}"));
    }
    client.expect_closed();
}

#[test]
fn a_head_may_come_byte_by_byte() {
    let server = path_server();
    let mut client = server.client();
    for _ in 0..2 {
        for byte in b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n" {
            client.send([*byte]);
        }
        assert_eq!(client.reply().text(), "/slow");
    }
}

#[test]
fn close_is_honoured_whoever_says_it() {
    let server = serve(|request| async move {
        let mut response = text("bye");
        if request.uri().path() == "/server" {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        Ok(response)
    });
    for (path, line) in [("/client", "Connection: close\r\n"), ("/server", "")] {
        let mut client = server.client();
        let reply = client.request("GET", path, line).request("GET", "/next", "").reply();
        assert_eq!((reply.text(), reply.find("connection")), ("bye", Some("close")));
        client.expect_closed();
    }
}

#[test]
fn http_1_0_closes_unless_it_is_asked_to_keep() {
    let server = path_server();
    let mut client = server.client();
    for _ in 0..2 {
        let reply = client.send("GET /kept HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").reply();
        assert_eq!((reply.text(), reply.find("connection")), ("/kept", Some("keep-alive")));
    }
    let reply = client.send("GET /last HTTP/1.0\r\n\r\n").reply();
    assert_eq!((reply.text(), reply.find("connection")), ("/last", Some("close")));
    client.expect_closed();
}

#[test]
fn a_body_of_unknown_length_leaves_in_chunks() {
    let server = serve(|_| async {
        let mut response = text("");
        *response.body_mut() = body_of([Ok("one"), Ok(""), Ok(" two"), Ok(" three")]);
        Ok(response)
    });
    let mut client = server.client();
    for _ in 0..2 {
        let reply = client.request("GET", "/", "").try_reply(false).expect("a whole response");
        assert_eq!(reply.find("transfer-encoding"), Some("chunked"));
        assert_eq!(reply.find("content-length"), None);
        assert_eq!(reply.text(), "one two three");
    }
}

#[test]
fn http_1_0_gets_a_body_of_unknown_length_up_to_the_close() {
    let server = serve(|_| async {
        let mut response = text("");
        *response.body_mut() = body_of([Ok("one"), Ok(" two")]);
        Ok(response)
    });
    let mut client = server.client();
    let reply = client
        .send("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        .try_reply(false)
        .expect("a whole response");
    assert_eq!(reply.find("transfer-encoding"), None);
    assert_eq!(reply.find("content-length"), None);
    assert_eq!(reply.find("connection"), Some("close"));
    assert_eq!(reply.text(), "one two");
}

#[test]
fn head_says_what_get_would_and_sends_no_body() {
    let server = serve(|request| async move {
        let mut response = text("hello");
        match request.uri().path() {
            "/announced" => {
                *response.body_mut() = body_of([]);
                response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from_static("123456789012"));
            }
            "/stream" => *response.body_mut() = body_of([Ok("hello")]),
            _ => {}
        }
        Ok(response)
    });
    let mut client = server.client();
    for (path, length) in [("/exact", Some("5")), ("/announced", Some("123456789012")), ("/stream", None)] {
        client.send(format!("HEAD {path} HTTP/1.1\r\nHost: x\r\n\r\n"));
        let reply = client.reply_to_head();
        assert_eq!((reply.status, reply.find("content-length")), (200, length), "{path}");
    }
    // Not one byte of a body stands between these heads.
    assert_eq!(client.request("GET", "/", "").reply().text(), "hello");
}

#[test]
fn no_content_and_not_modified_have_no_body() {
    let server = serve(|request| async move {
        let mut response = text("must not be seen");
        *response.status_mut() = match request.uri().path() {
            "/204" => StatusCode::NO_CONTENT,
            _ => StatusCode::NOT_MODIFIED,
        };
        response.headers_mut().insert(ETAG, HeaderValue::from_static("\"v1\""));
        Ok(response)
    });
    let mut client = server.client();
    for (path, length) in [("/204", None), ("/304", Some("16")), ("/204", None)] {
        let reply = client.request("GET", path, "").reply();
        assert_eq!((reply.find("etag"), reply.find("content-length")), (Some("\"v1\""), length));
        assert_eq!(reply.find("transfer-encoding"), None);
        assert_eq!(reply.body, b"");
    }
}

#[test]
fn every_answer_has_one_date() {
    let server = serve(|request| async move {
        let mut response = text("");
        if request.uri().path() == "/own" {
            let date = HeaderValue::from_static("Sun, 06 Nov 1994 08:49:37 GMT");
            response.headers_mut().insert(DATE, date);
        }
        Ok(response)
    });
    let mut client = server.client();
    let before = std::time::SystemTime::now() - std::time::Duration::from_secs(2);
    let reply = client.request("GET", "/", "").reply();
    let date = httpdate::parse_http_date(reply.find("date").expect("a date")).expect("an HTTP date");
    assert!(before <= date && date <= std::time::SystemTime::now(), "{date:?}");
    assert_eq!(client.request("GET", "/own", "").reply().find("date"), Some("Sun, 06 Nov 1994 08:49:37 GMT"));
    let refusal = server.client().send("nonsense\r\n").reply();
    assert!(refusal.find("date").is_some());
}

#[test]
fn the_service_cannot_contradict_the_framing() {
    let server = serve(|_| async {
        let mut response = text("hello");
        let headers = response.headers_mut();
        headers.insert(http::header::TRANSFER_ENCODING, HeaderValue::from_static("gzip"));
        headers.append(CONTENT_LENGTH, HeaderValue::from_static("5"));
        headers.append(CONTENT_LENGTH, HeaderValue::from_static("5"));
        Ok(response)
    });
    let reply = server.client().request("GET", "/", "").reply();
    assert_eq!((reply.find("content-length"), reply.text()), (Some("5"), "hello"));
    assert_eq!(reply.find("transfer-encoding"), None);
}

#[test]
fn large_bodies_in_memory_come_whole_on_a_connection_that_goes_on() {
    let body = Bytes::from(crate::support::noise(7, 3_000_001));
    let sizes = [1, 40_000, 49_151, 49_152, 49_153, 65_536, 3_000_001];
    let all = body.clone();
    let server = serve(move |request| {
        let len: usize = request.uri().path()[1..].parse().expect("a length");
        let body = all.slice(..len);
        async move { Ok(text(body)) }
    });
    let mut client = server.client();
    for len in sizes {
        let reply = client.request("GET", &format!("/{len}"), "").reply();
        crate::support::assert_same(&reply.body, &body[..len], "body");
    }
    let counters = server.counted();
    assert_eq!(counters.body.of(SendPath::Copy).get(), sizes.iter().sum::<usize>() as u64);
    assert_eq!(counters.body.of(SendPath::Sendfile).get(), 0);
}

#[test]
fn options_asterisk_and_absolute_targets_are_understood() {
    let server = serve(|request| async move {
        assert!(request.method() == Method::OPTIONS || request.method() == Method::GET);
        Ok(text(request.uri().to_string()))
    });
    let mut client = server.client();
    for target in ["*", "http://example.org/a?b", "http://example.org"] {
        let method = if target == "*" { "OPTIONS" } else { "GET" };
        let reply = client.send(format!("{method} {target} HTTP/1.1\r\nHost: example.org\r\n\r\n")).reply();
        assert_eq!(reply.text().trim_end_matches('/'), target);
    }
}

#[test]
fn the_service_cannot_contradict_what_becomes_of_the_connection() {
    let server = serve(|_| async {
        let mut response = text("kept?");
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("keep-alive"));
        Ok(response)
    });
    let mut client = server.client();
    let reply = client.request("GET", "/", "Connection: close\r\n").reply();
    assert_eq!((reply.text(), reply.find("connection")), ("kept?", Some("close")));
    client.expect_closed();
}

#[test]
fn an_interim_status_is_no_final_response() {
    for status in [StatusCode::SWITCHING_PROTOCOLS, StatusCode::EARLY_HINTS] {
        let server = serve(move |_| async move {
            let mut response = text("");
            *response.status_mut() = status;
            Ok(response)
        });
        let mut client = server.client();
        assert_eq!(client.request("GET", "/", "").reply().status, 500, "{status}");
        client.expect_closed();
    }
}

#[test]
fn a_body_that_fails_is_cut_without_its_final_chunk() {
    let server = serve(|_| async { Ok(text("").map(|_| body_of([Ok("one"), Err("broken")]))) });
    let mut client = server.client();
    client.request("GET", "/", "");
    let received = client.expect_cut(usize::MAX);
    assert!(!String::from_utf8_lossy(&received).contains("0\r\n\r\n"), "{}", received.escape_ascii());
}

#[test]
fn a_close_delimited_body_that_fails_ends_with_an_rst() {
    let server = serve(|_| async { Ok(text("").map(|_| body_of([Ok("one"), Err("broken")]))) });
    let mut client = server.client();
    client.send("GET / HTTP/1.0\r\n\r\n");
    client.expect_cut(usize::MAX);
}
