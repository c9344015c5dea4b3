//! HTTP/1 within both versions of TLS: the same bytes, the same ends.

use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use bytes::Bytes;
use http::StatusCode;
use http_body_util::BodyExt as _;
use outflow_content::Content;
use outflow_wire::rustls::version::{TLS12, TLS13};
use outflow_wire::rustls::{ALL_VERSIONS, ProtocolVersion};
use outflow_wire::{Secure, SendPath, ServerOptions, TlsOptions, upgrade};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::server::{SHORT, connect, paths};
use crate::sending::Fed;
use crate::support::*;

/// A file's bytes within both versions, over connections that are kept, with a run from the middle.
#[test]
fn files_arrive_equal_within_both_versions() {
    let bytes = noise(1, 3_000_001);
    let (_folder, path) = temp("film", &bytes);
    let file = TestFile::open(&path);
    let identity = Identity::new();
    let tls = identity.tls(&TlsOptions::default());
    let server = serve_tls(ServerOptions::default(), tls, move |request| {
        assert!(request.extensions().get::<Secure>().is_some());
        let response = respond(file.content(), request.method(), request.headers());
        async move { Ok(response) }
    });
    for (version, name) in [(&TLS12, ProtocolVersion::TLSv1_2), (&TLS13, ProtocolVersion::TLSv1_3)] {
        let config = identity.client(&[version], &[b"http/1.1"]);
        let mut client = server.client().secure("localhost", &config).expect("a handshake");
        assert_eq!(client.tls().protocol_version(), Some(name));
        assert_eq!(client.tls().alpn_protocol(), Some(&b"http/1.1"[..]));
        assert!(client.request("GET", "/", "").reply().body == bytes, "other bytes within {name:?}");
        let part = client.request("GET", "/", "Range: bytes=100000-2345678\r\n").reply();
        assert_eq!(part.status, 206);
        assert!(part.body == bytes[100_000..2_345_679], "other bytes of the range within {name:?}");
        assert!(client.request("GET", "/", "Connection: close\r\n").reply().body == bytes);
        assert_eq!(client.read_to_end().expect("an end that is announced"), b"");
    }
    assert_eq!(server.counted().body.of(SendPath::Sendfile).get(), 0);
}

#[test]
fn ends_that_are_meant_are_announced() {
    let identity = Identity::new();
    let options = ServerOptions { keep_alive_timeout: SHORT, ..ServerOptions::default() };
    let server = serve_tls(options, identity.tls(&TlsOptions::default()), |request| async move {
        match request.uri().path() {
            "/fails" => Err("as the test wants it".to_owned()),
            _ => Ok(text("fine")),
        }
    });
    for version in [&TLS12, &TLS13] {
        let config = identity.client(&[version], &[]);
        // An end that is asked for, one of a version that has no other, one behind an error, one of
        // a bad request.
        for request in [
            "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
            "GET / HTTP/1.0\r\n\r\n",
            "GET /fails HTTP/1.1\r\nHost: x\r\n\r\n",
            "nonsense\r\n\r\n",
        ] {
            let mut client = connect(&server, &config);
            client.send(request).reply();
            client.expect_closed();
        }
        // One that rested too long: without a request, behind one, and behind many.
        for requests in [0, 1, 20] {
            let mut client = connect(&server, &config);
            for _ in 0..requests {
                assert_eq!(client.request("GET", "/", "").reply().text(), "fine");
            }
            client.expect_closed();
        }
    }
    // One of a server that ends.
    let config = identity.client(ALL_VERSIONS, &[]);
    let (server, identity) = paths(&TlsOptions::default());
    drop(config);
    let config = identity.client(ALL_VERSIONS, &[]);
    let mut asked = connect(&server, &config);
    assert_eq!(asked.request("GET", "/a", "").reply().text(), "/a");
    let mut silent = connect(&server, &config);
    server.handle.drain(PATIENCE * 100);
    asked.expect_closed();
    silent.expect_closed();
    server.join();
}

#[test]
fn bodies_that_are_cut_never_end_as_if_they_were_whole() {
    const LEN: usize = 16 * 1024 * 1024;
    let (_folder, path) = temp("file", &noise(9, LEN));
    let fed = Bytes::from(noise(11, 300_000));
    let identity = Identity::new();
    let opened = path.clone();
    let server = serve_tls(ServerOptions::default(), identity.tls(&TlsOptions::default()), move |request| {
        let response = match request.uri().path() {
            "/file" => respond(TestFile::open(&opened).content(), request.method(), request.headers()),
            "/feed" => {
                let content = Content::new(Arc::new(Fed(fed.clone(), 400_000)));
                respond(content, request.method(), request.headers())
            }
            // Its length is not known: to HTTP/1.0, its end is the connection's.
            _ => text("").map(|_| body_of([Ok("half of it"), Err("as the test wants it")])),
        };
        async move { Ok(response) }
    });
    for version in [&TLS12, &TLS13] {
        let config = identity.client(&[version], &[]);
        let mut client = connect(&server, &config);
        client.request("GET", "/file", "").take_until(b"\r\n\r\n").expect("a head");
        client.take_exactly(100_000);
        let file = std::fs::OpenOptions::new().write(true).open(&path).expect("a file");
        file.write_all_at(b"X", LEN as u64 / 2).expect("overwritten");
        client.expect_broken(LEN - 100_000);

        let mut client = connect(&server, &config);
        client.request("GET", "/feed", "").take_until(b"\r\n\r\n").expect("a head");
        client.expect_broken(400_003);

        for http in ["1.0", "1.1"] {
            let mut client = connect(&server, &config);
            client.send(format!("GET / HTTP/{http}\r\nHost: x\r\n\r\n"));
            let head = client.take_until(b"\r\n\r\n");
            if head.is_ok() {
                client.expect_broken(usize::MAX);
            }
        }
    }
}

#[test]
fn a_client_that_ends_its_side_still_gets_the_answer() {
    let identity = Identity::new();
    let bytes = Bytes::from(noise(13, 2_000_000));
    let want = bytes.clone();
    let server = serve_tls(ServerOptions::default(), identity.tls(&TlsOptions::default()), move |_| {
        let response = text(bytes.clone());
        async move { Ok(response) }
    });
    for version in [&TLS12, &TLS13] {
        let config = identity.client(&[version], &[]);
        for announced in [true, false] {
            let mut client = connect(&server, &config);
            client.request("GET", "/", "");
            if announced {
                client.finish_within();
            }
            client.finish();
            assert_same(&client.reply().body, &want, "the answer");
            client.expect_closed();
        }
    }
}

#[test]
fn requests_follow_each_other_with_and_without_bodies() {
    let identity = Identity::new();
    let server =
        serve_tls(ServerOptions::default(), identity.tls(&TlsOptions::default()), |request| async move {
            if request.uri().path() == "/unread" {
                return Ok(text("not interested"));
            }
            let body = request.into_body().collect().await.map_err(|error| error.to_string())?;
            Ok(text(body.to_bytes()))
        });
    for version in [&TLS12, &TLS13] {
        let mut client = connect(&server, &identity.client(&[version], &[]));
        let body = noise(15, 1_000_000);
        for _ in 0..2 {
            client.send(format!("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", body.len()));
            assert_same(&client.send(&body).reply().body, &body, "by length");
            client.send("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
            for chunk in body.chunks(77_777) {
                client.send(format!("{:x}\r\n", chunk.len())).send(chunk).send("\r\n");
            }
            assert_same(&client.send("0\r\n\r\n").reply().body, &body, "in chunks");
            client.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n");
            assert_eq!(client.reply().status, 100);
            assert_eq!(client.send("hello").reply().text(), "hello");
        }
        // All at once, in one record.
        let post = |body: &str| {
            format!("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}", body.len())
        };
        let all = ["one", "two", "", "three"].map(post).concat();
        client.send(all);
        for want in ["one", "two", "", "three"] {
            assert_eq!(client.reply().text(), want);
        }
        // One that nobody wants ends the connection, and the answer arrives.
        client.send("POST /unread HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\n");
        client.send(vec![0; 1_000_000]);
        assert_eq!(client.reply().text(), "not interested");
        client.expect_closed();
    }
}

/// What the client sends is answered in upper case; what it has to answer is long.
#[test]
fn upgraded_connections_carry_bytes_both_ways() {
    let large = noise(17, 3_000_000);
    let (sent, identity) = (large.clone(), Identity::new());
    let server =
        serve_tls(ServerOptions::default(), identity.tls(&TlsOptions::default()), move |mut request| {
            let promise = upgrade::on(&mut request).expect("an upgrade");
            let sent = sent.clone();
            tokio::spawn(async move {
                let raw = promise.await.expect("the connection");
                let mut raw = raw.into_parts().err().expect("a socket that is of no use alone");
                let mut piece = [0; 1000];
                loop {
                    let n = raw.read(&mut piece).await.expect("read");
                    if n == 0 {
                        break;
                    }
                    piece[..n].make_ascii_uppercase();
                    // Without a flush: bytes in the clear leave without one, too.
                    raw.write_all(&piece[..n]).await.expect("written");
                }
                raw.write_all(&sent).await.expect("written");
                raw.shutdown().await.expect("shut down");
            });
            let mut response = text("");
            *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
            async move { Ok(response) }
        });
    for version in [&TLS12, &TLS13] {
        let mut client = connect(&server, &identity.client(&[version], &[]));
        client.send("GET / HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: shout\r\n\r\nearly");
        assert_eq!(client.reply().status, 101);
        assert_eq!(client.take(5).expect("bytes"), b"EARLY");
        for _ in 0..3 {
            assert_eq!(client.send("late").take(4).expect("bytes"), b"LATE");
        }
        client.finish_within();
        assert_same(&client.read_to_end().expect("an end that is announced"), &large, "the long answer");
    }
}

/// What one side writes while it reads nothing waits for it, and not for the other.
#[test]
fn an_upgraded_connection_that_is_split_goes_on_in_both_directions() {
    let large = noise(19, 3_000_000);
    let (want, identity) = (large.clone(), Identity::new());
    let server =
        serve_tls(ServerOptions::default(), identity.tls(&TlsOptions::default()), move |mut request| {
            let promise = upgrade::on(&mut request).expect("an upgrade");
            let large = large.clone();
            tokio::spawn(async move {
                let (mut read, mut write) = tokio::io::split(promise.await.expect("the connection"));
                let writing = tokio::spawn(async move {
                    write.write_all(&large).await.expect("written");
                    write.shutdown().await.expect("shut down");
                });
                let mut all = Vec::new();
                read.read_to_end(&mut all).await.expect("read");
                assert_eq!(all.len(), 1_000_000);
                writing.await.expect("written");
            });
            let mut response = text("");
            *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
            async move { Ok(response) }
        });
    let mut client = server.narrow_client(16 * 1024);
    client = client.secure("localhost", &identity.client(ALL_VERSIONS, &[])).expect("a handshake");
    client.send("GET / HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: both\r\n\r\n");
    assert_eq!(client.reply().status, 101);
    for _ in 0..100 {
        client.send(vec![3; 10_000]);
        client.take_exactly(10_000);
    }
    client.finish_within();
    let rest = client.read_to_end().expect("an end that is announced");
    assert_same(&rest, &want[1_000_000..], "the rest");
}
