//! What the whole is for: a tree is published, and people take it out again, also while the store
//! fails.

use std::fs;

use outflow_testkit::needs;
use outflow_testkit::s3::{Double, FaultPlan, SeededFaults};
use tempfile::TempDir;

use super::downloads::{assert_extracted, escaped, fetch};
use crate::support::{
    BUCKET, FileTree, Moto, Random, S3Access, Server, StoreAccess as _, assert_same, noise, output, program,
};

/// Three hundred files with names of all kinds that archives can have everywhere, some of them
/// empty, one of 40 MB.
fn tree() -> FileTree {
    let tree = FileTree::new();
    let mut random = Random::new(9);
    for number in 0..294 {
        let folder = ["", "a/", "a/b/", "a b/ü/", "日本/", "x & y/"][number % 6];
        let name = ["plain", "with space", "ünï", "50% #1", "a+b=c;d", "'q' {q}", "😀", "-dash", "[x]{y}"]
            [number % 9];
        let len = if number % 17 == 0 { 0 } else { random.below(40_000) as usize };
        tree.file(format!("{folder}{name} {number}"), noise(random.next(), len));
    }
    tree.file("big.bin", noise(1, 40_000_003));
    for name in ["a/.hidden.txt", "a/~tilde", "a/e\u{301}", "a/é", "a/very/deep/down/there/it/is"] {
        tree.file(name, name);
    }
    tree
}

fn aria2c(server: &Server, path: &str, to: &TempDir, name: &str) {
    let mut aria2c = program("aria2c");
    aria2c.args(["--no-conf", "--quiet", "--file-allocation=none", "-x8", "-s8", "-k1M", "-m20"]);
    aria2c.args(["--retry-wait=1", "-o", name, "-d"]).arg(to.path());
    output(aria2c.arg(server.url(path)));
}

/// Publishes the tree and takes it back in every way; `fail` begins to make things hard.
fn there_and_back(access: &S3Access, fail: impl FnOnce()) {
    let tree = tree();
    let store = format!("s3://{BUCKET}/some/where");
    let mut publish = access.binary();
    publish.args(["publish", "--to", &store, "--id", "mine", "--title", "All of it"]).arg(tree.root());
    output(&mut publish);
    let mut files = FileTree::read(&tree.root());
    let server = access.serve("some/where").start();
    let mut client = server.client();
    let listing = client.get("/t/mine/?json").expect(200).json();
    // What begins with a dot may stay at home.
    if listing["files"] != files.len() {
        files.retain(|name, _| !name.split('/').any(|part| part.starts_with('.')));
    }
    assert_eq!(listing["files"], files.len(), "{listing}");
    let page = client.fetch("GET", "/t/mine/", "Accept: text/html\r\n").expect(200);
    assert!(page.text().contains("All of it") && page.text().contains("big.bin"));

    fail();
    for (name, bytes) in &files {
        let path = format!("/t/mine/{}", escaped(name));
        assert_eq!(client.fetch("HEAD", &path, "").expect(200).length(), bytes.len() as u64, "{name}");
        assert_same(&client.get(&path).expect(200).body, bytes, name);
    }
    let announced = client.fetch("HEAD", "/t/mine/?zip", "").expect(200).length();
    let (some, whole) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    fetch(&server.url("/t/mine/?zip&file=a%20b/&file=big.bin"), &some);
    let is_chosen = |name: &str| name.starts_with("a b/") || name == "big.bin";
    assert_extracted(&some, &files.clone().into_iter().filter(|(name, _)| is_chosen(name)).collect());
    aria2c(&server, "/t/mine/big.bin", &whole, "big.bin");
    assert_same(&fs::read(whole.path().join("big.bin")).unwrap(), &files["big.bin"], "big.bin");
    aria2c(&server, "/t/mine/?zip", &whole, "a.zip");
    assert_eq!(fs::metadata(whole.path().join("a.zip")).unwrap().len(), announced);
    assert_extracted(&whole, &files);
    let log = server.log();
    assert!(!log.iter().any(|line| line.contains(&access.secret) || line.contains("X-Amz-Signature")));
}

#[test]
fn a_published_tree_comes_back_from_a_store_that_fails() {
    needs!("aria2c", "curl", "python3", "unzip");
    let double = Double::start().unwrap();
    there_and_back(&double.access(), || {
        let seeded = SeededFaults { stall_ms: 300, ..SeededFaults::new(0.1, 3) };
        double.set_plan(FaultPlan { rules: Vec::new(), seeded: Some(seeded) });
    });
    assert!(double.stats().all_faults() > 20, "{:?}", double.stats().faults);
}

#[test]
fn a_published_tree_comes_back_from_moto() {
    needs!("aria2c", "curl", "moto", "python3", "unzip");
    there_and_back(&Moto::start().access, || {});
}
