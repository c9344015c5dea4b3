//! HTTP/1 within TLS: the same bytes, the same ends, and handshakes that hold nobody up.

use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::FileExt as _;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::StatusCode;
use http_body_util::BodyExt as _;
use outflow_content::{AbortReason, Content, Ending, Evidence};
use outflow_wire::rustls::version::{TLS12, TLS13};
use outflow_wire::rustls::{ALL_VERSIONS, ClientConfig, HandshakeKind, ProtocolVersion};
use outflow_wire::{ACME_TLS, Secure, ServerOptions, TlsOptions, upgrade};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::sending::Fed;
use crate::support::*;

/// Longer than any test takes.
const NEVER: Duration = Duration::from_secs(600);

const SHORT: Duration = Duration::from_millis(300);

/// A server within TLS that answers with its requests' paths, and the client's side of its certificate.
fn paths(options: &TlsOptions) -> (Running, Identity) {
    let identity = Identity::new();
    let server = serve_tls(ServerOptions::default(), identity.tls(options), |request| async move {
        Ok(text(request.uri().path().to_owned()))
    });
    (server, identity)
}

fn connect(server: &Running, config: &Arc<ClientConfig>) -> Client {
    Client::connect(server.addr).secure(config).expect("a handshake")
}

/// A file's bytes within both versions, over connections that are kept, with a run from the middle.
#[test]
fn files_arrive_equal_within_both_versions() {
    let bytes = pattern(3_000_001, 1);
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
        let mut client = Client::connect(server.addr).secure(&config).expect("a handshake");
        assert_eq!(client.tls().protocol_version(), Some(name));
        assert_eq!(client.tls().alpn_protocol(), Some(&b"http/1.1"[..]));
        assert!(client.get("/", "").reply().body == bytes, "other bytes within {name:?}");
        let part = client.get("/", "Range: bytes=100000-2345678\r\n").reply();
        assert_eq!(part.status, 206);
        assert!(part.body == bytes[100_000..2_345_679], "other bytes of the range within {name:?}");
        assert!(client.get("/", "Connection: close\r\n").reply().body == bytes);
        assert_eq!(client.read_to_end().expect("an end that is announced"), b"");
    }
    assert_eq!(server.counted().sendfile_bytes(), 0);
}

/// The first thing that a server says to a ClientHello.
#[derive(Debug, PartialEq, Eq)]
enum Said {
    Hello(Hello),
    /// A fatal alert's number.
    Alert(u8),
}

#[derive(Debug, PartialEq, Eq)]
struct Hello {
    version: u16,
    suite: u16,
    compression: u8,
    /// The last bytes of its random.
    random: [u8; 8],
    extensions: Vec<u16>,
}

/// A ClientHello (RFC 8446, 4.1.2) as old and new clients write it.
struct Offer {
    record: u16,
    version: u16,
    suites: Vec<u16>,
    compression: Vec<u8>,
    extensions: Vec<(u16, Vec<u8>)>,
}

impl Offer {
    /// Of TLS 1.2 and what it needs.
    fn of(suites: &[u16]) -> Offer {
        let extensions = vec![
            // Groups: x25519, secp256r1. Points: uncompressed. Signatures: ECDSA and RSA, of all ages.
            (10, vec![0, 4, 0, 29, 0, 23]),
            (11, vec![1, 0]),
            (13, vec![0, 10, 4, 3, 5, 3, 4, 1, 2, 1, 2, 3]),
        ];
        Offer { record: 0x301, version: 0x303, suites: suites.to_vec(), compression: vec![0], extensions }
    }

    /// Of TLS 1.3 and what it needs.
    fn newer(suites: &[u16]) -> Offer {
        let mut offer = Offer::of(suites);
        offer.extensions.push((43, vec![2, 3, 4]));
        offer.extensions.push((51, [&[0, 36, 0, 29, 0, 32][..], &[9; 32]].concat()));
        offer
    }

    fn bytes(&self) -> Vec<u8> {
        let sized = |bytes: &[u8]| [&(bytes.len() as u16).to_be_bytes()[..], bytes].concat();
        let suites: Vec<u8> = self.suites.iter().flat_map(|suite| suite.to_be_bytes()).collect();
        let extensions: Vec<u8> = self
            .extensions
            .iter()
            .flat_map(|(id, bytes)| [&id.to_be_bytes()[..], &sized(bytes)].concat())
            .collect();
        let mut hello = self.version.to_be_bytes().to_vec();
        hello.extend([5; 32]);
        hello.push(0);
        hello.extend(sized(&suites));
        hello.push(self.compression.len() as u8);
        hello.extend(&self.compression);
        hello.extend(sized(&extensions));
        let message = [&[1], &(hello.len() as u32).to_be_bytes()[1..], &hello].concat();
        [&[22], &self.record.to_be_bytes()[..], &sized(&message)].concat()
    }

    /// What the server says to it.
    fn ask(&self, server: &Running) -> Said {
        let mut client = Client::connect(server.addr);
        client.send(self.bytes());
        let head = client.take(5).expect("a record");
        let record = client.take(usize::from(u16::from_be_bytes([head[3], head[4]]))).expect("a record");
        match head[0] {
            21 => {
                assert_eq!(record[0], 2, "an alert that is not fatal");
                Said::Alert(record[1])
            }
            22 => {
                assert_eq!(record[0], 2, "no ServerHello");
                let word = |at: usize| u16::from_be_bytes([record[at], record[at + 1]]);
                let random = record[30..38].try_into().expect("eight bytes");
                let at = 39 + usize::from(record[38]);
                let mut extensions = Vec::new();
                let (mut version, mut next) = (word(4), at + 5);
                let end = 4 + usize::from(u16::from_be_bytes([record[2], record[3]]));
                while next < end {
                    extensions.push(word(next));
                    if word(next) == 43 {
                        version = word(next + 4);
                    }
                    next += 4 + usize::from(word(next + 2));
                }
                let (suite, compression) = (word(at), record[at + 2]);
                Said::Hello(Hello { version, suite, compression, random, extensions })
            }
            other => panic!("a record of type {other}"),
        }
    }
}

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
    // Compression (CRIME) is not chosen, heartbeats and shortened codes are not agreed on; an old renegotiation is not
    // possible (RFC 5746), and the keys belong to this handshake (RFC 7627).
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
    let mut command = Command::new("openssl");
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
            assert_eq!(client.get("/path", "").reply().text(), "/path");
        }
    }
    let refused = |server: &Running, identity: &Identity, asked: &[&[u8]]| {
        for version in [&TLS12, &TLS13] {
            let config = identity.client(&[version], asked);
            let failed = Client::connect(server.addr).secure(&config).err().expect("a handshake");
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
    assert_eq!(server.counters.requests(), 0);
}

#[test]
fn sessions_are_resumed_within_both_versions() {
    let (server, identity) = paths(&TlsOptions::default());
    for version in [&TLS12, &TLS13] {
        let config = identity.client(&[version], &[]);
        for kind in [HandshakeKind::Full, HandshakeKind::Resumed, HandshakeKind::Resumed] {
            let mut client = connect(&server, &config);
            assert_eq!(client.get("/a", "").reply().text(), "/a");
            assert_eq!(client.tls().handshake_kind(), Some(kind), "{version:?}");
        }
    }
}

#[test]
fn new_keys_in_the_middle_of_a_connection_change_nothing() {
    let (server, identity) = paths(&TlsOptions::default());
    let mut client = connect(&server, &identity.client(&[&TLS13], &[]));
    for path in ["/a", "/b", "/c"] {
        assert_eq!(client.get(path, "").reply().text(), path);
        client.tls_mut().refresh_traffic_keys().expect("new keys");
        client.flush().expect("sent");
    }
    assert_eq!(client.get("/d", "").reply().text(), "/d");
}

#[test]
fn http_in_the_clear_is_told_to_come_within_tls() {
    let (server, _) = paths(&TlsOptions::default());
    for request in
        ["GET / HTTP/1.1\r\nHost: x\r\n\r\n", "POST /a HTTP/1.0\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"]
    {
        let mut client = Client::connect(server.addr);
        let reply = client.send(request).reply();
        assert_eq!((reply.status, reply.header("connection")), (400, Some("close")));
        assert!(reply.text().contains("https://"), "{}", reply.text());
        client.expect_closed();
    }
    assert_eq!((server.counters.requests(), server.counters.refused()), (0, 3));
}

/// Open files of this process (proc(5)).
fn open_files() -> usize {
    std::fs::read_dir("/proc/self/fd").expect("a folder").count()
}

/// Waits for what has to come about.
#[track_caller]
fn until(what: &str, mut come: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !come() {
        assert!(begun.elapsed() < PATIENCE, "{what} did not come about");
        std::thread::yield_now();
    }
}

#[test]
fn broken_silent_and_slow_handshakes_by_the_hundred_hold_up_no_download() {
    alone("tls::broken_silent_and_slow_handshakes_by_the_hundred_hold_up_no_download", || {
        let bytes = pattern(8 * 1024 * 1024, 5);
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
        download.get("/", "");
        let (files, before) = (open_files(), memory());

        let hello = Offer::newer(&[0x1301]).bytes();
        let garbage = pattern(2_000, 7);
        let beginnings: Vec<Vec<u8>> = vec![
            // Silence, a hello that stops, at its first byte, in its record's head, in its middle, before its end.
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
                let mut client = Client::connect(server.addr);
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
        until("the end of all of them", || open_files() <= files + 2);
        let grown = memory().saturating_sub(before);
        assert!(grown < 32 * 1024 * 1024, "{grown} bytes more");

        // And others come in as before.
        assert_eq!(connect(&server, &config).get("/", "Range: bytes=0-9\r\n").reply().body, bytes[..10]);
    });
}

/// A hello that comes byte by byte has no more time than another.
#[test]
fn a_handshake_that_trickles_in_ends_in_time() {
    let (server, _) = paths(&TlsOptions { handshake_timeout: SHORT, ..TlsOptions::default() });
    let begun = Instant::now();
    let mut client = Client::connect(server.addr);
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
    let _silent: Vec<Client> = (0..10).map(|_| Client::connect(server.addr)).collect();
    assert_eq!(connect(&server, &config).get("/first", "").reply().text(), "/first");
    // Of those that have begun, the first has it, and gives it back when it goes.
    let mut slow = Client::connect(server.addr);
    slow.send(&Offer::newer(&[0x1301]).bytes()[..50]);
    until("a second connection", || server.counters.connections() == 12);
    let waiting = {
        let (addr, config) = (server.addr, Arc::clone(&config));
        std::thread::spawn(move || {
            let mut client = Client::connect(addr).secure(&config).expect("a handshake");
            client.get("/second", "").reply().text().to_owned()
        })
    };
    until("a third connection", || server.counters.connections() == 13);
    drop(slow);
    assert_eq!(waiting.join().expect("no panic"), "/second");
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
        // An end that is asked for, one of a version that has no other, one behind an error, one of a bad request.
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
                assert_eq!(client.get("/", "").reply().text(), "fine");
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
    assert_eq!(asked.get("/a", "").reply().text(), "/a");
    let mut silent = connect(&server, &config);
    server.handle.drain(PATIENCE * 100);
    asked.expect_closed();
    silent.expect_closed();
    server.join();
}

/// Reads on until the body's end or an error, which it has to be.
#[track_caller]
fn expect_broken(client: &mut Client, announced: usize) -> Vec<u8> {
    let mut body = Vec::new();
    let mut piece = [0; 64 * 1024];
    loop {
        match io::Read::read(client, &mut piece) {
            Ok(0) => panic!("an orderly end after {} bytes of {announced}", body.len()),
            Ok(n) => body.extend_from_slice(&piece[..n]),
            Err(_) => break,
        }
    }
    assert!(body.len() < announced, "all {announced} bytes came");
    body
}

#[test]
fn bodies_that_are_cut_never_end_as_if_they_were_whole() {
    const LEN: usize = 16 * 1024 * 1024;
    let (_folder, path) = temp("file", &pattern(LEN, 9));
    let fed = Bytes::from(pattern(300_000, 11));
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
            _ => text("").map(|_| frames([Ok("half of it"), Err("as the test wants it")])),
        };
        async move { Ok(response) }
    });
    for version in [&TLS12, &TLS13] {
        let config = identity.client(&[version], &[]);
        let mut client = connect(&server, &config);
        client.get("/file", "").take_until(b"\r\n\r\n").expect("a head");
        client.take_exactly(100_000);
        let file = std::fs::OpenOptions::new().write(true).open(&path).expect("a file");
        file.write_all_at(b"X", LEN as u64 / 2).expect("overwritten");
        expect_broken(&mut client, LEN - 100_000);

        let mut client = connect(&server, &config);
        client.get("/feed", "").take_until(b"\r\n\r\n").expect("a head");
        expect_broken(&mut client, 400_003);

        for http in ["1.0", "1.1"] {
            let mut client = connect(&server, &config);
            client.send(format!("GET / HTTP/{http}\r\nHost: x\r\n\r\n"));
            let head = client.take_until(b"\r\n\r\n");
            if head.is_ok() {
                expect_broken(&mut client, usize::MAX);
            }
        }
    }
}

#[test]
fn a_client_that_ends_its_side_still_gets_the_answer() {
    let identity = Identity::new();
    let bytes = Bytes::from(pattern(2_000_000, 13));
    let want = bytes.clone();
    let server = serve_tls(ServerOptions::default(), identity.tls(&TlsOptions::default()), move |_| {
        let response = text(bytes.clone());
        async move { Ok(response) }
    });
    for version in [&TLS12, &TLS13] {
        let config = identity.client(&[version], &[]);
        for announced in [true, false] {
            let mut client = connect(&server, &config);
            client.get("/", "");
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
        let body = pattern(1_000_000, 15);
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
    let large = pattern(3_000_000, 17);
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
                    // Nobody flushes: bytes in the clear leave without, too.
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
    let large = pattern(3_000_000, 19);
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
    let mut client = Client::connect_narrow(server.addr, 16 * 1024);
    client = client.secure(&identity.client(ALL_VERSIONS, &[])).expect("a handshake");
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

/// A server within TLS that gives each delivery the next of so many watchers.
fn watched(n: usize, options: ServerOptions, total: usize) -> (Running, Vec<Events>, Arc<ClientConfig>) {
    let (observers, events): (Vec<_>, Vec<_>) = (0..n).map(|_| watcher()).unzip();
    let observers = Mutex::new(observers.into_iter());
    let bytes = Bytes::from(pattern(total, 91));
    let identity = Identity::new();
    let server = serve_tls(options, identity.tls(&TlsOptions::default()), move |request| {
        let observer = locked(&observers).next().expect("a watcher for every request");
        let content = Content::bytes(bytes.clone()).observer(observer);
        let response = respond(content, request.method(), request.headers());
        async move { Ok(response) }
    });
    (server, events, identity.client(ALL_VERSIONS, &[]))
}

fn patient() -> ServerOptions {
    ServerOptions { confirm_timeout: NEVER, ..ServerOptions::default() }
}

const MEDIUM: usize = 1_000_000;

/// What the client's kernel may have that it has not read: its narrow buffer, doubled, a segment, and a record.
const AHEAD: u64 = 2 * 16 * 1024 + 65_536 + 16 * 1024;

/// What is not counted although it has arrived: records' heads and tails, a segment that is acknowledged late, and what is
/// sealed and counted with its last byte only.
const BEHIND: u64 = 65_536 + 3 * 16 * 1024 + 10_000;

#[track_caller]
fn assert_arrived((event, ending): (Event, Ending), total: usize, evidence: Evidence) {
    assert_eq!(event, Event::Completed(total as u64), "{ending:?}");
    assert_eq!((ending.evidence, ending.acked), (evidence, Some(total as u64)));
}

#[test]
fn deliveries_within_tls_are_confirmed_by_a_next_request_and_by_an_orderly_end() {
    for total in [10, 10_000, MEDIUM] {
        let (server, events, config) = watched(3, patient(), total);
        let mut client = connect(&server, &config);
        for _ in 0..3 {
            assert_eq!(client.get("/", "").reply().body.len(), total);
        }
        client.finish_within();
        drop(client);
        for events in events {
            assert_arrived(events.end(total as u64), total, Evidence::Confirmed);
        }
    }
}

#[test]
fn a_client_within_tls_that_says_nothing_more_is_acknowledged_in_time() {
    let options = ServerOptions { confirm_timeout: Duration::from_millis(100), ..ServerOptions::default() };
    let (server, mut events, config) = watched(1, options, MEDIUM);
    let mut client = connect(&server, &config);
    assert_eq!(client.get("/", "").reply().body.len(), MEDIUM);
    assert_arrived(events.remove(0).end(MEDIUM as u64), MEDIUM, Evidence::Acked);
}

#[test]
fn a_client_within_tls_that_leaves_has_acknowledged_no_more_than_it_got() {
    for (total, read) in [(MEDIUM, MEDIUM / 2), (32 * MEDIUM, 5 * MEDIUM)] {
        let (server, mut events, config) = watched(1, patient(), total);
        let client = Client::connect_narrow(server.addr, 16 * 1024);
        let mut client = client.secure(&config).expect("a handshake");
        client.get("/", "").take_until(b"\r\n\r\n").expect("a head");
        client.take_exactly(read);
        drop(client);
        let (event, ending) = events.remove(0).end(total as u64);
        assert!(matches!(event, Event::Aborted(_, AbortReason::Disconnected(_))), "{event:?}");
        let acked = ending.acked.expect("the kernel knows");
        assert!(
            acked <= read as u64 + AHEAD && acked + BEHIND >= read as u64,
            "{acked} of {read}: {ending:?}"
        );
    }
}

#[test]
fn a_client_within_tls_that_stops_is_aborted_as_stalled() {
    let options = ServerOptions { stall_timeout: SHORT, min_rate: u32::MAX, ..patient() };
    for total in [300_000, MEDIUM, 32 * MEDIUM] {
        let (server, mut events, config) = watched(1, options.clone(), total);
        let client = Client::connect_narrow(server.addr, 16 * 1024);
        let mut client = client.secure(&config).expect("a handshake");
        client.get("/", "").take_until(b"\r\n\r\n").expect("a head");
        client.take_exactly(100_000);
        let (event, ending) = events.remove(0).end(total as u64);
        assert!(matches!(event, Event::Aborted(_, AbortReason::Stalled)), "{event:?}");
        let acked = ending.acked.expect("the kernel knows");
        assert!(acked <= 100_000 + AHEAD && acked + BEHIND >= 100_000, "{ending:?}");
        expect_broken(&mut client, total - 100_000);
    }
}
