//! Contents: every byte at its place, and by the way that the counters say it took.

use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderValue;
use outflow_content::{Content, EntityTag, Feed, FeedSpan, FileSpan, Span, SpanError, SpanList, Spans};

use crate::support::{Client, TestFile, assert_same, pattern, serve_content, temp};

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// Lengths around everything that the engine decides by.
const LENGTHS: [usize; 18] = [
    0,
    1,
    32 * KIB - 1,
    32 * KIB,
    32 * KIB + 1,
    48 * KIB - 1,
    48 * KIB,
    48 * KIB + 1,
    64 * KIB - 1,
    64 * KIB,
    64 * KIB + 1,
    100_000,
    2 * MIB - 1,
    2 * MIB,
    2 * MIB + 1,
    2 * MIB + 64 * KIB,
    2 * MIB + 64 * KIB + 1,
    5 * MIB,
];

fn length_in(path: &str) -> usize {
    path.rsplit('/').next().and_then(|text| text.parse().ok()).expect("a length")
}

/// A run of `file` of this length.
fn run(file: &TestFile, offset: u64, len: usize) -> FileSpan {
    FileSpan { offset, len: len as u64, ..file.span() }
}

#[test]
fn files_and_memory_of_every_length_arrive_as_they_are() {
    let bytes = Bytes::from(pattern(5 * MIB + 10, 11));
    let (_folder, path) = temp("file", &bytes);
    let file = TestFile::open(&path);
    let memory = bytes.clone();
    let server = serve_content(move |request| {
        let len = length_in(request.uri().path());
        if request.uri().path().starts_with("/file/") {
            Content::files([run(&file, 3, len)])
        } else {
            Content::bytes(memory.slice(3..3 + len))
        }
    });
    let mut client = Client::connect(server.addr);
    for len in LENGTHS {
        for kind in ["file", "memory"] {
            let reply = client.get(&format!("/{kind}/{len}"), "").reply();
            assert_eq!(reply.header("content-length"), Some(&*len.to_string()));
            assert_same(&reply.body, &bytes[3..3 + len], &format!("{kind} of {len} bytes"));
        }
    }
    assert_eq!(server.counters.connections(), 1, "a connection was lost on the way");
}

#[test]
fn files_with_memory_between_them_leave_as_one_content() {
    let bytes = pattern(5 * MIB, 13);
    let (_folder, path) = temp("file", &bytes);
    let file = TestFile::open(&path);
    let between = [Bytes::from(pattern(30, 1)), Bytes::from(pattern(50 * KIB, 2)), Bytes::new()];
    let (all, frames) = (bytes.clone(), between.clone());
    let server = serve_content(move |request| {
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
    let mut client = Client::connect(server.addr);
    for len in LENGTHS {
        let mut want = Vec::new();
        for frame in &between {
            want.extend_from_slice(frame);
            want.extend_from_slice(&all[..len]);
            want.extend_from_slice(&all[5 * MIB - len..]);
        }
        want.extend_from_slice(b"end");
        let reply = client.get(&format!("/{len}"), "").reply();
        assert_same(&reply.body, &want, &format!("runs of {len} bytes"));
    }
}

#[test]
fn a_large_file_leaves_by_sendfile_and_not_one_byte_of_it_is_copied() {
    let bytes = pattern(10 * MIB + 1, 17);
    let (_folder, path) = temp("file", &bytes);
    let file = TestFile::open(&path);
    let server = serve_content(move |_| file.content());
    let reply = Client::connect(server.addr).get("/", "").reply();
    assert_same(&reply.body, &bytes, "body");
    let counters = server.counted();
    assert_eq!(counters.sendfile_bytes(), bytes.len() as u64);
    assert_eq!(counters.copied_bytes(), 0);
}

#[test]
fn a_small_file_is_copied_and_leaves_with_its_head() {
    let bytes = pattern(4 * KIB - 1, 19);
    let (_folder, path) = temp("file", &bytes);
    let file = TestFile::open(&path);
    let server = serve_content(move |_| file.content());
    let reply = Client::connect(server.addr).get("/", "").reply();
    assert_same(&reply.body, &bytes, "body");
    let counters = server.counted();
    assert_eq!(counters.sendfile_bytes(), 0);
    assert_eq!(counters.copied_bytes(), bytes.len() as u64);
}

#[test]
fn the_counters_tell_files_from_what_stands_between_them() {
    let bytes = pattern(MIB, 23);
    let (_folder, path) = temp("file", &bytes);
    let file = TestFile::open(&path);
    let server = serve_content(move |_| {
        let mut list = SpanList::new();
        list.push_bytes(Bytes::from_static(b"header"));
        list.push_file(file.span());
        list.push_bytes(Bytes::from_static(b"between"));
        list.push_file(file.span());
        list.push_bytes(Bytes::from(vec![0; 60 * KIB]));
        Content::new(Arc::new(list))
    });
    let reply = Client::connect(server.addr).get("/", "").reply();
    assert_eq!(reply.body.len(), 2 * MIB + 13 + 60 * KIB);
    let counters = server.counted();
    assert_eq!(counters.sendfile_bytes(), 2 * MIB as u64);
    assert_eq!(counters.copied_bytes(), 13 + 60 * KIB as u64);
}

#[test]
fn ranges_of_a_file_are_slices_of_it() {
    let bytes = pattern(3 * MIB, 29);
    let (_folder, path) = temp("file", &bytes);
    let file = TestFile::open(&path);
    let server = serve_content(move |_| file.content().etag(EntityTag::strong("v1").expect("a tag")));
    let mut client = Client::connect(server.addr);
    for (range, want) in [
        ("0-0", &bytes[..1]),
        ("1000-", &bytes[1000..]),
        ("-40000", &bytes[3 * MIB - 40_000..]),
        ("2097151-2097153", &bytes[2 * MIB - 1..2 * MIB + 2]),
        ("65535-2162689", &bytes[65_535..2_162_690]),
    ] {
        let reply = client.get("/", &format!("Range: bytes={range}\r\nIf-Range: \"v1\"\r\n")).reply();
        let start = want.as_ptr() as usize - bytes.as_ptr() as usize;
        let shown = format!("bytes {start}-{}/{}", start + want.len() - 1, bytes.len());
        assert_eq!((reply.status, reply.header("content-range")), (206, Some(&*shown)));
        assert_same(&reply.body, want, range);
    }
    assert_eq!(client.get("/", "Range: bytes=3145728-\r\n").reply().status, 416);
    assert_eq!(client.get("/", "If-None-Match: \"v1\"\r\n").reply().status, 304);
    assert_eq!(client.get("/", "").reply().body.len(), bytes.len());
}

#[test]
fn several_ranges_leave_as_multipart_by_the_kernel() {
    let bytes = pattern(3 * MIB, 31);
    let (_folder, path) = temp("file", &bytes);
    let file = TestFile::open(&path);
    let server = serve_content(move |_| file.content().media_type(HeaderValue::from_static("a/b")));
    let mut client = Client::connect(server.addr);
    let reply = client.get("/", "Range: bytes=2000000-2999999,5-9,-50000\r\n").reply();
    assert_eq!(reply.status, 206);
    let boundary = reply.header("content-type").expect("a type");
    let boundary = boundary.strip_prefix("multipart/byteranges; boundary=").expect("multipart").to_owned();
    let mut want = Vec::new();
    let mut start = "";
    for range in [2_000_000..3_000_000, 5..10, 3 * MIB - 50_000..3 * MIB] {
        let (first, last) = (range.start, range.end - 1);
        let head = format!(
            "{start}--{boundary}\r\nContent-Type: a/b\r\nContent-Range: bytes {first}-{last}/3145728\r\n\r\n"
        );
        want.extend_from_slice(head.as_bytes());
        want.extend_from_slice(&bytes[range]);
        start = "\r\n";
    }
    want.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
    assert_same(&reply.body, &want, "multipart");
    let counters = server.counted();
    assert_eq!(counters.sendfile_bytes(), 1_050_000);
    assert_eq!(counters.copied_bytes(), want.len() as u64 - 1_050_000);
}

#[test]
fn a_slow_reader_gets_the_right_bytes() {
    let bytes = pattern(8 * MIB, 37);
    let (_folder, path) = temp("file", &bytes);
    let file = TestFile::open(&path);
    let frame = Bytes::from(pattern(100_000, 41));
    let want = [&*frame, &*bytes, &*frame].concat();
    let server = serve_content(move |_| {
        let mut list = SpanList::new();
        list.push_bytes(frame.clone());
        list.push_file(file.span());
        list.push_bytes(frame.clone());
        Content::new(Arc::new(list))
    });
    let mut client = Client::connect_narrow(server.addr, 4096);
    client.get("/", "").take_until(b"\r\n\r\n").expect("a head");
    let mut got = Vec::new();
    while got.len() < want.len() {
        let piece = (1 + got.len() % 5000).min(want.len() - got.len());
        got.extend_from_slice(&client.take(piece).expect("a piece"));
    }
    assert_same(&got, &want, "body");
}

/// Yields `bytes` in chunks of growing length, each only when it is asked a second time.
struct Hesitant {
    bytes: Bytes,
    chunk: usize,
    asked: bool,
}

impl Feed for Hesitant {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, SpanError>>> {
        self.asked = !self.asked;
        if self.asked {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.chunk = self.chunk * 2 + 1;
        let chunk = self.bytes.split_to(self.chunk.min(self.bytes.len()));
        Poll::Ready((!chunk.is_empty()).then_some(Ok(chunk)))
    }
}

/// A feed, of which so many bytes are announced, and a word behind it.
pub(crate) struct Fed(pub(crate) Bytes, pub(crate) u64);

impl Spans for Fed {
    fn len(&self) -> u64 {
        self.1 + 3
    }

    fn span_at(&self, offset: u64) -> Result<Span, SpanError> {
        if offset >= self.1 {
            return Ok(Span::Memory(Bytes::from_static(b"end").slice((offset - self.1) as usize..)));
        }
        let bytes = self.0.slice((offset as usize).min(self.0.len())..);
        let feed = Box::new(Hesitant { bytes, chunk: 0, asked: false });
        Ok(Span::Feed(FeedSpan { feed, len: self.1 - offset }))
    }
}

#[test]
fn a_feed_leaves_as_it_yields_and_no_further_than_its_span() {
    let bytes = Bytes::from(pattern(MIB, 43));
    let fed = bytes.clone();
    let server = serve_content(move |request| {
        Content::new(Arc::new(Fed(fed.clone(), length_in(request.uri().path()) as u64)))
    });
    let mut client = Client::connect(server.addr);
    for len in [1, 1000, 100_000, MIB] {
        let reply = client.get(&format!("/{len}"), "").reply();
        assert_same(&reply.body, &[&bytes[..len], b"end"].concat(), "fed");
        let reply = client.get(&format!("/{len}"), "Range: bytes=-4\r\n").reply();
        assert_same(&reply.body, &[&bytes[len - 1..len], b"end"].concat(), "the end of it");
    }
    // One byte more than the feed has: the connection breaks before the end.
    client.get(&format!("/{}", MIB + 1), "").take_until(b"\r\n\r\n").expect("a head");
    let got = client.expect_cut(MIB + 4);
    assert_same(&got, &bytes[..got.len()], "what came before the cut");
}
