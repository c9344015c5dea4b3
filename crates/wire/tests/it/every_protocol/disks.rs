//! A slow disk delays only the downloads that need it.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use outflow_content::{Content, Feed, FileSource, FileSpan, OpenFile, SpanError, Wait};
use outflow_wire::ServerOptions;
use parking_lot::Mutex;

use super::{Protocol, Site};
use crate::support::{PATIENCE, TestFile, assert_same, noise, temp};

over_every_protocol! {
    others_are_served_while_one_waits_for_a_disk,
    several_wait_for_disks_at_the_same_time,
    a_disk_that_fails_after_the_wait_is_a_500,
}

/// A file that cannot be opened without waiting, and that is waited for until the test lets go.
#[derive(Debug)]
struct Cold {
    file: TestFile,
    begun: Sender<()>,
    release: Mutex<Receiver<bool>>,
}

impl FileSource for Cold {
    fn open(&self, wait: Wait) -> Result<Arc<dyn OpenFile>, SpanError> {
        let failed =
            |kind: std::io::ErrorKind| SpanError::Open { name: "cold".to_owned(), source: kind.into() };
        if wait == Wait::No {
            return Err(failed(std::io::ErrorKind::WouldBlock));
        }
        self.begun.send(()).expect("the test listens");
        match self.release.lock().recv_timeout(PATIENCE) {
            Ok(true) => self.file.open(wait),
            _ => Err(failed(std::io::ErrorKind::PermissionDenied)),
        }
    }

    fn feed(&self, offset: u64, len: u64) -> Box<dyn Feed> {
        self.file.feed(offset, len)
    }
}

/// A server of one thread, whose disk the test holds up.
struct Disk {
    site: Site,
    begun: Receiver<()>,
    release: Sender<bool>,
    _folder: tempfile::TempDir,
}

/// `/cold` waits for the disk, all else is at hand.
fn disk(protocol: Protocol, bytes: &[u8]) -> Disk {
    let (folder, path) = temp("file", bytes);
    let file = TestFile::open(&path);
    let len = file.len();
    let ((opening, begun), (release, wait)) = (channel(), channel());
    let cold = Arc::new(Cold { file: file.clone(), begun: opening, release: Mutex::new(wait) });
    let site = protocol.serve_content(ServerOptions::default(), move |request| match request.uri().path() {
        "/cold" => {
            let file: Arc<Cold> = Arc::clone(&cold);
            Content::files([FileSpan { file, offset: 0, len }])
        }
        _ => file.content(),
    });
    Disk { site, begun, release, _folder: folder }
}

fn others_are_served_while_one_waits_for_a_disk(protocol: Protocol) {
    for len in [1000, 1_000_000] {
        let bytes = noise(83, len);
        let disk = disk(protocol, &bytes);
        let mut waiting = disk.site.reader();
        waiting.request("/cold", &[]);
        disk.begun.recv_timeout(PATIENCE).expect("the engine to open it where it may block");
        let mut other = disk.site.peer();
        for _ in 0..3 {
            assert_same(&other.get("/hot", &[]).body, &bytes, "the other download");
        }
        disk.release.send(true).expect("somebody waits");
        assert_same(&waiting.head().finish(len), &bytes, "the download that waited");
        assert_same(&waiting.whole("/hot", len), &bytes, "the next one");
    }
}

fn several_wait_for_disks_at_the_same_time(protocol: Protocol) {
    let bytes = noise(89, 100_000);
    let disk = disk(protocol, &bytes);
    let mut waiting: Vec<_> = (0..5).map(|_| disk.site.reader()).collect();
    for reader in &mut waiting {
        reader.request("/cold", &[]);
        disk.begun.recv_timeout(PATIENCE).expect("one more to wait for the disk");
    }
    for _ in &waiting {
        disk.release.send(true).expect("somebody waits");
    }
    for reader in &mut waiting {
        assert_same(&reader.head().finish(100_000), &bytes, "body");
    }
}

fn a_disk_that_fails_after_the_wait_is_a_500(protocol: Protocol) {
    let disk = disk(protocol, &noise(97, 100_000));
    let (release, begun) = (disk.release, disk.begun);
    let releasing = std::thread::spawn(move || {
        begun.recv_timeout(PATIENCE).expect("the engine to open it where it may block");
        release.send(false).expect("somebody waits");
    });
    let mut peer = disk.site.peer();
    assert_eq!(peer.get("/cold", &[]).status, 500);
    releasing.join().expect("released");
    if !protocol.is_http2() {
        peer.expect_end();
    }
}
