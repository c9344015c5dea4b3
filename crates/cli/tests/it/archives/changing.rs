//! Archives whose files change while they are sent, or between being looked at and being sent.

use std::fs;
use std::os::unix::fs::FileExt as _;

use crate::support::{FileTree, HttpClient, Server, assert_same, noise, until};
use outflow_testkit::needs;

/// More than the kernel holds for a slow client.
const LEN: usize = 24 << 20;
const BEGUN: usize = 1 << 20;

/// A folder of two files, in one of the layouts, and a client that has begun to read its archive.
struct Begun {
    tree: FileTree,
    server: Server,
    client: HttpClient,
    whole: Vec<u8>,
    read: Vec<u8>,
}

fn begin(layout: &str) -> Begun {
    let tree = FileTree::new();
    tree.file("first.bin", noise(1, LEN));
    tree.file("second.bin", noise(2, 200_000));
    let whole = {
        // Another server makes the same archive, so that this one has no CRC-32 yet.
        let other = Server::of(tree.root());
        if layout == "stored" {
            other.know_crcs("/?zip");
        }
        other.get("/?zip").expect(200)
    };
    let server = Server::of(tree.root());
    if layout == "stored" {
        server.know_crcs("/?zip");
    }
    let mut client = HttpClient::connect_narrow(server.addr, 4096);
    let head = client.request("GET", "/?zip", "").head().expect(200);
    assert_eq!(head.header("etag"), whole.header("etag"), "{layout}");
    let read = client.take(BEGUN).unwrap();
    Begun { tree, server, client, whole: whole.body, read }
}

impl Begun {
    #[track_caller]
    fn expect_cut_at(mut self, name: &str, layout: &str) {
        self.read.extend(self.client.expect_cut(self.whole.len() - BEGUN));
        let line = self.server.log_line(&["\"failed\"", "/?zip"]);
        assert!(line.contains(name), "{layout}: the log names {name}: {line}");
    }
}

#[test]
fn an_archive_is_cut_at_a_file_that_was_replaced() {
    needs!("curl");
    for layout in ["streamed", "stored"] {
        let begun = begin(layout);
        // Of the same size: only its time tells.
        fs::write(begun.tree.beside("new"), noise(3, 200_000)).unwrap();
        fs::rename(begun.tree.beside("new"), begun.tree.at("second.bin")).unwrap();
        begun.expect_cut_at("second.bin", layout);
    }
}

#[test]
fn an_archive_is_cut_at_a_file_that_is_gone() {
    needs!("curl");
    for layout in ["streamed", "stored"] {
        let begun = begin(layout);
        fs::remove_file(begun.tree.at("second.bin")).unwrap();
        begun.expect_cut_at("second.bin", layout);
    }
}

#[test]
fn an_archive_is_cut_at_a_file_that_became_a_link_or_a_fifo() {
    needs!("curl");
    for layout in ["streamed", "stored"] {
        let begun = begin(layout);
        fs::write(begun.tree.beside("secret"), noise(4, 200_000)).unwrap();
        fs::remove_file(begun.tree.at("second.bin")).unwrap();
        begun.tree.link("second.bin", "../secret");
        begun.expect_cut_at("second.bin", layout);
    }
}

#[test]
fn an_archive_is_cut_in_a_file_that_shrinks_while_it_is_sent() {
    needs!("curl");
    for layout in ["streamed", "stored"] {
        let begun = begin(layout);
        let file = fs::File::options().write(true).open(begun.tree.at("first.bin")).unwrap();
        file.set_len(LEN as u64 - 100).unwrap();
        begun.expect_cut_at("first.bin", layout);
    }
}

#[test]
fn an_archive_is_cut_in_a_file_that_is_overwritten_while_it_is_sent() {
    needs!("curl");
    for layout in ["streamed", "stored"] {
        let begun = begin(layout);
        let file = fs::File::options().write(true).open(begun.tree.at("first.bin")).unwrap();
        file.write_all_at(b"other", LEN as u64 - 5).unwrap();
        begun.expect_cut_at("first.bin", layout);
    }
}

#[test]
fn an_archive_goes_on_when_a_file_is_added_that_it_does_not_have() {
    needs!("curl");
    for layout in ["streamed", "stored"] {
        let mut begun = begin(layout);
        begun.tree.file("new.bin", noise(5, 1000));
        let rest = begun.client.take(begun.whole.len() - BEGUN).unwrap();
        begun.read.extend(rest);
        assert_same(&begun.read, &begun.whole, layout);
        // A new request gets it.
        until("the new file is in the archive", || {
            let new = begun.server.get("/?zip").expect(200).body;
            new.windows(7).any(|window| window == b"new.bin").then_some(())
        });
    }
}

#[test]
fn a_file_that_changes_right_after_it_was_planned_is_never_half_old() {
    needs!("curl");
    // Small enough that everything is sent at once if nobody stops it.
    for layout in ["streamed", "stored"] {
        let tree = FileTree::new();
        let old = noise(1, 10_000);
        tree.file("first.bin", noise(2, 50_000));
        tree.file("second.bin", &old);
        let server = Server::of(tree.root());
        if layout == "stored" {
            server.know_crcs("/?zip");
        }
        let planned = server.etag("/?zip");
        for new in [noise(3, 10_000), noise(3, 10_001), Vec::new()] {
            tree.file("second.bin", &new);
            let mut client = server.client();
            client.request("GET", "/?zip", "");
            let whole = client.try_head().and_then(|head| {
                if head.status >= 500 {
                    return Err(std::io::ErrorKind::ConnectionReset.into());
                }
                assert_eq!(head.status, 200);
                let body = client.take(head.length() as usize)?;
                Ok((head.header("etag").to_owned(), body))
            });
            match whole {
                // Complete, so it has to be the new one.
                Ok((etag, body)) => {
                    assert_ne!(etag, planned, "{layout}");
                    let at = new.get(..64).unwrap_or(&new);
                    assert!(body.windows(at.len().max(1)).any(|window| window == at) || new.is_empty());
                    assert!(!body.windows(64).any(|window| window == &old[..64]), "{layout}: old bytes");
                }
                Err(error) => {
                    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{layout}: {error}")
                }
            }
        }
        // Once the plan has been made again, everybody gets the new one.
        server.await_other_etag("/?zip", &planned);
        server.get("/?zip").expect(200);
    }
}
