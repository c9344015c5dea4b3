//! `outflow serve` on a store that is a folder: transfers, and the same objects as plain folders.

use crate::support::{ChildProgram, FileTree, Setup, binary, noise, output};

struct Published {
    store: FileTree,
}

impl Published {
    fn new() -> Published {
        let (tree, store) = (FileTree::new(), FileTree::new());
        tree.file("a.txt", "public");
        tree.file("sub/b.bin", noise(1, 300_000));
        let mut publish = binary();
        publish.arg("publish").arg(tree.root()).args(["--to", &address(&store), "--id", "abc"]);
        output(publish.args(["--title", "Two files", "--message", "Hello\nyou"]));
        Published { store }
    }

    fn setup(&self) -> Setup {
        Setup::of(address(&self.store))
    }
}

fn address(store: &FileTree) -> String {
    format!("file://{}", store.root().display())
}

#[test]
fn what_was_published_is_served() {
    let published = Published::new();
    let server = published.setup().arg("--store-connections").arg("8").arg("--segment-memory=64MiB").start();
    let json = server.get("/t/abc/?json").expect(200).json();
    assert_eq!((json["title"].as_str(), json["files"].as_u64()), (Some("Two files"), Some(2)));
    let file = server.fetch("HEAD", "/t/abc/sub/b.bin", "").expect(200);
    assert_eq!(file.header("content-length"), "300000");
    // Publishing computed the CRC-32s, so the archive is stored from the first request on.
    let archive = server.fetch("HEAD", "/t/abc/?zip", "").expect(200);
    let names = "a.txt".len() + "sub/b.bin".len();
    assert_eq!(
        archive.header("content-length"),
        (2 * (30 + 9 + 46 + 9) + 2 * names + 300_006 + 22).to_string()
    );
    assert_eq!(archive.header("content-disposition"), "attachment; filename=\"Two files.zip\"");
    server.get("/t/abc/no").expect(404);
    server.get("/t/other/").expect(404);

    let mut unpublish = binary();
    output(unpublish.args(["transfer", "remove", "abc", "--store", &address(&published.store)]));
    crate::support::until("it is gone", || (server.fetch("HEAD", "/t/abc/", "").status == 404).then_some(()));
}

#[test]
fn a_broken_manifest_is_in_the_log_and_not_in_the_answer() {
    let published = Published::new();
    let manifest = published.store.root().join("abc/manifest.json");
    let broken = std::fs::read_to_string(&manifest).unwrap().replace("sub/b.bin", "../b.bin");
    std::fs::write(&manifest, broken).unwrap();
    let server = published.setup().start();
    let reply = server.get("/t/abc/").expect(502);
    assert!(!reply.text().contains(".."), "{}", reply.text());
    server.log_line(&["\"id\":\"abc\"", "../b.bin"]);
}

#[test]
fn a_store_can_be_served_as_it_is() {
    let published = Published::new();
    let server = published.setup().arg("--plain").start();
    let json = server.get("/abc/files/?json").expect(200).json();
    assert_eq!(json["entries"].as_array().unwrap().len(), 2);
    assert_eq!(
        server.fetch("HEAD", "/abc/files/sub/b.bin", "").expect(200).header("content-length"),
        "300000"
    );
    server.get("/abc/files/sub").expect(308);
}

#[test]
fn wrong_words_about_stores_are_usage_errors_or_say_what_to_do() {
    let run = |args: &[&str]| ChildProgram::start(binary().arg("serve").args(args)).finish();
    let plain = run(&["--plain", "."]);
    assert_eq!(plain.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&plain.stderr).contains("--plain needs a store"));
    assert_eq!(run(&["--segment-memory", "much", "."]).status.code(), Some(2));
    assert_eq!(run(&["--store-connections", "0", "."]).status.code(), Some(2));
    let unknown = run(&["ftp://user:secret@host/x"]);
    let text = String::from_utf8_lossy(&unknown.stderr).into_owned();
    assert_eq!(unknown.status.code(), Some(2), "{text}");
    assert!(!text.contains("secret"), "{text}");
}
