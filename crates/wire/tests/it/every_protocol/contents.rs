//! Contents: every byte at its place; who the client is; what is counted.

use std::sync::Arc;

use bytes::Bytes;
use http::Request;
use outflow_content::{Content, EntityTag, SpanList};
use outflow_wire::{PeerAddr, RequestBody, Secure, SendPath, ServerOptions, ViaProxy};

use super::{Protocol, Site};
use crate::sending::{Fed, LENGTHS, MIB, length_in, run};
use crate::support::{Answer, TestFile, assert_same, noise, respond, temp, text};

over_every_protocol! {
    contents_of_every_kind_arrive_equal,
    files_and_memory_of_every_length_arrive_as_they_are,
    files_with_memory_between_them_leave_as_one_content,
    ranges_of_a_file_are_slices_of_it,
    the_client_is_known_by_address_proxy_and_tls,
    requests_and_bytes_are_counted,
}

fn content(request: &Request<RequestBody>, content: Content) -> Answer {
    Ok(respond(content, request.method(), request.headers()))
}

fn contents_of_every_kind_arrive_equal(protocol: Protocol) {
    let bytes = noise(1, 3_000_001);
    let (_folder, path) = temp("film", &bytes);
    let file = TestFile::open(&path);
    let want = Bytes::from(bytes);
    let bytes = want.clone();
    let site = protocol.serve(ServerOptions::default(), move |request| {
        let tag = EntityTag::strong("v1").expect("a tag");
        let answer = match request.uri().path() {
            "/file" => content(&request, file.content().etag(tag)),
            "/memory" => content(&request, Content::bytes(bytes.clone()).etag(tag)),
            "/feed" => content(&request, Content::new(Arc::new(Fed(bytes.clone(), bytes.len() as u64 - 3)))),
            "/mixed" => {
                let mut list = SpanList::new();
                list.push_bytes(Bytes::from_static(b"before"));
                list.push_file(file.span());
                list.push_bytes(Bytes::from_static(b"behind"));
                content(&request, Content::new(Arc::new(list)))
            }
            _ => content(&request, Content::bytes("")),
        };
        async move { answer }
    });
    let mut peer = site.peer();
    let fed = [&want[..want.len() - 3], b"end"].concat();
    let mixed = [b"before", &want[..], b"behind"].concat();
    for (path, want) in [("/file", &want[..]), ("/memory", &want), ("/feed", &fed), ("/mixed", &mixed)] {
        let length = want.len().to_string();
        let got = peer.get(path, &[]);
        assert_eq!((got.status, got.find("content-length")), (200, Some(&*length)));
        assert!(got.find("date").is_some());
        assert_same(&got.body, want, path);
        let part = peer.get(path, &[("range", "bytes=100000-2345678")]);
        assert_eq!((part.status, part.find("content-length")), (206, Some("2245679")));
        assert_same(&part.body, &want[100_000..2_345_679], "a range");
        let parts = peer.get(path, &[("range", "bytes=0-0,3000000-")]);
        assert!(parts.find("content-type").is_some_and(|kind| kind.starts_with("multipart/byteranges")));
        let text = parts.body.escape_ascii().to_string();
        assert_eq!(text.matches("Content-Range: bytes ").count(), 2, "{text}");
        assert!(parts.body.windows(want.len() - 3_000_000).any(|window| window == &want[3_000_000..]));
        assert_eq!(parts.find("content-length"), Some(&*parts.body.len().to_string()));
        let none = peer.get(path, &[("range", "bytes=9000000-")]);
        assert_eq!(none.status, 416);
        let head = peer.fetch("HEAD", path, &[]);
        assert_eq!((head.find("content-length"), &*head.body), (Some(&*length), &b""[..]));
    }
    let same = peer.get("/file", &[("if-none-match", "\"v1\"")]);
    assert_eq!((same.status, &same.body[..]), (304, &b""[..]));
    let empty = peer.get("/empty", &[]);
    assert_eq!((empty.status, empty.find("content-length"), empty.body.len()), (200, Some("0"), 0));
    assert_eq!(site.server.counters.connections.get(), 1);
    drop(peer);
    // Only a socket in the clear that carries one response at a time can be sent to from a file.
    assert_eq!(site.server.counted().body.of(SendPath::Sendfile).get() > 0, protocol == Protocol::Http1);
}

fn files_and_memory_of_every_length_arrive_as_they_are(protocol: Protocol) {
    let bytes = Bytes::from(noise(11, 5 * MIB + 10));
    let (_folder, path) = temp("file", &bytes);
    let file = TestFile::open(&path);
    let memory = bytes.clone();
    let site = protocol.serve_content(ServerOptions::default(), move |request| {
        let len = length_in(request.uri().path());
        if request.uri().path().starts_with("/file/") {
            Content::files([run(&file, 3, len)])
        } else {
            Content::bytes(memory.slice(3..3 + len))
        }
    });
    let mut peer = site.peer();
    for len in LENGTHS {
        for kind in ["file", "memory"] {
            let reply = peer.get(&format!("/{kind}/{len}"), &[]);
            assert_eq!(reply.find("content-length"), Some(&*len.to_string()));
            assert_same(&reply.body, &bytes[3..3 + len], &format!("{kind} of {len} bytes"));
        }
    }
    assert_eq!(site.server.counters.connections.get(), 1, "a connection was lost on the way");
}

fn files_with_memory_between_them_leave_as_one_content(protocol: Protocol) {
    let bytes = noise(13, 5 * MIB);
    let (_folder, path) = temp("file", &bytes);
    let file = TestFile::open(&path);
    let between = [Bytes::from(noise(1, 30)), Bytes::from(noise(2, 50 * 1024)), Bytes::new()];
    let frames = between.clone();
    let site = protocol.serve_content(ServerOptions::default(), move |request| {
        let len = length_in(request.uri().path());
        let mut list = SpanList::new();
        for frame in &frames {
            list.push_bytes(frame.clone());
            list.push_file(run(&file, 0, len));
            list.push_file(run(&file, (5 * MIB - len) as u64, len));
        }
        list.push_bytes(Bytes::from_static(b"end"));
        Content::new(Arc::new(list))
    });
    let mut peer = site.peer();
    for len in LENGTHS {
        let mut want = Vec::new();
        for frame in &between {
            want.extend_from_slice(frame);
            want.extend_from_slice(&bytes[..len]);
            want.extend_from_slice(&bytes[5 * MIB - len..]);
        }
        want.extend_from_slice(b"end");
        let reply = peer.get(&format!("/{len}"), &[]);
        assert_same(&reply.body, &want, &format!("runs of {len} bytes"));
    }
}

fn ranges_of_a_file_are_slices_of_it(protocol: Protocol) {
    let bytes = noise(29, 3 * MIB);
    let (_folder, path) = temp("file", &bytes);
    let file = TestFile::open(&path);
    let site = protocol.serve_content(ServerOptions::default(), move |_| {
        file.content().etag(EntityTag::strong("v1").expect("a tag"))
    });
    let mut peer = site.peer();
    for (range, want) in [
        ("0-0", &bytes[..1]),
        ("1000-", &bytes[1000..]),
        ("-40000", &bytes[3 * MIB - 40_000..]),
        ("2097151-2097153", &bytes[2 * MIB - 1..2 * MIB + 2]),
        ("65535-2162689", &bytes[65_535..2_162_690]),
    ] {
        let reply = peer.get("/", &[("range", &format!("bytes={range}")), ("if-range", "\"v1\"")]);
        let start = want.as_ptr() as usize - bytes.as_ptr() as usize;
        let shown = format!("bytes {start}-{}/{}", start + want.len() - 1, bytes.len());
        assert_eq!((reply.status, reply.find("content-range")), (206, Some(&*shown)));
        assert_same(&reply.body, want, range);
    }
    assert_eq!(peer.get("/", &[("range", "bytes=3145728-")]).status, 416);
    assert_eq!(peer.get("/", &[("if-none-match", "\"v1\"")]).status, 304);
    assert_eq!(peer.get("/", &[]).body.len(), bytes.len());
}

fn the_client_is_known_by_address_proxy_and_tls(protocol: Protocol) {
    let service = |request: Request<RequestBody>| async move {
        let extensions = request.extensions();
        let peer = extensions.get::<PeerAddr>().expect("always there").0;
        let via = extensions.get::<ViaProxy>().map(|via| via.0);
        let host = extensions.get::<Secure>().map(|secure| secure.host.clone());
        Ok(text(format!("{peer} {via:?} {host:?}")))
    };
    let host = if protocol.is_secure() { "Some(Some(\"localhost\"))" } else { "None" };
    let client = |site: &Site, header: &str| {
        let mut client = site.server.client();
        let own = client.stream.local_addr().expect("an address");
        if !header.is_empty() {
            client.send(header);
        }
        let mut reader = site.reader_over(client);
        (own, reader.begin("/").text())
    };
    let site = protocol.serve(ServerOptions::default(), service);
    let (own, told) = client(&site, "");
    assert_eq!(told, format!("{own} None {host}"));
    let behind = ServerOptions {
        proxy_protocol: vec!["127.0.0.1/32".parse().expect("a network")],
        ..ServerOptions::default()
    };
    let site = protocol.serve(behind, service);
    let (own, told) = client(&site, "PROXY TCP4 192.0.2.7 198.51.100.1 4711 80\r\n");
    assert_eq!(told, format!("192.0.2.7:4711 Some({own}) {host}"));
}

fn requests_and_bytes_are_counted(protocol: Protocol) {
    let site = protocol.serve(ServerOptions::default(), |request| {
        let answer = match request.uri().path() {
            "/copied" => Ok(text(vec![1; 5_000])),
            _ => content(&request, Content::bytes(vec![1; 70_000])),
        };
        async move { answer }
    });
    let mut peer = site.peer();
    peer.get("/copied", &[]);
    peer.get("/content", &[]);
    drop(peer);
    let counters = site.server.counted();
    assert_eq!((counters.requests.get(), counters.body.of(SendPath::Copy).get()), (2, 75_000));
    assert_eq!((counters.connections.get(), counters.refused.get()), (1, 0));
}
