//! A disk that takes its time costs only those who wait for it.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

use outflow_content::{Content, Feed, FileSource, FileSpan, OpenFile, SpanError, Wait};

use crate::support::{
    Client, PATIENCE, Running, TestFile, assert_same, locked, pattern, serve_content, temp,
};

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
        match locked(&self.release).recv_timeout(PATIENCE) {
            Ok(true) => self.file.open(wait),
            _ => Err(failed(std::io::ErrorKind::PermissionDenied)),
        }
    }

    fn feed(&self, offset: u64, len: u64) -> Box<dyn Feed> {
        self.file.feed(offset, len)
    }
}

struct Disk {
    server: Running,
    begun: Receiver<()>,
    release: Sender<bool>,
    _folder: tempfile::TempDir,
}

/// A server of one thread: `/cold` waits for the disk, all else is at hand.
fn disk(bytes: &[u8]) -> Disk {
    let (folder, path) = temp("file", bytes);
    let file = TestFile::open(&path);
    let len = file.len();
    let ((told, begun), (release, wait)) = (channel(), channel());
    let cold = Arc::new(Cold { file: file.clone(), begun: told, release: Mutex::new(wait) });
    let server = serve_content(move |request| match request.uri().path() {
        "/cold" => {
            let file: Arc<Cold> = Arc::clone(&cold);
            Content::files([FileSpan { file, offset: 0, len }])
        }
        _ => file.content(),
    });
    Disk { server, begun, release, _folder: folder }
}

#[test]
fn others_are_served_while_one_waits_for_a_disk() {
    for len in [1000, 1_000_000] {
        let bytes = pattern(len, 83);
        let disk = disk(&bytes);
        let mut waiting = Client::connect(disk.server.addr);
        waiting.get("/cold", "");
        disk.begun.recv_timeout(PATIENCE).expect("the engine to open it where it may block");

        let mut other = Client::connect(disk.server.addr);
        for _ in 0..3 {
            assert_same(&other.get("/hot", "").reply().body, &bytes, "the other download");
        }
        disk.release.send(true).expect("somebody waits");
        assert_same(&waiting.reply().body, &bytes, "the download that waited");
        assert_same(&waiting.get("/hot", "").reply().body, &bytes, "the next one");
    }
}

#[test]
fn several_wait_for_disks_at_the_same_time() {
    let bytes = pattern(100_000, 89);
    let disk = disk(&bytes);
    let mut waiting: Vec<Client> = (0..5).map(|_| Client::connect(disk.server.addr)).collect();
    for client in &mut waiting {
        client.get("/cold", "");
        disk.begun.recv_timeout(PATIENCE).expect("one more to wait for the disk");
    }
    for _ in &waiting {
        disk.release.send(true).expect("somebody waits");
    }
    for client in &mut waiting {
        assert_same(&client.reply().body, &bytes, "body");
    }
}

#[test]
fn a_disk_that_fails_after_the_wait_is_a_500() {
    let disk = disk(&pattern(100_000, 97));
    let mut client = Client::connect(disk.server.addr);
    client.get("/cold", "");
    disk.begun.recv_timeout(PATIENCE).expect("the engine to open it where it may block");
    disk.release.send(false).expect("somebody waits");
    assert_eq!(client.reply().status, 500);
    client.expect_closed();
}
