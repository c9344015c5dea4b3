//! Requests that are none, too long, too slow or ambiguous, through the whole binary: each is
//! answered or cut, and the next client is served as if nothing had happened.

use std::io::{Read as _, Write as _};
use std::time::Duration;

use crate::support::{FileTree, Server, Setup, noise, until};

fn tree() -> FileTree {
    let tree = FileTree::new();
    tree.file("a.txt", "public");
    tree.file("big.bin", noise(1, 32 << 20));
    tree
}

/// The status that `request` is answered with, before the connection ends.
fn answer(server: &Server, request: &[u8]) -> String {
    let mut stream = server.client().stream;
    // The server may have answered and closed before all of it is written.
    let _ = stream.write_all(request);
    let _ = stream.shutdown(std::net::Shutdown::Write);
    let (mut all, mut piece) = (Vec::new(), [0; 4096]);
    while let Ok(n @ 1..) = stream.read(&mut piece) {
        all.extend_from_slice(&piece[..n]);
    }
    String::from_utf8_lossy(&all).into_owned()
}

#[test]
fn garbage_is_answered_with_an_error_and_a_closed_connection() {
    let tree = tree();
    let server = Server::of(tree.root());
    let long = format!("GET /a.txt HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "y".repeat(100_000));
    let many = format!("GET /a.txt HTTP/1.1\r\nHost: x\r\n{}\r\n", "X-Header: some value\r\n".repeat(5_000));
    let address = format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(100_000));
    let tls = [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".as_slice(), &noise(2, 500)].concat();
    for (name, request, statuses) in [
        ("noise", &noise(1, 5000)[..], &["400", "431"][..]),
        ("TLS", &tls, &["400"]),
        ("a long field", long.as_bytes(), &["431"]),
        ("many fields", many.as_bytes(), &["431"]),
        ("a long address", address.as_bytes(), &["414", "431"]),
        ("TE and CL", b"POST /?zip HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", &["400"]),
        ("two CL", b"POST /?zip HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nfile=a", &["400"]),
        ("no Host", b"GET /a.txt HTTP/1.1\r\n\r\n", &["400"]),
        ("two Hosts", b"GET /a.txt HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", &["400"]),
        ("a bare LF", b"GET /a.txt HTTP/1.1\nHost: x\n\n", &["400"]),
        ("a folded field", b"GET /a.txt HTTP/1.1\r\nHost: x\r\nX: y\r\n z\r\n\r\n", &["400"]),
        ("a space before the colon", b"GET /a.txt HTTP/1.1\r\nHost : x\r\n\r\n", &["400"]),
        ("a NUL", b"GET /a.txt\0 HTTP/1.1\r\nHost: x\r\n\r\n", &["400"]),
        ("HTTP/2 without asking", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &["400", "505"]),
    ] {
        let answer = answer(&server, request);
        let status = answer.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)).unwrap_or("none");
        assert!(statuses.contains(&status), "{name}: {answer}");
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{name}: one answer: {answer}");
        assert!(!answer.contains("public"), "{name}");
        assert_eq!(server.get("/a.txt").expect(200).text(), "public", "after {name}");
    }
}

#[test]
fn half_a_request_harms_nobody() {
    let tree = tree();
    let server = Server::of(tree.root());
    let request = b"GET /a.txt HTTP/1.1\r\nHost: x\r\n\r\n";
    for len in 0..request.len() {
        let mut client = server.client();
        client.send(&request[..len]);
        drop(client);
    }
    assert_eq!(answer(&server, &request[..20]).matches("200 OK").count(), 0);
    // Byte by byte it is slow, but a request.
    let mut client = server.client();
    for byte in request {
        client.send([*byte]);
    }
    assert_eq!(client.reply().expect(200).text(), "public");
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let tree = tree();
    let server = Server::of(tree.root());
    let mut client = server.client();
    client
        .request("GET", "/a.txt", "")
        .request("HEAD", "/big.bin", "")
        .request("GET", "/?json", "")
        .request("GET", "/nothing", "");
    client.request("GET", "/?zip&file=a.txt", "").request("GET", "/a.txt", "Connection: close\r\n");
    assert_eq!(client.reply().expect(200).text(), "public");
    assert_eq!(client.reply_to_head().expect(200).length(), 32 << 20);
    client.reply().expect(200).json();
    client.reply().expect(404);
    assert!(client.reply().expect(200).body.starts_with(b"PK"));
    assert_eq!(client.reply().expect(200).text(), "public");
    client.expect_closed();
}

#[test]
fn a_client_that_vanishes_is_logged_with_the_bytes_that_left() {
    let tree = tree();
    let server = Server::of(tree.root());
    for (path, begun) in [("/big.bin", 1_000_000), ("/?zip", 2_000_000)] {
        let mut client = server.client();
        let head = client.request("GET", path, "").head().expect(200);
        client.take(begun).unwrap();
        client.reset();
        let line = server.delivery(path, "aborted");
        let (bytes, total) = (line["bytes"].as_u64().unwrap(), line["total"].as_u64().unwrap());
        assert!(bytes >= begun as u64 && bytes < total, "{line}");
        assert_eq!(total, head.length(), "{line}");
        assert!(!line["reason"].as_str().unwrap().is_empty(), "{line}");
    }
    server.get("/a.txt").expect(200);
    let line = server.delivery("/a.txt", "completed");
    assert_eq!((&line["bytes"], &line["status"]), (&6.into(), &200.into()), "{line}");
}

#[test]
fn hundreds_of_clients_that_vanish_leave_nothing_behind() {
    let tree = tree();
    let server = Server::of(tree.root());
    let descriptors =
        || std::fs::read_dir(format!("/proc/{}/fd", server.pid().as_raw_nonzero())).unwrap().count();
    server.get("/big.bin").expect(200);
    let before = descriptors();
    for number in 0..300 {
        let mut client = server.client();
        client.request("GET", if number % 2 == 0 { "/big.bin" } else { "/?zip" }, "");
        if number % 3 == 0 {
            client.head();
        }
        client.reset();
    }
    until("all descriptors are closed", || (descriptors() <= before + 2).then_some(()));
}

#[test]
fn connections_over_the_limit_wait_for_their_turn() {
    let tree = tree();
    let server = Setup::of(tree.root()).arg("--max-connections").arg("2").start();
    let (mut first, mut second) = (server.client(), server.client());
    first.get("/a.txt").expect(200);
    second.get("/a.txt").expect(200);
    let mut third = server.client();
    third.request("GET", "/a.txt", "");
    third.stream.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    let waited = third.try_head().expect_err("there is no room");
    assert!(
        matches!(waited.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut),
        "{waited}"
    );
    // Those that are in go on.
    first.get("/a.txt").expect(200);
    drop(second);
    third.stream.set_read_timeout(Some(crate::support::PATIENCE)).unwrap();
    assert_eq!(third.reply().expect(200).text(), "public");
}
