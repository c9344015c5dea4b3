//! Handshakes: versions, suites, protocols, sessions; those that break off or take their time.

use std::io::{self, ErrorKind, Write as _};
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use outflow_testkit::needs;
use outflow_testkit::process::program;
use outflow_wire::rustls::version::{TLS12, TLS13};
use outflow_wire::rustls::{ALL_VERSIONS, HandshakeKind};
use outflow_wire::{ACME_TLS, ServerOptions, TlsOptions};

use super::hello::{Offer, Said};
use super::server::{SHORT, connect, paths};
use crate::support::*;

const HANDSHAKE_FAILURE: Said = Said::Alert(40);
const PROTOCOL_VERSION: Said = Said::Alert(70);

#[test]
fn versions_and_suites_are_those_of_today() {
    let (server, _) = paths(&TlsOptions::default());
    for (suite, version) in
        [(0x1301, 0x304), (0x1302, 0x304), (0x1303, 0x304), (0xc02b, 0x303), (0xc02c, 0x303), (0xcca9, 0x303)]
    {
        let offer = if version == 0x304 { Offer::newer(&[suite]) } else { Offer::of(&[suite]) };
        let Said::Hello(hello) = offer.ask(&server) else { panic!("{suite:x} refused") };
        assert_eq!((hello.suite, hello.version, hello.compression), (suite, version, 0));
    }
    for (what, suites) in [
        ("no encryption", &[0x0001, 0x0002, 0x003b, 0xc006, 0xc010][..]),
        ("export", &[0x0003, 0x0006, 0x0008, 0x000e, 0x0014, 0x0019]),
        ("RC4", &[0x0004, 0x0005, 0xc007, 0xc011, 0xc002]),
        ("single and triple DES", &[0x0009, 0x000a, 0x0016, 0xc008, 0xc012]),
        ("anonymous", &[0x0018, 0x001b, 0x0034, 0x003a, 0x006c, 0x00a6, 0xc018, 0xc019]),
        ("CBC", &[0x002f, 0x0035, 0x003c, 0x003d, 0xc009, 0xc00a, 0xc013, 0xc014, 0xc023, 0xc024, 0xc027]),
        ("without forward secrecy", &[0x009c, 0x009d, 0xc02d, 0xc031, 0xc09c]),
        ("finite fields", &[0x0033, 0x0039, 0x0067, 0x009e, 0x009f]),
        ("IDEA, SEED, Camellia, ARIA", &[0x0007, 0x0096, 0x0041, 0x0084, 0xc072, 0xc05c]),
        ("another key's", &[0xc02f, 0xc030, 0xcca8]),
        ("none", &[0x00ff]),
    ] {
        for suite in suites {
            assert_eq!(Offer::of(&[*suite]).ask(&server), HANDSHAKE_FAILURE, "{what}: {suite:x}");
        }
        assert_eq!(Offer::of(suites).ask(&server), HANDSHAKE_FAILURE, "{what}");
    }
    // 1.3 in its own way knows only its own.
    assert_eq!(Offer::newer(&[0x1304, 0x1305]).ask(&server), HANDSHAKE_FAILURE);
    // SSL 3.0, TLS 1.0 and 1.1, said as of old, and as of today.
    for version in [0x300, 0x301, 0x302] {
        let old =
            Offer { version, record: version.max(0x300), ..Offer::of(&[0xc02b, 0xc009, 0x002f, 0x000a]) };
        assert_eq!(old.ask(&server), PROTOCOL_VERSION, "{version:x}");
        let mut new = Offer::of(&[0xc02b, 0x1301]);
        new.extensions.push((43, [&[2][..], &version.to_be_bytes()].concat()));
        assert_eq!(new.ask(&server), PROTOCOL_VERSION, "{version:x}");
    }
}

#[test]
fn what_made_tls_insecure_is_off() {
    let (server, _) = paths(&TlsOptions::default());
    // Compression (CRIME) is not chosen, heartbeats and shortened codes are not agreed on; an old
    // renegotiation is not possible (RFC 5746), and the keys belong to this handshake (RFC 7627).
    let mut offer = Offer::of(&[0xc02b, 0x00ff]);
    offer.compression = vec![1, 0];
    offer.extensions.extend([(15, vec![1]), (4, vec![]), (23, vec![]), (35, vec![])]);
    let Said::Hello(hello) = offer.ask(&server) else { panic!("refused") };
    assert_eq!((hello.version, hello.compression), (0x303, 0));
    for (extension, agreed) in [(15, false), (4, false), (23, true), (0xff01, true)] {
        assert_eq!(hello.extensions.contains(&extension), agreed, "{extension} in {:?}", hello.extensions);
    }
    // A client that can do better is told when somebody keeps it from that (RFC 8446, 4.1.3).
    assert_eq!(&hello.random, b"DOWNGRD\x01");
    // Compression or nothing: nothing.
    let Said::Alert(_) = (Offer { compression: vec![1], ..Offer::of(&[0xc02b]) }).ask(&server) else {
        panic!("a hello")
    };
    // 1.3 allows no choice at all.
    let Said::Alert(_) = (Offer { compression: vec![1, 0], ..Offer::newer(&[0x1301]) }).ask(&server) else {
        panic!("a hello")
    };
}

/// Debian's client: what it says of the connection, and whether all went well.
fn openssl(server: &Running, arguments: &[&str], stdin: &str) -> (String, bool) {
    let mut command = program("openssl");
    command
        .args(["s_client", "-connect", &server.addr.to_string(), "-servername", "localhost"])
        .args(arguments);
    let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = piped.spawn().expect("openssl");
    // It may have ended already, if there was no handshake.
    let _ = child.stdin.take().expect("piped").write_all(stdin.as_bytes());
    let ended = child.wait_with_output().expect("an end");
    let said = [&ended.stdout[..], &ended.stderr[..]].concat();
    (String::from_utf8_lossy(&said).into_owned(), ended.status.success())
}

#[test]
fn openssl_agrees_on_what_it_should_and_nothing_else() {
    needs!("openssl");
    const GET: &str = "GET /hello HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let (server, _) = paths(&TlsOptions::default());
    for (arguments, suite) in [
        (&["-tls1_3", "-ciphersuites", "TLS_AES_128_GCM_SHA256"][..], "TLS_AES_128_GCM_SHA256"),
        (&["-tls1_3", "-ciphersuites", "TLS_AES_256_GCM_SHA384"], "TLS_AES_256_GCM_SHA384"),
        (&["-tls1_3", "-ciphersuites", "TLS_CHACHA20_POLY1305_SHA256"], "TLS_CHACHA20_POLY1305_SHA256"),
        (&["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256"], "ECDHE-ECDSA-AES128-GCM-SHA256"),
        (&["-tls1_2", "-cipher", "ECDHE-ECDSA-AES256-GCM-SHA384"], "ECDHE-ECDSA-AES256-GCM-SHA384"),
        (&["-tls1_2", "-cipher", "ECDHE-ECDSA-CHACHA20-POLY1305"], "ECDHE-ECDSA-CHACHA20-POLY1305"),
    ] {
        let (said, _) = openssl(&server, &[arguments, &["-ign_eof"]].concat(), GET);
        assert!(said.contains(&format!("Cipher is {suite}")), "{said}");
        assert!(said.contains("HTTP/1.1 200 OK") && said.contains("/hello"), "{said}");
        // The end was announced: without an alert it complains.
        assert!(!said.contains("unexpected eof"), "{said}");
    }
    for arguments in [
        &["-tls1", "-cipher", "ALL:@SECLEVEL=0"][..],
        &["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"],
        &[
            "-tls1_2",
            "-cipher",
            "ECDHE-ECDSA-AES128-SHA256:ECDHE-ECDSA-AES128-SHA:AES128-GCM-SHA256:@SECLEVEL=0",
        ],
        &["-tls1_2", "-cipher", "aNULL:@SECLEVEL=0"],
        &["-tls1_2", "-cipher", "eNULL:@SECLEVEL=0"],
        &["-tls1_2", "-cipher", "kRSA:DHE:@SECLEVEL=0"],
    ] {
        let (said, well) = openssl(&server, arguments, GET);
        assert!(!well && said.contains("alert"), "{arguments:?}: {said}");
        assert!(!said.contains("HTTP/1.1"), "{arguments:?}: {said}");
    }
    for (offered, agreed) in [("h2,http/1.1", "ALPN protocol: h2"), ("http/1.1", "ALPN protocol: http/1.1")] {
        let (said, _) = openssl(&server, &["-alpn", offered], "");
        assert!(said.contains(agreed), "{offered}: {said}");
    }
    let (said, _) = openssl(&server, &["-tls1_2"], "");
    assert!(said.contains("Secure Renegotiation IS supported"), "{said}");
    assert!(said.contains("Compression: NONE") && said.contains("Extended master secret: yes"), "{said}");
    // Who asks for another handshake within the connection does not get it.
    let (said, well) = openssl(&server, &["-tls1_2"], "R\n");
    assert!(!well && said.contains("RENEGOTIATING") && said.contains("no renegotiation"), "{said}");
}

#[test]
fn openssl_resumes_its_sessions() {
    needs!("openssl");
    let (server, _) = paths(&TlsOptions::default());
    let folder = tempfile::tempdir().expect("a folder");
    let get = "GET /hello HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    for version in ["-tls1_2", "-tls1_3"] {
        let session = folder.path().join(version);
        let session = session.to_str().expect("text");
        let (said, _) = openssl(&server, &[version, "-ign_eof", "-sess_out", session], get);
        assert!(said.contains("New, TLSv"), "{said}");
        // 0-RTT, which others can send again, is not offered.
        assert!(version == "-tls1_2" || said.contains("Max Early Data: 0"), "{said}");
        let (said, _) = openssl(&server, &[version, "-ign_eof", "-sess_in", session], get);
        assert!(said.contains("Reused, TLSv") && said.contains("/hello"), "{said}");
    }
}

#[test]
fn protocols_are_agreed_on_or_the_handshake_fails() {
    let (server, identity) = paths(&TlsOptions::default());
    for (asked, agreed) in [
        (&[&b"h2"[..], b"http/1.1"][..], Some(&b"h2"[..])),
        (&[b"http/1.1", b"h2"], Some(b"h2")),
        (&[b"http/1.1"], Some(b"http/1.1")),
        (&[b"spdy/3", b"http/1.1"], Some(b"http/1.1")),
        (&[], None),
    ] {
        let mut client = connect(&server, &identity.client(ALL_VERSIONS, asked));
        assert_eq!(client.tls().alpn_protocol(), agreed, "{asked:?}");
        if agreed != Some(b"h2") {
            assert_eq!(client.request("GET", "/path", "").reply().text(), "/path");
        }
    }
    let refused = |server: &Running, identity: &Identity, asked: &[&[u8]]| {
        for version in [&TLS12, &TLS13] {
            let config = identity.client(&[version], asked);
            let failed = server.client().secure("localhost", &config).err().expect("a handshake");
            assert!(failed.to_string().contains("NoApplicationProtocol"), "{failed}");
        }
    };
    refused(&server, &identity, &[b"spdy/3", b"http/0.9"]);
    refused(&server, &identity, &[ACME_TLS]);
    let (server, identity) = paths(&TlsOptions { http2: false, acme: true, ..TlsOptions::default() });
    refused(&server, &identity, &[b"h2"]);
    let client = connect(&server, &identity.client(ALL_VERSIONS, &[b"h2", b"http/1.1"]));
    assert_eq!(client.tls().alpn_protocol(), Some(&b"http/1.1"[..]));
    // What proves a domain has done so with the handshake.
    let mut client = connect(&server, &identity.client(ALL_VERSIONS, &[ACME_TLS]));
    let _ = client.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(client.read_to_end().unwrap_or_default(), b"");
    assert_eq!(server.counters.requests.get(), 0);
}

#[test]
fn sessions_are_resumed_within_both_versions() {
    let (server, identity) = paths(&TlsOptions::default());
    for version in [&TLS12, &TLS13] {
        let config = identity.client(&[version], &[]);
        for kind in [HandshakeKind::Full, HandshakeKind::Resumed, HandshakeKind::Resumed] {
            let mut client = connect(&server, &config);
            assert_eq!(client.request("GET", "/a", "").reply().text(), "/a");
            assert_eq!(client.tls().handshake_kind(), Some(kind), "{version:?}");
        }
    }
}

#[test]
fn new_keys_in_the_middle_of_a_connection_change_nothing() {
    let (server, identity) = paths(&TlsOptions::default());
    let mut client = connect(&server, &identity.client(&[&TLS13], &[]));
    for path in ["/a", "/b", "/c"] {
        assert_eq!(client.request("GET", path, "").reply().text(), path);
        client.tls_mut().refresh_traffic_keys().expect("new keys");
        client.flush().expect("sent");
    }
    assert_eq!(client.request("GET", "/d", "").reply().text(), "/d");
}

#[test]
fn http_in_the_clear_is_told_to_come_within_tls() {
    let (server, _) = paths(&TlsOptions::default());
    for request in
        ["GET / HTTP/1.1\r\nHost: x\r\n\r\n", "POST /a HTTP/1.0\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"]
    {
        let mut client = server.client();
        let reply = client.send(request).reply();
        assert_eq!((reply.status, reply.find("connection")), (400, Some("close")));
        assert!(reply.text().contains("https://"), "{}", reply.text());
        client.expect_closed();
    }
    assert_eq!((server.counters.requests.get(), server.counters.refused.get()), (0, 3));
}

#[test]
fn broken_silent_and_slow_handshakes_by_the_hundred_hold_up_no_download() {
    alone("tls::handshakes::broken_silent_and_slow_handshakes_by_the_hundred_hold_up_no_download", || {
        let bytes = noise(5, 8 * 1024 * 1024);
        let (_folder, path) = temp("film", &bytes);
        let file = TestFile::open(&path);
        let identity = Identity::new();
        let options = TlsOptions { handshake_timeout: SHORT, max_handshakes: 16, ..TlsOptions::default() };
        let server = serve_tls(ServerOptions::default(), identity.tls(&options), move |request| {
            let response = respond(file.content(), request.method(), request.headers());
            async move { Ok(response) }
        });
        let config = identity.client(ALL_VERSIONS, &[]);
        let mut download = connect(&server, &config);
        download.request("GET", "/", "");
        let (files, before) = (open_files(), memory());

        let hello = Offer::newer(&[0x1301]).bytes();
        let garbage = noise(7, 2_000);
        let beginnings: Vec<Vec<u8>> = vec![
            // Silence, a hello that stops, at its first byte, in its record's head, in its middle,
            // before its end.
            vec![],
            hello[..1].to_vec(),
            hello[..4].to_vec(),
            hello[..60].to_vec(),
            hello[..hello.len() - 1].to_vec(),
            // A whole one, and nothing behind it.
            hello.clone(),
            // What is no record, of no version, of no length, of another kind.
            garbage.iter().map(|byte| byte | 0x80).collect(),
            [&[22, 9, 9, 0, 100][..], &garbage[..100]].concat(),
            [&[22, 3, 1, 0xff, 0xff][..], &garbage].concat(),
            vec![22, 3, 1, 0, 0],
            vec![23, 3, 3, 0, 5, 1, 2, 3, 4, 5],
            vec![21, 3, 1, 0, 2, 2, 40],
            vec![22, 3, 1, 0, 4, 1, 0xff, 0xff, 0xff],
            Offer { version: 0x301, ..Offer::of(&[0x002f]) }.bytes(),
        ];
        let mut body = Vec::new();
        download.take_until(b"\r\n\r\n").expect("a head");
        let mut waiting = Vec::new();
        for round in 0..30 {
            for beginning in &beginnings {
                let mut client = server.client();
                let _ = client.write_all(beginning);
                match round % 3 {
                    // Some go away, in an orderly way or not; the others wait.
                    0 => drop(client),
                    1 => client.reset(),
                    _ => waiting.push(client),
                }
            }
            body.extend(download.take(bytes.len() / 60).expect("more"));
        }
        body.extend(download.take(bytes.len() - body.len()).expect("the rest"));
        assert_same(&body, &bytes, "the download");

        // All that wait are ended: told why, if there was something to answer, and closed.
        let begun = Instant::now();
        for client in &mut waiting {
            let said = client.read_to_end().unwrap_or_default();
            assert!(said.is_empty() || [21, 22].contains(&said[0]), "{}", said.escape_ascii());
        }
        assert!(begun.elapsed() < PATIENCE);
        waiting.clear();
        until("the end of all of them", || (open_files() <= files + 2).then_some(()));
        let grown = memory().saturating_sub(before);
        assert!(grown < 32 * 1024 * 1024, "{grown} bytes more");

        // And others come in as before.
        assert_eq!(
            connect(&server, &config).request("GET", "/", "Range: bytes=0-9\r\n").reply().body,
            bytes[..10]
        );
    });
}

/// A hello that comes byte by byte has no more time than another.
#[test]
fn a_handshake_that_trickles_in_ends_in_time() {
    let (server, _) = paths(&TlsOptions { handshake_timeout: SHORT, ..TlsOptions::default() });
    let begun = Instant::now();
    let mut client = server.client();
    client.stream.set_read_timeout(Some(Duration::from_millis(10))).expect("a timeout");
    let hello = Offer::newer(&[0x1301]).bytes();
    // Its last byte never comes.
    let mut bytes = hello[..hello.len() - 1].iter();
    loop {
        if let Some(byte) = bytes.next()
            && client.stream.write_all(&[*byte]).is_err()
        {
            break;
        }
        match io::Read::read(&mut client.stream, &mut [0; 100]) {
            Ok(0) => break,
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => break,
        }
        assert!(begun.elapsed() < PATIENCE, "for ever");
    }
    assert!(begun.elapsed() >= SHORT, "given up early");
}

#[test]
fn handshakes_beyond_the_limit_wait_for_their_turn() {
    let options =
        TlsOptions { handshake_timeout: Duration::from_secs(2), max_handshakes: 1, ..TlsOptions::default() };
    let (server, identity) = paths(&options);
    let config = identity.client(ALL_VERSIONS, &[]);
    // Silent ones take no place.
    let _silent: Vec<HttpClient> = (0..10).map(|_| server.client()).collect();
    assert_eq!(connect(&server, &config).request("GET", "/first", "").reply().text(), "/first");
    // Of those that have begun, the first has it, and gives it back when it goes.
    let mut slow = server.client();
    slow.send(&Offer::newer(&[0x1301]).bytes()[..50]);
    until("a second connection", || (server.counters.connections.get() == 12).then_some(()));
    let waiting = {
        let (addr, config) = (server.addr, Arc::clone(&config));
        std::thread::spawn(move || {
            let mut client = HttpClient::connect(addr)
                .with_timeout(PATIENCE)
                .secure("localhost", &config)
                .expect("a handshake");
            client.request("GET", "/second", "").reply().text().to_owned()
        })
    };
    until("a third connection", || (server.counters.connections.get() == 13).then_some(()));
    drop(slow);
    assert_eq!(waiting.join().expect("no panic"), "/second");
}
