//! Files that change while they are sent: the client gets the old bytes whole, or a broken connection
//! before the end; never a complete wrong file.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use outflow_content::{Content, Feed, FileSource, FileSpan, OpenFile, SpanError, SpanList, Wait};

use outflow_wire::ServerOptions;

use crate::support::{
    Client, Event, TestFile, assert_same, pattern, serve_content, serve_content_with, temp, watcher,
};

/// Far more than the socket's buffers take, so that most of it is still with the server at the change.
const LEN: usize = 32 * 1024 * 1024;

/// Downloads a file, changes it when the first bytes are there, and reads on. What came, and how the
/// delivery ended.
fn change_midway(change: impl FnOnce(&Path), whole: bool) -> Event {
    let bytes = pattern(LEN, 47);
    let (_folder, path) = temp("file", &bytes);
    let (observer, events) = watcher();
    let slot = std::sync::Mutex::new(Some((TestFile::open(&path), observer)));
    let server = serve_content(move |_| {
        let (file, observer) = crate::support::locked(&slot).take().expect("one request");
        file.content().observer(observer)
    });
    let mut client = Client::connect_narrow(server.addr, 16 * 1024);
    client.get("/", "").take_until(b"\r\n\r\n").expect("a head");
    let first = client.take(64 * 1024).expect("the first bytes");
    assert_same(&first, &bytes[..first.len()], "the first bytes");
    change(&path);
    if whole {
        let rest = client.take(LEN - first.len()).expect("the rest");
        assert_same(&rest, &bytes[first.len()..], "the rest");
    } else {
        client.expect_cut(LEN - first.len());
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

#[test]
fn a_file_truncated_to_its_first_half_is_cut() {
    let end = change_midway(|path| writing(path).set_len(LEN as u64 / 2).expect("truncated"), false);
    assert_failed(end, "was truncated: it ended at byte 16777216, 16777216 bytes early");
}

#[test]
fn a_file_truncated_within_its_last_bytes_is_cut() {
    let end = change_midway(|path| writing(path).set_len(LEN as u64 - 1).expect("truncated"), false);
    assert_failed(end, "was changed");
}

#[test]
fn a_file_truncated_to_nothing_is_cut() {
    let end = change_midway(|path| writing(path).set_len(0).expect("truncated"), false);
    assert_failed(end, "was truncated");
}

#[test]
fn a_file_that_grows_is_cut() {
    let end = change_midway(
        |path| {
            let mut file = OpenOptions::new().append(true).open(path).expect("a file to append to");
            file.write_all(b"one more line\n").expect("appended");
        },
        false,
    );
    assert_failed(end, "was changed");
}

#[test]
fn a_file_overwritten_in_place_is_cut() {
    let end =
        change_midway(|path| writing(path).write_all_at(b"X", LEN as u64 / 2).expect("overwritten"), false);
    assert_failed(end, "was changed");
}

#[test]
fn a_file_that_another_was_renamed_over_is_sent_whole() {
    let end = change_midway(
        |path| {
            let other = path.with_extension("new");
            fs::write(&other, "something else").expect("written");
            fs::rename(other, path).expect("renamed");
        },
        true,
    );
    assert_eq!(end, Event::Completed(LEN as u64));
}

#[test]
fn a_deleted_file_is_sent_whole() {
    let end = change_midway(|path| fs::remove_file(path).expect("deleted"), true);
    assert_eq!(end, Event::Completed(LEN as u64));
}

#[test]
fn a_file_changed_before_it_is_sent_is_a_500() {
    for len in [100, 100_000, 3_000_000] {
        let (_folder, path) = temp("file", &pattern(len, 53));
        let file = TestFile::open(&path);
        fs::write(&path, pattern(len, 59)).expect("overwritten");
        assert_unsent(move || file.content(), len as u64);
    }
}

/// Wants a 500, the connection closed, and the observer told of a failure.
#[track_caller]
fn assert_unsent(content: impl Fn() -> Content + Send + Sync + 'static, total: u64) {
    let (observer, events) = watcher();
    let slot = std::sync::Mutex::new(Some(observer));
    let server = serve_content(move |_| {
        let observer = crate::support::locked(&slot).take().expect("one request");
        content().observer(observer)
    });
    let mut client = Client::connect(server.addr);
    let reply = client.get("/", "").get("/second", "").reply();
    assert_eq!((reply.status, reply.header("connection")), (500, Some("close")));
    assert_eq!(reply.header("etag"), None);
    client.expect_closed();
    assert!(matches!(events.ending(total), Event::Failed(0, _)));
}

/// A file that is not there when its bytes are to leave.
#[derive(Debug)]
struct Missing;

impl FileSource for Missing {
    fn open(&self, _: Wait) -> Result<Arc<dyn OpenFile>, SpanError> {
        let source = std::io::ErrorKind::NotFound.into();
        Err(SpanError::Open { name: "missing".to_owned(), source })
    }

    fn feed(&self, _: u64, _: u64) -> Box<dyn Feed> {
        unreachable!("the engine opens files")
    }
}

fn missing(len: u64) -> FileSpan {
    FileSpan { file: Arc::new(Missing), offset: 0, len }
}

#[test]
fn a_first_file_that_cannot_be_opened_is_a_500() {
    for len in [10, 1_000_000] {
        assert_unsent(move || Content::files([missing(len)]), len);
    }
}

#[test]
fn a_second_file_that_cannot_be_opened_is_a_500_while_nothing_has_left() {
    for len in [10, 1_000_000] {
        let content = move || {
            let mut list = SpanList::new();
            list.push_bytes(Bytes::from_static(b"header of an archive"));
            list.push_file(missing(len));
            Content::new(Arc::new(list))
        };
        assert_unsent(content, len + 20);
    }
}

#[test]
fn a_later_file_that_cannot_be_opened_cuts_the_connection() {
    let bytes = pattern(100_000, 61);
    let (_folder, path) = temp("file", &bytes);
    let file = TestFile::open(&path);
    for len in [10, 1_000_000] {
        let (observer, events) = watcher();
        let slot = std::sync::Mutex::new(Some((file.span(), observer)));
        let server = serve_content(move |_| {
            let (span, observer) = crate::support::locked(&slot).take().expect("one request");
            Content::files([span, missing(len)]).observer(observer)
        });
        let mut client = Client::connect(server.addr);
        client.get("/", "").take_until(b"\r\n\r\n").expect("a head");
        let got = client.expect_cut(bytes.len() + len as usize);
        assert_same(&got, &bytes[..got.len()], "what came before the cut");
        let end = events.ending(100_000 + len);
        assert_eq!(end, Event::Failed(100_000, "cannot open missing: entity not found".to_owned()));
    }
}

#[test]
fn a_span_beyond_the_end_of_its_file_never_looks_complete() {
    for (len, cut) in [(1000, false), (100_000, true), (3_000_000, true)] {
        let (_folder, path) = temp("file", &pattern(len, 67));
        let file = TestFile::open(&path);
        let content = move || Content::files([FileSpan { len: len as u64 + 1, ..file.span() }]);
        if !cut {
            assert_unsent(content, len as u64 + 1);
            continue;
        }
        let server = serve_content(move |_| content());
        let mut client = Client::connect(server.addr);
        client.get("/", "").take_until(b"\r\n\r\n").expect("a head");
        client.expect_cut(len + 1);
    }
}

/// `sendfile` hands over pages by reference; `ServerOptions::sendfile` off is for those who overwrite in place.
#[test]
fn without_sendfile_a_file_overwritten_before_it_arrives_arrives_as_it_was() {
    let bytes = pattern(300_000, 53);
    let (_folder, path) = temp("file", &bytes);
    let (observer, events) = watcher();
    let slot = std::sync::Mutex::new(Some((TestFile::open(&path), observer)));
    let options = ServerOptions { sendfile: false, ..ServerOptions::default() };
    let server = serve_content_with(options, move |_| {
        let (file, observer) = crate::support::locked(&slot).take().expect("one request");
        file.content().observer(observer)
    });
    let mut client = Client::connect(server.addr);
    client.get("/", "");
    // All is in the kernel's hands.
    while !matches!(events.next().expect("more is told"), Event::Sent(_, 300_000)) {}
    writing(&path).write_all_at(&vec![0; 300_000], 0).expect("overwritten");
    assert_same(&client.reply().body, &bytes, "body");
    let counters = server.counted();
    assert_eq!((counters.sendfile_bytes(), counters.copied_bytes()), (0, 300_000));
}
