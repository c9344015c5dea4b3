//! Downloads out of real stores: every byte of files, ranges, archives and selections.

use std::fs;

use outflow_testkit::needs;
use outflow_testkit::s3::{Double, FaultPlan, SeededFaults};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::uploads::tree;
use crate::support::{
    Bucket, FileTree, Files, Garage, Moto, Nginx, S3Access, Server, Setup, StoreAccess as _, assert_same,
    output, program, python,
};

/// Where the transfers of these tests lie.
const PREFIX: &str = "some/where";

/// Puts a transfer as any other program would: its objects, then its manifest.
fn put_transfer(bucket: &Bucket, id: &str, files: &Files, has_crcs: bool) {
    let files: Vec<Value> = files
        .iter()
        .map(|(name, bytes)| {
            // Keys need not resemble names.
            let key = format!("objects/{:08x}", crc32fast::hash(name.as_bytes()));
            let etag = bucket.put(&format!("{PREFIX}/{id}/{key}"), bytes.clone());
            let mut file = json!({"name": name, "key": key, "size": bytes.len(), "etag": etag});
            if has_crcs {
                file["crc32"] = format!("{:08x}", crc32fast::hash(bytes)).into();
            }
            file
        })
        .collect();
    let manifest = json!({"version": 1, "id": id, "created": "2026-11-01T09:30:00Z", "files": files});
    bucket.put(&format!("{PREFIX}/{id}/manifest.json"), manifest.to_string());
}

/// Takes the collection at `root` in every way there is, and compares what comes with the files.
fn take(server: &Server, root: &str, files: &Files) {
    let mut client = server.client();
    let listing = client.get(&format!("{root}?json")).expect(200).json();
    assert_eq!(listing["entries"].as_array().unwrap().len(), 3, "{listing}");
    for (name, bytes) in files {
        let path = format!("{root}{}", escaped(name));
        assert_same(&client.get(&path).expect(200).body, bytes, name);
        assert_eq!(client.fetch("HEAD", &path, "").expect(200).length(), bytes.len() as u64);
    }
    let big = &files["big.bin"];
    for range in [0..1, 1..8_388_609, 8_388_607..8_388_610, 30_000_000..35_000_001] {
        let text = format!("{}-{}", range.start, range.end - 1);
        let part = client.get_range(&format!("{root}big.bin"), &text).expect(206);
        assert_same(&part.body, &big[range], &text);
    }
    let whole = TempDir::new().unwrap();
    fetch(&server.url(&format!("{root}?zip")), &whole);
    assert_extracted(&whole, files);
    let some = TempDir::new().unwrap();
    fetch(&server.url(&format!("{root}?zip&file=folder/")), &some);
    let chosen = files.clone().into_iter().filter(|(name, _)| name.starts_with("folder/")).collect();
    assert_extracted(&some, &chosen);
}

pub(crate) fn escaped(name: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/.".contains(&byte);
    name.bytes()
        .map(|byte| if plain(byte) { (byte as char).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

pub(crate) fn fetch(url: &str, to: &TempDir) {
    let mut curl = program("curl");
    curl.args(["--disable", "-sSf", "--noproxy", "*", "-o"]).arg(to.path().join("a.zip"));
    output(curl.arg(url));
}

/// The archive in `dir` is sound, by two readers, and has these files.
pub(crate) fn assert_extracted(dir: &TempDir, files: &Files) {
    let archive = dir.path().join("a.zip");
    output(python("check_zip.py").arg(&archive));
    output(program("unzip").arg("-tq").arg(&archive));
    let to = dir.path().join("out");
    output(program("unzip").arg("-q").arg(&archive).arg("-d").arg(&to));
    let found = FileTree::read(&to);
    assert_eq!(found.keys().collect::<Vec<_>>(), files.keys().collect::<Vec<_>>());
    for (name, bytes) in files {
        assert_same(&found[name], bytes, name);
    }
}

fn serve_all(access: &S3Access) {
    let (bucket, files) = (access.bucket(), FileTree::read(&tree().root()));
    put_transfer(&bucket, "known", &files, true);
    put_transfer(&bucket, "unknown", &files, false);
    let server = access.serve(PREFIX).start();
    take(&server, "/t/known/", &files);
    take(&server, "/t/unknown/", &files);
    let secret = server.log().iter().any(|line| line.contains(&access.secret));
    assert!(!secret, "the log has the secret key");
}

#[test]
fn a_folder_is_served_the_same_way() {
    needs!("curl", "python3", "unzip");
    let tree = tree();
    take(&Server::of(tree.root()), "/", &FileTree::read(&tree.root()));
}

#[test]
fn transfers_in_the_double_are_served() {
    needs!("curl", "python3", "unzip");
    serve_all(&Double::start().unwrap().access());
}

#[test]
fn transfers_in_moto_are_served() {
    needs!("curl", "python3", "unzip");
    serve_all(&Moto::start().access);
}

#[test]
#[ignore = "needs Garage: scripts/test --garage"]
fn transfers_in_garage_are_served() {
    serve_all(&Garage::start().access);
}

#[test]
fn transfers_at_an_http_origin_are_served() {
    needs!("curl", "nginx", "python3", "unzip");
    let (nginx, files) = (Nginx::start(), FileTree::read(&tree().root()));
    let folder = nginx.root().join("mine");
    fs::create_dir_all(folder.join("files")).unwrap();
    let list = files.iter().enumerate().map(|(number, (name, bytes))| {
        let key = format!("files/{number}");
        fs::write(folder.join(&key), bytes).unwrap();
        json!({"name": name, "key": key, "size": bytes.len()})
    });
    let list: Vec<Value> = list.collect();
    let manifest = json!({"version": 1, "id": "mine", "created": "2026-11-01T09:30:00Z", "files": list});
    fs::write(folder.join("manifest.json"), manifest.to_string()).unwrap();
    let server = Setup::of(nginx.url("")).start();
    take(&server, "/t/mine/", &files);
}

#[test]
fn many_connections_get_it_all_while_the_store_fails() {
    needs!("aria2c", "python3", "unzip");
    let double = Double::start().unwrap();
    let (access, files) = (double.access(), FileTree::read(&tree().root()));
    put_transfer(&access.bucket(), "mine", &files, true);
    let server = access.serve(PREFIX).start();
    let seeded = SeededFaults { stall_ms: 300, ..SeededFaults::new(0.2, 7) };
    double.set_plan(FaultPlan { rules: Vec::new(), seeded: Some(seeded) });
    let dir = TempDir::new().unwrap();
    for (path, name) in [("/t/mine/big.bin", "big.bin"), ("/t/mine/?zip", "a.zip")] {
        let mut aria2c = program("aria2c");
        aria2c.args(["--no-conf", "--quiet", "--file-allocation=none", "-x8", "-s8", "-k1M", "-m20"]);
        aria2c.args(["--retry-wait=1", "-o", name, "-d"]).arg(dir.path());
        output(aria2c.arg(server.url(path)));
    }
    assert_same(&fs::read(dir.path().join("big.bin")).unwrap(), &files["big.bin"], "big.bin");
    assert_extracted(&dir, &files);
    assert!(double.stats().all_faults() > 0);
}
