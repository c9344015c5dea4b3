//! Answers built beforehand: the same as any others, only sooner.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{Request, Response};
use outflow_content::{
    Content, ContentBody, EntityTag, Feed, FileSource, FileSpan, OpenFile, Prebuilt, PrebuiltAnswer,
    SpanError, Wait,
};
use outflow_wire::{HttpService, PlainRequest, RequestBody};

use crate::support::{PATIENCE, assert_same, noise, serve_service};

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// Lengths around everything that the engine decides by, the last ones more than a socket takes.
const LENGTHS: [usize; 9] = [0, 1, 10 * KIB, 48 * KIB, 100_000, 2 * MIB - 1, 2 * MIB + 1, 5 * MIB, 24 * MIB];

/// A file in memory that says that it is sealed.
#[derive(Debug)]
struct Memory(OwnedFd);

impl OpenFile for Memory {
    fn fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    fn verify(&self) -> Result<(), SpanError> {
        Ok(())
    }

    fn name(&self) -> String {
        "memory".to_owned()
    }

    fn is_sealed(&self) -> bool {
        true
    }
}

#[derive(Debug)]
struct Sealed(Arc<Memory>);

impl FileSource for Sealed {
    fn open(&self, _: Wait) -> Result<Arc<dyn OpenFile>, SpanError> {
        Ok(Arc::clone(&self.0) as Arc<dyn OpenFile>)
    }

    fn feed(&self, _: u64, _: u64) -> Box<dyn Feed> {
        panic!("the engine sends files from their descriptors")
    }
}

/// Contents in memory and in sealed files, at `/memory/LENGTH` and `/sealed/LENGTH`.
#[derive(Clone)]
struct Service(Arc<Inner>);

struct Inner {
    contents: Vec<(String, Prebuilt)>,
    answered: AtomicUsize,
}

impl Service {
    fn new(bytes: &Bytes) -> Service {
        let memory =
            rustix::fs::memfd_create("test", rustix::fs::MemfdFlags::CLOEXEC).expect("a file in memory");
        let mut at = 0;
        while at < bytes.len() {
            at += rustix::io::pwrite(&memory, &bytes[at..], at as u64).expect("written");
        }
        let memory = Arc::new(Memory(memory));
        let describe = |content: Content, tag: &str| {
            let tag = EntityTag::strong(tag).expect("a tag");
            let modified = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
            Prebuilt::new(content.etag(tag).last_modified(modified))
        };
        let contents = LENGTHS.iter().flat_map(|&len| {
            let in_memory = describe(Content::bytes(bytes.slice(..len)), &format!("m{len}"));
            let file = Arc::new(Sealed(Arc::clone(&memory)));
            let span = FileSpan { file, offset: 0, len: len as u64 };
            let sealed = describe(Content::files([span]), &format!("s{len}"));
            [(format!("/memory/{len}"), in_memory), (format!("/sealed/{len}"), sealed)]
        });
        Service(Arc::new(Inner { contents: contents.collect(), answered: AtomicUsize::new(0) }))
    }

    fn find(&self, path: &str) -> Option<&Prebuilt> {
        self.0.contents.iter().find(|(at, _)| at == path).map(|(_, prebuilt)| prebuilt)
    }

    /// How many requests were answered in the ordinary way.
    fn answered(&self) -> usize {
        self.0.answered.load(Ordering::SeqCst)
    }
}

impl HttpService for Service {
    type Body = ContentBody;

    async fn answer(&self, request: Request<RequestBody>) -> Result<Response<ContentBody>, String> {
        self.0.answered.fetch_add(1, Ordering::SeqCst);
        let prebuilt = self.find(request.uri().path()).ok_or("nothing there")?;
        Ok(prebuilt.content().clone_unobserved().respond(request.method(), request.headers()))
    }

    const HAS_PREBUILT: bool = true;

    fn prebuilt(&self, request: &PlainRequest<'_>) -> Option<PrebuiltAnswer> {
        self.find(request.target())?.answer()
    }
}

/// Name and value of all fields but the time, in order.
fn fields(client_saw: &[(String, String)]) -> Vec<(String, String)> {
    let mut fields: Vec<_> = client_saw.iter().filter(|(name, _)| name != "date").cloned().collect();
    fields.sort();
    fields
}

#[test]
fn they_are_the_same_as_others_whatever_their_length() {
    let bytes = Bytes::from(noise(5, 24 * MIB));
    let service = Service::new(&bytes);
    let server = serve_service(service.clone());
    let mut client = server.client();
    for (n, len) in LENGTHS.into_iter().enumerate() {
        for kind in ["memory", "sealed"] {
            let path = format!("/{kind}/{len}");
            let before = service.answered();
            let usual = client.request("GET", &path, "").reply();
            let head = client.send(format!("HEAD {path} HTTP/1.1\r\nHost: x\r\n\r\n")).reply_to_head();
            assert_eq!(service.answered(), before, "{path}");
            // A field that may decide something leads the long way round.
            let long = client.request("GET", &path, "If-None-Match: \"other\"\r\n").reply();
            assert_eq!(service.answered(), before + 1, "{path}");
            // These decide nothing here.
            let browser =
                client.request("GET", &path, "Accept-Encoding: gzip\r\nConnection: keep-alive\r\n").reply();
            assert_eq!(service.answered(), before + 1, "{path}");
            for (what, reply) in [("usual", &usual), ("long", &long), ("browser", &browser)] {
                assert_eq!(reply.status, 200, "{what} {path}");
                assert_same(&reply.body, &bytes[..len], &format!("{what} {path}"));
                assert_eq!(fields(&reply.headers), fields(&long.headers), "{what} {path}");
                assert!(reply.find("date").is_some());
            }
            assert_eq!((head.status, fields(&head.headers)), (200, fields(&long.headers)));
            let range = client.request("GET", &path, "Range: bytes=0-0\r\n").reply();
            assert_eq!(range.status, if len == 0 { 416 } else { 206 }, "{n} {path}");
        }
    }
    assert_eq!(server.counters.connections.get(), 1, "a connection was lost on the way");
}

#[test]
fn requests_that_come_together_are_answered_in_their_order() {
    let bytes = Bytes::from(noise(5, 24 * MIB));
    let service = Service::new(&bytes);
    let server = serve_service(service.clone());
    let mut client = server.client();
    let mut requests = String::new();
    let asked: Vec<(&str, usize, bool)> = (0..60)
        .map(|n| (["memory", "sealed"][n % 2], LENGTHS[n % 6], n % 5 == 0))
        .inspect(|(kind, len, long)| {
            let line = if *long { "If-None-Match: \"other\"\r\n" } else { "" };
            requests.push_str(&format!("GET /{kind}/{len} HTTP/1.1\r\nHost: x\r\n{line}\r\n"));
        })
        .collect();
    // In two halves, the first of which ends within a head.
    let (first, second) = requests.split_at(requests.len() / 2 + 7);
    client.send(first).send(second);
    for (kind, len, _) in &asked {
        assert_same(&client.reply().body, &bytes[..*len], &format!("/{kind}/{len}"));
    }
    assert_eq!(service.answered(), asked.iter().filter(|(_, _, long)| *long).count());
}

#[test]
fn a_client_that_reads_slowly_gets_all_of_it() {
    let bytes = Bytes::from(noise(5, 24 * MIB));
    let server = serve_service(Service::new(&bytes));
    for kind in ["memory", "sealed"] {
        let mut client = server.narrow_client(16 * KIB);
        client.request("GET", &format!("/{kind}/{}", 24 * MIB), "");
        client.wait_for(8 * KIB);
        assert_same(&client.reply().body, &bytes, kind);
        assert_eq!(client.request("GET", &format!("/{kind}/1"), "").reply().body, bytes[..1]);
    }
}

#[test]
fn a_server_that_ends_says_so_behind_them() {
    let bytes = Bytes::from(noise(5, 24 * MIB));
    let server = serve_service(Service::new(&bytes));
    let mut client = server.narrow_client(16 * KIB);
    // Both are read by the server before the end begins.
    let ask = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
    client.send(format!("{}{}", ask(&format!("/sealed/{}", 24 * MIB)), ask("/memory/1")));
    client.take_until(b"\r\n\r\n").expect("a head");
    server.handle.drain(PATIENCE);
    let body = client.take(24 * MIB).expect("the body");
    assert_same(&body, &bytes, "the body");
    let last = client.reply();
    assert_eq!((last.find("connection"), last.body.len()), (Some("close"), 1));
    client.expect_closed();
    server.join();
}

#[test]
fn who_stops_the_server_has_no_half_a_body_that_looks_whole() {
    let bytes = Bytes::from(noise(5, 24 * MIB));
    for kind in ["memory", "sealed"] {
        let server = serve_service(Service::new(&bytes));
        let mut client = server.narrow_client(16 * KIB);
        client.request("GET", &format!("/{kind}/{}", 24 * MIB), "").take_until(b"\r\n\r\n").expect("a head");
        server.handle.stop();
        client.expect_cut(24 * MIB);
    }
}
