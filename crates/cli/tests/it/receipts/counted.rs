//! What is recorded, and what is only counted: with the default of `--ledger-min-size`.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use serde_json::{Value, json};

use crate::support::{EventStream, FileTree, Ledger, Receiver, Setup, binary, noise, output};

/// A tree with a small file, one of the size from which files are recorded, and a folder.
fn tree() -> FileTree {
    let tree = FileTree::new();
    tree.file("small.bin", noise(1, 6));
    tree.file("other.bin", noise(2, 1000));
    tree.file("big.bin", noise(3, 1 << 20));
    tree.file("folder/a.bin", noise(4, 10));
    tree
}

/// A server with the default, which tests have not otherwise.
fn setup(tree: &FileTree) -> Setup {
    Setup::of(tree.root()).arg("--ledger-min-size").arg("1MiB")
}

/// Path, deliveries, completed, broken, bytes: summed up over days, because a test may run at
/// midnight.
fn counts(ledger: &Ledger) -> Vec<(String, [u64; 4])> {
    let mut sums = std::collections::BTreeMap::<String, [u64; 4]>::new();
    for count in ledger.list()["counts"].as_array().unwrap() {
        let sum = sums.entry(count["path"].as_str().unwrap().to_owned()).or_default();
        for (sum, name) in sum.iter_mut().zip(["deliveries", "completed", "broken", "bytes"]) {
            *sum += count[name].as_u64().unwrap();
        }
    }
    sums.into_iter().collect()
}

/// The paths of all downloads, in order.
fn paths(ledger: &Ledger) -> Vec<String> {
    let downloads = ledger.downloads();
    let mut paths: Vec<_> =
        downloads.iter().map(|download| download["path"].as_str().unwrap().to_owned()).collect();
    paths.sort_unstable();
    paths
}

#[test]
fn small_files_without_a_link_are_counted_and_large_files_and_archives_recorded() {
    let tree = tree();
    let server = setup(&tree).start();
    let etag = server.etag("/other.bin");
    server.get("/small.bin").expect(200);
    server.get("/small.bin").expect(200);
    server.get("/other.bin").expect(200);
    server.fetch("GET", "/other.bin", &format!("Range: bytes=10-19\r\nIf-Range: {etag}\r\n")).expect(206);
    server.fetch("HEAD", "/other.bin", "").expect(200);
    server.fetch("GET", "/other.bin", &format!("If-None-Match: {etag}\r\n")).expect(304);
    server.get("/big.bin").expect(200);
    server.get("/folder/?zip").expect(200);
    let ledger = server.close();
    assert_eq!(paths(&ledger), ["/big.bin", "/folder/?zip"]);
    assert_eq!(
        counts(&ledger),
        [("/other.bin".to_owned(), [2, 1, 0, 1010]), ("/small.bin".to_owned(), [2, 2, 0, 12])]
    );
    let text = ledger.run(&["download", "list"]);
    assert!(text.contains("counted by day, not recorded") && text.contains("/small.bin"), "{text}");
    // What is counted has no recipient.
    let text = ledger.run(&["download", "list", "--recipient", "anna"]);
    assert_eq!(text, "no downloads\n");
}

#[test]
fn a_small_file_is_recorded_for_whoever_waits_for_it() {
    let tree = tree();
    let keys = tree.beside("keys");
    fs::write(&keys, output(binary().args(["link", "keygen"]))).unwrap();
    fs::set_permissions(&keys, fs::Permissions::from_mode(0o600)).unwrap();
    let link = output(
        binary()
            .args(["link", "create", "http://test/other.bin", "--recipient", "anna", "--link-keys"])
            .arg(&keys),
    );
    let link = link.trim_end().strip_prefix("http://test").unwrap().to_owned();
    let server = setup(&tree).arg("--link-keys").arg(&keys).start();
    server.get(&link).expect(200);
    // No listener yet, then this recipient.
    let anna = "User-Agent: anna\r\n";
    server.fetch("GET", "/small.bin", anna).expect(200);
    let mut events = EventStream::open(server.client(), "/small.bin?events", anna);
    events.next();
    server.fetch("GET", "/small.bin", anna).expect(200);
    server.fetch("GET", "/small.bin", "User-Agent: bert\r\n").expect(200);
    drop(events);
    let ledger = server.close();
    assert_eq!(paths(&ledger), ["/other.bin", "/small.bin"]);
    assert_eq!(counts(&ledger), [("/small.bin".to_owned(), [2, 2, 0, 12])]);

    let receiver = Receiver::start();
    let server = receiver.of(setup(&tree)).start();
    server.get("/small.bin").expect(200);
    server.ledger.await_events("download.completed", 1);
    let ledger = server.close();
    assert_eq!((paths(&ledger), counts(&ledger)), (vec!["/small.bin".to_owned()], Vec::new()));
}

#[test]
fn nothing_that_need_not_be_recorded_is_refused() {
    let tree = tree();
    // No room for a single change beyond one delivery.
    let server = setup(&tree).arg("--ledger-backlog").arg("2").start();
    let mut client = server.client();
    for _ in 0..500 {
        client.request("GET", "/small.bin", "").reply().expect(200);
    }
    let mut clients: Vec<_> = (0..8).map(|_| server.client()).collect();
    for client in &mut clients {
        client.request("GET", "/big.bin", "");
    }
    for client in &mut clients {
        client.reply().expect(200);
    }
    drop((client, clients));
    let ledger = server.close();
    let counted = counts(&ledger);
    let of = |path: &str| counted.iter().find(|(counted, _)| counted == path).map_or([0; 4], |(_, sum)| *sum);
    assert_eq!(of("/small.bin"), [500, 500, 0, 3000]);
    let recorded: u64 =
        ledger.downloads().iter().map(|download| download["deliveries"].as_u64().unwrap()).sum();
    // One recipient: further whole deliveries are further downloads.
    assert_eq!(of("/big.bin")[1] + recorded, 8);
    let all: Vec<Value> = ledger.downloads().iter().map(|download| download["state"].clone()).collect();
    assert!(all.iter().all(|state| *state == json!("completed")), "{all:?}");
}
