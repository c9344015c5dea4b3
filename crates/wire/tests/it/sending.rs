//! Contents: every byte at its place, and by the way that the counters say it took.

use std::fmt;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderValue;
use outflow_content::{
    Content, Feed, FeedSpan, FileSource, FileSpan, OpenFile, Span, SpanError, SpanList, Spans, Wait,
};
use outflow_wire::{SendPath, ServerOptions};
use parking_lot::Mutex;

use crate::support::{Event, TestFile, assert_same, noise, serve_content, serve_content_with, temp, watcher};

pub(crate) const KIB: usize = 1024;
pub(crate) const MIB: usize = 1024 * KIB;

/// Lengths around everything that the engine decides by.
pub(crate) const LENGTHS: [usize; 18] = [
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

pub(crate) fn length_in(path: &str) -> usize {
    path.rsplit('/').next().and_then(|text| text.parse().ok()).expect("a length")
}

/// A run of `file` of this length.
pub(crate) fn run(file: &TestFile, offset: u64, len: usize) -> FileSpan {
    FileSpan { offset, len: len as u64, ..file.span() }
}

#[test]
fn a_large_file_leaves_by_sendfile_and_not_one_byte_of_it_is_copied() {
    let bytes = noise(17, 10 * MIB + 1);
    let (_folder, path) = temp("file", &bytes);
    let file = TestFile::open(&path);
    let server = serve_content(move |_| file.content());
    let reply = server.client().request("GET", "/", "").reply();
    assert_same(&reply.body, &bytes, "body");
    let counters = server.counted();
    assert_eq!(counters.body.of(SendPath::Sendfile).get(), bytes.len() as u64);
    assert_eq!(counters.body.of(SendPath::Copy).get(), 0);
}

/// A file that is open already: opening it checks nothing.
struct KeptOpen(TestFile, Arc<dyn OpenFile>);

impl fmt::Debug for KeptOpen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FileSource for KeptOpen {
    fn open(&self, _: Wait) -> Result<Arc<dyn OpenFile>, SpanError> {
        Ok(Arc::clone(&self.1))
    }

    fn feed(&self, offset: u64, len: u64) -> Box<dyn Feed> {
        self.0.feed(offset, len)
    }
}

#[test]
fn a_file_that_was_changed_while_it_was_kept_open_never_looks_complete() {
    for len in [KIB, 5 * KIB, 100_000, MIB, 2 * MIB + 1] {
        let (_folder, path) = temp("file", &noise(11, len));
        let file = TestFile::open(&path);
        let open = file.open(Wait::No).expect("unchanged");
        std::fs::write(&path, noise(13, len)).expect("overwritten");
        let (observer, events) = watcher();
        let slot = Mutex::new(Some((KeptOpen(file, open), observer)));
        let server = serve_content(move |_| {
            let (kept, observer) = slot.lock().take().expect("one request");
            let span = FileSpan { file: Arc::new(kept), offset: 0, len: len as u64 };
            Content::files([span]).observer(observer)
        });
        let got = server.client().request("GET", "/", "Connection: close\r\n").read_to_end();
        assert!(got.as_ref().map_or(0, Vec::len) < len, "{len}: {} bytes", got.map_or(0, |got| got.len()));
        let end = events.ending(len as u64);
        assert!(matches!(end, Event::Failed(..)), "{len}: {end:?}");
    }
}

#[test]
fn a_small_file_is_copied_and_leaves_with_its_head() {
    let bytes = noise(19, 4 * KIB - 1);
    let (_folder, path) = temp("file", &bytes);
    let file = TestFile::open(&path);
    let server = serve_content(move |_| file.content());
    let reply = server.client().request("GET", "/", "").reply();
    assert_same(&reply.body, &bytes, "body");
    let counters = server.counted();
    assert_eq!(counters.body.of(SendPath::Sendfile).get(), 0);
    assert_eq!(counters.body.of(SendPath::Copy).get(), bytes.len() as u64);
}

#[test]
fn the_counters_tell_files_from_what_stands_between_them() {
    let bytes = noise(23, MIB);
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
    let reply = server.client().request("GET", "/", "").reply();
    assert_eq!(reply.body.len(), 2 * MIB + 13 + 60 * KIB);
    let counters = server.counted();
    assert_eq!(counters.body.of(SendPath::Sendfile).get(), 2 * MIB as u64);
    assert_eq!(counters.body.of(SendPath::Copy).get(), 13 + 60 * KIB as u64);
}

#[test]
fn several_ranges_leave_as_multipart_by_the_kernel() {
    let bytes = noise(31, 3 * MIB);
    let (_folder, path) = temp("file", &bytes);
    let file = TestFile::open(&path);
    let server = serve_content(move |_| file.content().media_type(HeaderValue::from_static("a/b")));
    let mut client = server.client();
    let reply = client.request("GET", "/", "Range: bytes=2000000-2999999,5-9,-50000\r\n").reply();
    assert_eq!(reply.status, 206);
    let boundary = reply.find("content-type").expect("a type");
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
    assert_eq!(counters.body.of(SendPath::Sendfile).get(), 1_050_000);
    assert_eq!(counters.body.of(SendPath::Copy).get(), want.len() as u64 - 1_050_000);
}

#[test]
fn a_slow_reader_gets_the_right_bytes() {
    let bytes = noise(37, 8 * MIB);
    let (_folder, path) = temp("file", &bytes);
    let file = TestFile::open(&path);
    let frame = Bytes::from(noise(41, 100_000));
    let want = [&*frame, &*bytes, &*frame].concat();
    let server = serve_content(move |_| {
        let mut list = SpanList::new();
        list.push_bytes(frame.clone());
        list.push_file(file.span());
        list.push_bytes(frame.clone());
        Content::new(Arc::new(list))
    });
    let mut client = server.narrow_client(4096);
    client.request("GET", "/", "").take_until(b"\r\n\r\n").expect("a head");
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

/// `sendfile` hands over pages by reference; `ServerOptions::sendfile` off is for those who
/// overwrite in place.
#[test]
fn without_sendfile_a_file_overwritten_before_it_arrives_arrives_as_it_was() {
    let bytes = noise(53, 300_000);
    let (_folder, path) = temp("file", &bytes);
    let (observer, events) = watcher();
    let slot = parking_lot::Mutex::new(Some((TestFile::open(&path), observer)));
    let options = ServerOptions { sendfile: false, ..ServerOptions::default() };
    let server = serve_content_with(options, move |_| {
        let (file, observer) = slot.lock().take().expect("one request");
        file.content().observer(observer)
    });
    let mut client = server.client();
    client.request("GET", "/", "");
    // All is in the kernel's hands.
    while !matches!(events.next().expect("more is told"), Event::Sent(_, 300_000)) {}
    let file = std::fs::OpenOptions::new().write(true).open(&path).expect("a file to write to");
    file.write_all_at(&vec![0; 300_000], 0).expect("overwritten");
    assert_same(&client.reply().body, &bytes, "body");
    let counters = server.counted();
    assert_eq!(
        (counters.body.of(SendPath::Sendfile).get(), counters.body.of(SendPath::Copy).get()),
        (0, 300_000)
    );
}
