//! What gets into real stores, and out of them again.
//!
//! The double plays faults; moto, nginx and Garage are servers that know nothing of us.

use std::fs;

use outflow_testkit::needs;
use outflow_testkit::s3::{At, Double, Fault, FaultRule, Op};
use serde_json::Value;

use crate::support::{
    BUCKET, FileTree, Garage, HttpClient, Moto, Nginx, S3Access, StoreAccess as _, assert_same, noise,
    output, until,
};

/// Names as people give them, and a file of several parts.
pub(crate) fn tree() -> FileTree {
    let tree = FileTree::new();
    tree.file("big.bin", noise(1, 35_000_001));
    tree.file("empty", "");
    tree.file("folder/small.txt", "some text\n");
    tree.file("folder/with ü & #1 %20+.txt", "odd name");
    tree
}

/// Publishes the tree, compares the store with it, and takes it back.
fn in_and_out(access: &S3Access) {
    let (tree, bucket) = (tree(), access.bucket());
    let store = format!("s3://{BUCKET}/pre/fix");
    bucket.put("pre/other", "not ours");
    let mut publish = access.binary();
    publish.args(["publish", "--to", &store, "--id", "mine", "--title", "A title"]).arg(tree.root());
    output(&mut publish);
    let files = FileTree::read(&tree.root());
    let manifest: Value = serde_json::from_slice(&bucket.get("pre/fix/mine/manifest.json")).unwrap();
    for file in manifest["files"].as_array().unwrap() {
        let name = file["name"].as_str().unwrap();
        let key = file["key"].as_str().map_or_else(|| format!("files/{name}"), str::to_owned);
        assert_same(&bucket.get(&format!("pre/fix/mine/{key}")), &files[name], name);
    }
    assert_eq!(manifest["files"].as_array().unwrap().len(), files.len());
    assert_eq!(bucket.keys("pre/fix/").len(), files.len() + 1);
    let listed = output(access.binary().args(["transfer", "list", "--store", &store]));
    assert!(listed.contains("mine") && listed.contains("A title"), "{listed}");
    let server = access.serve("pre/fix").start();
    let page = server.get("/t/mine/?json").expect(200).json();
    assert_eq!((&page["title"], &page["files"]), (&"A title".into(), &files.len().into()), "{page}");
    assert!(!server.log().iter().any(|line| line.contains(&access.secret)), "the log has the secret key");
    drop(server);
    output(access.binary().args(["transfer", "remove", "mine", "--store", &store]));
    assert_eq!(bucket.keys(""), ["pre/other"]);
}

#[test]
fn a_tree_gets_into_the_double_and_out_of_it() {
    let double = Double::start().unwrap();
    in_and_out(&double.access());
    assert_eq!(double.open_uploads(), 0);
}

#[test]
fn a_tree_gets_into_moto_and_out_of_it() {
    needs!("moto", "python3");
    in_and_out(&Moto::start().access);
}

#[test]
#[ignore = "needs Garage: scripts/test --garage"]
fn a_tree_gets_into_garage_and_out_of_it() {
    in_and_out(&Garage::start().access);
}

#[test]
fn a_tree_gets_into_a_store_that_fails_now_and_then() {
    let double = Double::start().unwrap();
    let (at, ms) = (At::Byte(0), Some(100));
    double.play([
        FaultRule::on(Op::PutObject, Fault::SlowDown { retry_after: Some(1) }).nth(1),
        FaultRule::on(Op::PutObject, Fault::Reset { at }).nth(3),
        FaultRule::on(Op::UploadPart, Fault::Error500).nth(1),
        FaultRule::on(Op::UploadPart, Fault::Close { at }).nth(3),
        FaultRule::on(Op::CreateMultipartUpload, Fault::TooMany { retry_after: None }).nth(1),
        FaultRule::on(Op::CompleteMultipartUpload, Fault::SlowHead { ms }).nth(1),
        FaultRule::on(Op::HeadObject, Fault::Error500).nth(1),
    ]);
    in_and_out(&double.access());
    assert_eq!(double.open_uploads(), 0);
    assert!(double.stats().all_faults() >= 6, "{:?}", double.stats().faults);
}

#[test]
fn nginx_is_an_origin() {
    needs!("nginx");
    let nginx = Nginx::start();
    fs::write(nginx.root().join("a b"), "some bytes").unwrap();
    let mut client = HttpClient::connect(nginx.addr);
    let whole = client.get("/a%20b").expect(200);
    assert_eq!(whole.body, b"some bytes");
    let if_match = format!("Range: bytes=5-9\r\nIf-Match: {}\r\n", whole.header("etag"));
    assert_eq!(client.fetch("GET", "/a%20b", &if_match).expect(206).body, b"bytes");
    client.fetch("GET", "/a%20b", "If-Match: \"other\"\r\n").expect(412);
    // It answers first and writes then.
    until("nginx has logged three requests", || (nginx.requests().len() == 3).then_some(()));
    assert_eq!(nginx.url("a"), format!("http://{}/a", nginx.addr));
}
