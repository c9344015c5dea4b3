//! Files that change while they are sent: the client has the old bytes, all of them, or an error.
//! Never a file that is wrong and looks complete.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt as _;

use crate::support::{FileTree, HttpClient, Reply, Server, assert_same, noise};

/// More than the kernel holds for a slow client.
const LEN: usize = 48 << 20;
/// What the client reads before the file changes.
const BEGUN: usize = 1 << 20;

/// A file, and a client that has begun to read it.
struct Begun {
    tree: FileTree,
    old: Vec<u8>,
    server: Server,
    client: HttpClient,
    read: Vec<u8>,
}

fn begin() -> Begun {
    let (tree, old) = (FileTree::new(), noise(1, LEN));
    tree.file("file.bin", &old);
    let server = Server::of(tree.root());
    let mut client = HttpClient::connect_narrow(server.addr, 4096);
    let head: Reply = client.request("GET", "/file.bin", "").head().expect(200);
    assert_eq!(head.length(), LEN as u64);
    let read = client.take(BEGUN).unwrap();
    Begun { tree, old, server, client, read }
}

impl Begun {
    /// The rest arrives as if nothing had happened.
    #[track_caller]
    fn expect_old(mut self, why: &str) {
        self.read.extend(self.client.take(LEN - BEGUN).unwrap());
        assert_same(&self.read, &self.old, why);
        self.server.delivery("/file.bin", "completed");
        // Nothing else is in the stream.
        self.client.fetch("GET", "/nothing", "").expect(404);
    }

    /// The connection breaks before the end, and the log says which file it was.
    #[track_caller]
    fn expect_cut(mut self, how: &str) {
        self.client.expect_cut(LEN - BEGUN);
        let line = self.server.delivery("/file.bin", "failed");
        assert!(line["bytes"].as_u64().unwrap() < LEN as u64, "{line}");
        let reason = line["reason"].as_str().unwrap();
        assert!(reason.contains("file.bin") && reason.contains(how), "{reason}");
    }
}

#[test]
fn a_file_that_grows_is_cut() {
    let begun = begin();
    let file = OpenOptions::new().append(true).open(begun.tree.at("file.bin")).unwrap();
    file.write_all_at(b"more", LEN as u64).unwrap();
    begun.expect_cut("changed");
}

#[test]
fn a_file_that_shrinks_is_cut() {
    let begun = begin();
    File::options().write(true).open(begun.tree.at("file.bin")).unwrap().set_len(LEN as u64 / 2).unwrap();
    begun.expect_cut("");
}

#[test]
fn a_file_that_loses_just_its_last_byte_is_cut() {
    let begun = begin();
    File::options().write(true).open(begun.tree.at("file.bin")).unwrap().set_len(LEN as u64 - 1).unwrap();
    begun.expect_cut("changed");
}

#[test]
fn a_file_that_is_emptied_is_cut() {
    let begun = begin();
    fs::write(begun.tree.at("file.bin"), "").unwrap();
    begun.expect_cut("");
}

#[test]
fn a_file_that_is_overwritten_in_place_is_cut() {
    let begun = begin();
    let file = File::options().write(true).open(begun.tree.at("file.bin")).unwrap();
    file.write_all_at(b"other", LEN as u64 - 5).unwrap();
    begun.expect_cut("changed");
}

#[test]
fn a_file_that_is_replaced_arrives_as_it_was() {
    let begun = begin();
    fs::write(begun.tree.beside("new"), noise(2, LEN)).unwrap();
    fs::rename(begun.tree.beside("new"), begun.tree.at("file.bin")).unwrap();
    begun.expect_old("replaced");
}

#[test]
fn a_file_that_is_deleted_arrives_as_it_was() {
    let begun = begin();
    fs::remove_file(begun.tree.at("file.bin")).unwrap();
    begun.expect_old("deleted");
}

#[test]
fn the_next_request_sees_the_new_file() {
    let tree = FileTree::new();
    let server = Server::of(tree.root());
    let mut client = server.client();
    for number in 0..50 {
        let new = noise(number, 1000 * (number as usize + 1));
        fs::write(tree.beside("new"), &new).unwrap();
        fs::rename(tree.beside("new"), tree.at("file.bin")).unwrap();
        let reply = client.get("/file.bin").expect(200);
        assert_same(&reply.body, &new, "the new file");
    }
    fs::remove_file(tree.at("file.bin")).unwrap();
    client.get("/file.bin").expect(404);
}

#[test]
fn a_small_file_that_is_overwritten_in_place_is_seen_as_it_is() {
    let tree = FileTree::new();
    tree.file("file.bin", noise(0, 5000));
    let server = Server::of(tree.root());
    let mut client = server.client();
    for number in 1..50 {
        // Asked for so often that a server is tempted to remember it.
        let mut etag = String::new();
        for _ in 0..5 {
            etag = client.get("/file.bin").expect(200).header("etag").to_owned();
        }
        let new = noise(number, 5000);
        File::options().write(true).open(tree.at("file.bin")).unwrap().write_all_at(&new, 0).unwrap();
        let reply = client.get("/file.bin").expect(200);
        assert_same(&reply.body, &new, "the new bytes");
        assert_ne!(reply.header("etag"), etag);
    }
}
