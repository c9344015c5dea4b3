//! Files that change while they are sent: the client gets the old bytes whole, or a body that
//! breaks off; never a complete wrong file.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use outflow_content::{Content, Feed, FileSource, FileSpan, OpenFile, SpanError, SpanList, Wait};
use outflow_wire::ServerOptions;
use parking_lot::Mutex;

use super::Protocol;
use crate::support::{Event, TestFile, assert_same, noise, temp, watcher};

over_every_protocol! {
    a_file_truncated_to_its_first_half_is_cut,
    a_file_truncated_within_its_last_bytes_is_cut,
    a_file_truncated_to_nothing_is_cut,
    a_file_that_grows_is_cut,
    a_file_overwritten_in_place_is_cut,
    a_file_that_another_was_renamed_over_is_sent_whole,
    a_deleted_file_is_sent_whole,
    a_file_changed_before_it_is_sent_is_a_500,
    a_first_file_that_cannot_be_opened_is_a_500,
    a_second_file_that_cannot_be_opened_is_a_500_while_nothing_has_left,
    a_later_file_that_cannot_be_opened_cuts_the_connection,
    a_span_beyond_the_end_of_its_file_never_looks_complete,
}

/// Far more than the socket's buffers take, so that most of it is still with the server at the
/// change.
const LEN: usize = 32 * 1024 * 1024;

/// Downloads a file, changes it when the first bytes are there, and reads on. How the delivery
/// ended.
fn change_midway(protocol: Protocol, change: impl FnOnce(&Path), whole: bool) -> Event {
    let bytes = noise(47, LEN);
    let (_folder, path) = temp("file", &bytes);
    let (observer, events) = watcher();
    let slot = Mutex::new(Some((TestFile::open(&path), observer)));
    let site = protocol.serve_content(ServerOptions::default(), move |_| {
        let (file, observer) = slot.lock().take().expect("one request");
        file.content().observer(observer)
    });
    let mut reader = site.narrow_reader(16 * 1024);
    let first = reader.begin("/").read(64 * 1024);
    assert_same(&first, &bytes[..first.len()], "the first bytes");
    change(&path);
    if whole {
        let rest = reader.finish(LEN - first.len());
        assert_same(&rest, &bytes[first.len()..], "the rest");
        reader.close();
    } else {
        reader.expect_failure(LEN - first.len());
    }
    events.ending(LEN as u64)
}

fn writing(path: &Path) -> fs::File {
    OpenOptions::new().write(true).open(path).expect("a file to write to")
}

#[track_caller]
fn assert_failed(end: Event, why: &str) {
    let Event::Failed(sum, error) = end else { panic!("ended by {end:?}") };
    assert!(sum < LEN as u64, "all of it was sent");
    assert!(error.contains(why) && error.contains("file"), "{error}");
}

fn a_file_truncated_to_its_first_half_is_cut(protocol: Protocol) {
    let truncate = |path: &Path| writing(path).set_len(LEN as u64 / 2).expect("truncated");
    let end = change_midway(protocol, truncate, false);
    assert_failed(end, "was truncated: it ended at byte 16777216, 16777216 bytes early");
}

fn a_file_truncated_within_its_last_bytes_is_cut(protocol: Protocol) {
    let truncate = |path: &Path| writing(path).set_len(LEN as u64 - 1).expect("truncated");
    let end = change_midway(protocol, truncate, false);
    // Noticed before the last bytes leave by sendfile, or when they are read.
    match protocol {
        Protocol::Http1 => assert_failed(end, "was changed"),
        _ => assert_failed(end, "was truncated: it ended at byte 33554431, 1 bytes early"),
    }
}

fn a_file_truncated_to_nothing_is_cut(protocol: Protocol) {
    let truncate = |path: &Path| writing(path).set_len(0).expect("truncated");
    assert_failed(change_midway(protocol, truncate, false), "was truncated");
}

fn a_file_that_grows_is_cut(protocol: Protocol) {
    let grow = |path: &Path| {
        let mut file = OpenOptions::new().append(true).open(path).expect("a file to append to");
        file.write_all(b"one more line\n").expect("appended");
    };
    assert_failed(change_midway(protocol, grow, false), "was changed");
}

fn a_file_overwritten_in_place_is_cut(protocol: Protocol) {
    let overwrite = |path: &Path| writing(path).write_all_at(b"X", LEN as u64 / 2).expect("overwritten");
    assert_failed(change_midway(protocol, overwrite, false), "was changed");
}

fn a_file_that_another_was_renamed_over_is_sent_whole(protocol: Protocol) {
    let replace = |path: &Path| {
        let other = path.with_extension("new");
        fs::write(&other, "something else").expect("written");
        fs::rename(other, path).expect("renamed");
    };
    assert_eq!(change_midway(protocol, replace, true), Event::Completed(LEN as u64));
}

fn a_deleted_file_is_sent_whole(protocol: Protocol) {
    let delete = |path: &Path| fs::remove_file(path).expect("deleted");
    assert_eq!(change_midway(protocol, delete, true), Event::Completed(LEN as u64));
}

fn a_file_changed_before_it_is_sent_is_a_500(protocol: Protocol) {
    for len in [100, 100_000, 3_000_000] {
        let (_folder, path) = temp("file", &noise(53, len));
        let file = TestFile::open(&path);
        fs::write(&path, noise(59, len)).expect("overwritten");
        assert_unsent(protocol, move || file.content(), len as u64);
    }
}

/// A 500, the observer notified of a failure, and over HTTP/1 the connection closed.
#[track_caller]
fn assert_unsent(protocol: Protocol, content: impl Fn() -> Content + Send + Sync + 'static, total: u64) {
    let (observer, events) = watcher();
    let slot = Mutex::new(Some(observer));
    let site = protocol.serve_content(ServerOptions::default(), move |_| {
        let observer = slot.lock().take().expect("one request");
        content().observer(observer)
    });
    let mut peer = site.peer();
    let reply = peer.get("/", &[]);
    assert_eq!((reply.status, reply.find("etag")), (500, None));
    if !protocol.is_http2() {
        assert_eq!(reply.find("connection"), Some("close"));
        peer.expect_end();
    }
    assert!(matches!(events.ending(total), Event::Failed(0, _)));
}

/// A body that breaks off, perhaps before its head, and the observer notified of a failure.
#[track_caller]
fn assert_cut(protocol: Protocol, content: impl Fn() -> Content + Send + Sync + 'static, total: u64) {
    let (observer, events) = watcher();
    let slot = Mutex::new(Some(observer));
    let site = protocol.serve_content(ServerOptions::default(), move |_| {
        let observer = slot.lock().take().expect("one request");
        content().observer(observer)
    });
    let mut reader = site.reader();
    reader.request("/", &[]);
    if !protocol.is_http2() {
        reader.head();
    }
    reader.expect_failure(total as usize);
    assert!(matches!(events.ending(total), Event::Failed(..)));
}

/// A file that is not there when its bytes are to leave.
#[derive(Debug)]
struct Missing;

impl FileSource for Missing {
    fn open(&self, _: Wait) -> Result<Arc<dyn OpenFile>, SpanError> {
        Err(self.error())
    }

    fn feed(&self, _: u64, _: u64) -> Box<dyn Feed> {
        Box::new(Missing)
    }
}

impl Feed for Missing {
    fn poll_next(
        &mut self,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Bytes, SpanError>>> {
        std::task::Poll::Ready(Some(Err(self.error())))
    }
}

impl Missing {
    fn error(&self) -> SpanError {
        SpanError::Open { name: "missing".to_owned(), source: std::io::ErrorKind::NotFound.into() }
    }
}

fn missing(len: u64) -> FileSpan {
    FileSpan { file: Arc::new(Missing), offset: 0, len }
}

fn a_first_file_that_cannot_be_opened_is_a_500(protocol: Protocol) {
    for len in [10, 1_000_000] {
        assert_unsent(protocol, move || Content::files([missing(len)]), len);
    }
}

fn a_second_file_that_cannot_be_opened_is_a_500_while_nothing_has_left(protocol: Protocol) {
    for len in [10, 1_000_000] {
        let content = move || {
            let mut list = SpanList::new();
            list.push_bytes(Bytes::from_static(b"header of an archive"));
            list.push_file(missing(len));
            Content::new(Arc::new(list))
        };
        match protocol.is_http2() {
            // Its head may have left.
            true => assert_cut(protocol, content, len + 20),
            false => assert_unsent(protocol, content, len + 20),
        }
    }
}

fn a_later_file_that_cannot_be_opened_cuts_the_connection(protocol: Protocol) {
    let bytes = noise(61, 100_000);
    let (_folder, path) = temp("file", &bytes);
    let file = TestFile::open(&path);
    for len in [10, 1_000_000] {
        let (observer, events) = watcher();
        let slot = Mutex::new(Some((file.span(), observer)));
        let site = protocol.serve_content(ServerOptions::default(), move |_| {
            let (span, observer) = slot.lock().take().expect("one request");
            Content::files([span, missing(len)]).observer(observer)
        });
        let mut reader = site.reader();
        reader.request("/", &[]);
        if !protocol.is_http2() {
            reader.head();
        }
        let got = reader.expect_failure(bytes.len() + len as usize);
        assert_same(&got, &bytes[..got.len()], "what came before the cut");
        let end = events.ending(100_000 + len);
        let Event::Failed(sent, why) = end else { panic!("ended by {end:?}") };
        assert_eq!(why, "cannot open missing: entity not found");
        // What waited for more to fill a record or a frame with has not left.
        assert!(sent == 100_000 || protocol != Protocol::Http1 && sent < 100_000, "{sent} sent");
    }
}

fn a_span_beyond_the_end_of_its_file_never_looks_complete(protocol: Protocol) {
    for (len, cut) in [(1000, false), (100_000, true), (3_000_000, true)] {
        let (_folder, path) = temp("file", &noise(67, len));
        let file = TestFile::open(&path);
        let content = move || Content::files([FileSpan { len: len as u64 + 1, ..file.span() }]);
        match cut || protocol.is_http2() {
            true => assert_cut(protocol, content, len as u64 + 1),
            false => assert_unsent(protocol, content, len as u64 + 1),
        }
    }
}
