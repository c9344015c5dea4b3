//! `outflow publish` and `outflow transfer`, to folders and to a real S3 server (moto, a process of
//! its own).

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, SystemTime};

use outflow_testkit::needs;
use outflow_testkit::s3::{Double, Fault, StoredObject, Op, FaultRule};
use serde_json::Value;
use tempfile::TempDir;

use crate::support::{Moto, ChildProgram, FileTree, assert_same, binary, noise, output, program, until};

/// Whom moto takes requests from: it does not look at signatures.
const SIGNED: &str = "Authorization: AWS4-HMAC-SHA256 Credential=key/20260101/us-east-1/s3/aws4_request, \
                      SignedHeaders=host, Signature=0";

/// An S3 server with a bucket.
struct S3 {
    endpoint: String,
    _moto: Moto,
}

impl S3 {
    fn start() -> S3 {
        let moto = Moto::start();
        let s3 = S3 { endpoint: moto.access.endpoint.clone(), _moto: moto };
        s3.ask(&["-X", "PUT"], "");
        s3
    }

    fn url(&self, rest: &str) -> String {
        format!("{}/bucket{rest}", self.endpoint)
    }

    fn ask(&self, args: &[&str], rest: &str) -> String {
        output(program("curl").args(["-sf", "-H", SIGNED]).args(args).arg(self.url(rest)))
    }

    fn get(&self, key: &str) -> Vec<u8> {
        let got =
            program("curl").args(["-sf", "-H", SIGNED, &self.url(&format!("/{key}"))]).output().unwrap();
        assert!(got.status.success(), "{key}");
        got.stdout
    }

    /// All keys, by the server's own list.
    fn keys(&self) -> Vec<String> {
        let xml = self.ask(&[], "?list-type=2");
        xml.split("<Key>").skip(1).map(|rest| rest.split('<').next().unwrap().to_owned()).collect()
    }

    fn outflow(&self, args: &[&str]) -> Command {
        let mut command = outflow(args);
        command.env("AWS_ENDPOINT_URL", &self.endpoint).env("AWS_REGION", "us-east-1");
        command.env("AWS_ACCESS_KEY_ID", "key").env("AWS_SECRET_ACCESS_KEY", "hunter2");
        command
    }
}

fn outflow(args: &[&str]) -> Command {
    let mut command = binary();
    for (name, _) in std::env::vars_os() {
        if ["AWS_", "GOOGLE_", "AZURE_"].iter().any(|prefix| name.to_string_lossy().starts_with(prefix)) {
            command.env_remove(name);
        }
    }
    for name in ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"] {
        command.env_remove(name);
    }
    // No profile of whoever runs the tests.
    command.env("HOME", "/nonexistent").args(args);
    command
}

/// What `--json` prints.
#[track_caller]
fn json(command: &mut Command) -> Value {
    serde_json::from_str(&output(command.arg("--json"))).unwrap()
}

/// A command that fails: its exit code and what it says.
#[track_caller]
fn failure(command: &mut Command) -> (i32, String) {
    let Output { status, stdout, stderr } = ChildProgram::start(command).finish();
    assert!(stdout.is_empty(), "{}", String::from_utf8_lossy(&stdout));
    let text = String::from_utf8(stderr).unwrap();
    assert!(!text.contains("hunter2"), "{text}");
    (status.code().unwrap(), text)
}

fn tree() -> FileTree {
    let tree = FileTree::new();
    tree.file("big.bin", noise(1, 35_000_001));
    tree.file("empty", "");
    tree.file("folder/small.txt", "some text\n");
    tree.file("folder/with ü & #1 %20+.txt", "odd name");
    tree.file(".hidden", "not this");
    tree
}

const NAMES: [&str; 4] = ["big.bin", "empty", "folder/small.txt", "folder/with ü & #1 %20+.txt"];

/// Compares a manifest and its objects with the tree.
fn assert_published(manifest: &Value, id: &str, tree: &FileTree, get: impl Fn(&str) -> Vec<u8>) {
    assert_eq!((&manifest["version"], manifest["id"].as_str()), (&Value::from(1), Some(id)));
    let files = manifest["files"].as_array().unwrap();
    assert_eq!(files.iter().map(|file| file["name"].as_str().unwrap()).collect::<Vec<_>>(), NAMES);
    for file in files {
        let name = file["name"].as_str().unwrap();
        let bytes = fs::read(tree.at(name)).unwrap();
        let key = file["key"].as_str().map_or_else(|| format!("files/{name}"), str::to_owned);
        assert_same(&get(&key), &bytes, name);
        assert_eq!(file["size"], bytes.len(), "{name}");
        assert_eq!(file["crc32"], format!("{:08x}", crc32fast::hash(&bytes)), "{name}");
        assert!(file["etag"].as_str().unwrap().starts_with('"'), "{name}");
        assert!(file["modified"].is_string(), "{name}");
    }
}

#[test]
fn a_tree_gets_into_s3_and_out_of_it() {
    needs!("python3", "moto", "curl");
    let (s3, tree) = (S3::start(), tree());
    let root = tree.root();
    let publish = ["publish", root.to_str().unwrap(), "--to", "s3://bucket/pre fix", "--title", "A title"];
    let done = json(s3.outflow(&publish).args(["--expires", "7d", "--base-url", "https://example.org/"]));
    let id = done["id"].as_str().unwrap();
    assert!(id.len() >= 20, "{id}");
    assert_eq!(done["address"], format!("/t/{id}/"));
    assert_eq!(done["url"], format!("https://example.org/t/{id}/"));
    assert_eq!((&done["files"], &done["uploaded"], &done["skipped"]), (&4.into(), &4.into(), &0.into()));
    let manifest = s3.get(&format!("pre%20fix/{id}/manifest.json"));
    assert_published(&serde_json::from_slice(&manifest).unwrap(), id, &tree, |key| {
        s3.get(&format!("pre%20fix/{id}/{key}"))
    });
    // One of the parts, one that was sent whole: the server knows the CRC-32 of both.
    for (key, name) in [("files/big.bin", "big.bin"), ("files/folder/small.txt", "folder/small.txt")] {
        let head = s3.ask(&["-I", "-H", "x-amz-checksum-mode: ENABLED"], &format!("/pre%20fix/{id}/{key}"));
        let crc32 = crc32fast::hash(&fs::read(tree.at(name)).unwrap()).to_be_bytes();
        let python = format!("import base64; print(base64.b64encode(bytes({crc32:?})).decode())");
        let expected = output(program("python3").args(["-c", &python]));
        assert!(head.contains(expected.trim()), "{head}");
    }
    assert!(!s3.ask(&[], "?uploads").contains("<UploadId>"));

    let listed = json(&mut s3.outflow(&["transfer", "list", "--store", "s3://bucket/pre fix"]));
    assert_eq!(listed.as_array().unwrap().len(), 1);
    assert_eq!((&listed[0]["title"], &listed[0]["files"]), (&"A title".into(), &4.into()));
    let lines = output(&mut s3.outflow(&["transfer", "list", "--store", "s3://bucket/pre fix/"]));
    assert!(lines.starts_with(id) && lines.contains("A title"), "{lines}");

    output(&mut s3.outflow(&["transfer", "remove", id, "--store", "s3://bucket/pre fix"]));
    assert_eq!(s3.keys(), [""; 0]);
    let (code, text) = failure(&mut s3.outflow(&["transfer", "remove", id, "--store", "s3://bucket/pre fix"]));
    assert!(code == 1 && text.contains("no transfer"), "{text}");
}

#[test]
fn a_broken_run_to_s3_is_continued_by_what_the_server_knows() {
    let (s3, tree) = (S3::start(), tree());
    let root = tree.root();
    let publish = ["publish", root.to_str().unwrap(), "--to", "s3://bucket", "--id", "mine"];
    output(&mut s3.outflow(&publish));
    let (code, text) = failure(&mut s3.outflow(&publish));
    assert!(code == 1 && text.contains("already") && text.contains("transfer remove mine"), "{text}");

    // As if it had broken before the manifest, having noted nothing; and one object is another one
    // by now.
    s3.ask(&["-X", "DELETE"], "/mine/manifest.json");
    s3.ask(&["-X", "PUT", "-d", "{\"objects\":{}}"], "/mine/publishing.json");
    s3.ask(&["-X", "PUT", "-d", "SOME TEXT\n"], "/mine/files/folder/small.txt");
    let done = json(&mut s3.outflow(&publish));
    assert_eq!((&done["uploaded"], &done["skipped"]), (&1.into(), &3.into()), "{done}");
    let manifest = serde_json::from_slice(&s3.get("mine/manifest.json")).unwrap();
    assert_published(&manifest, "mine", &tree, |key| s3.get(&format!("mine/{key}")));
    assert!(!s3.keys().contains(&"mine/publishing.json".to_owned()));
}

#[test]
fn an_s3_server_that_cannot_be_had_is_told_of() {
    let (s3, tree) = (S3::start(), tree());
    let root = tree.root();
    let root = root.to_str().unwrap();
    let (code, text) = failure(&mut s3.outflow(&["publish", root, "--to", "s3://nowhere/x"]));
    assert!(code == 1 && text.contains("no such bucket"), "{text}");
    assert!(text.contains("To continue: outflow publish ") && text.contains("--id="), "{text}");
    let mut command = s3.outflow(&["transfer", "list", "--store", "s3://bucket"]);
    let (code, text) = failure(command.env("AWS_ENDPOINT_URL", "http://127.0.0.1:1"));
    assert!(code == 1 && text.contains("cannot connect"), "{text}");
    let (code, text) = failure(command.env("AWS_ENDPOINT_URL", "http://key:hunter2@127.0.0.1:1"));
    assert!(code == 2 && text.contains("AWS_ENDPOINT_URL"), "{text}");
}

#[test]
fn a_tree_gets_into_a_folder_and_a_broken_run_is_continued() {
    let (store, tree) = (TempDir::new().unwrap(), tree());
    let root = tree.root();
    let address = format!("file://{}", store.path().display());
    let publish = ["publish", root.to_str().unwrap(), "--to", &address, "--id", "mine", "--parallel", "1"];
    // The second of the files cannot be written.
    fs::create_dir_all(store.path().join("mine/files/folder/small.txt/x")).unwrap();
    let (code, text) = failure(&mut outflow(&publish));
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("\"folder/small.txt\"") && text.contains("--id=mine"), "{text}");
    assert!(!store.path().join("mine/manifest.json").exists());
    fs::remove_dir_all(store.path().join("mine/files/folder")).unwrap();

    // Other bytes of the same size and time: only reading tells.
    let time = fs::metadata(tree.at("big.bin")).unwrap().modified().unwrap();
    let mut bytes = fs::read(tree.at("big.bin")).unwrap();
    bytes[20_000_000] ^= 1;
    fs::write(tree.at("big.bin"), bytes).unwrap();
    fs::File::open(tree.at("big.bin")).unwrap().set_modified(time).unwrap();
    let done = json(&mut outflow(&publish));
    assert_eq!((&done["uploaded"], &done["skipped"]), (&3.into(), &1.into()), "{done}");
    let manifest = fs::read(store.path().join("mine/manifest.json")).unwrap();
    assert_published(&serde_json::from_slice(&manifest).unwrap(), "mine", &tree, |key| {
        fs::read(store.path().join("mine").join(key)).unwrap()
    });
    output(&mut outflow(&["transfer", "remove", "mine", "--store", &address]));
    assert_eq!(fs::read_dir(store.path()).unwrap().count(), 0);
}

#[test]
fn paths_become_names() {
    let (store, tree) = (TempDir::new().unwrap(), tree());
    let address = format!("file://{}", store.path().display());
    let single = tree.at("folder/small.txt");
    let folder = tree.at("folder");
    let names = |args: &[&Path]| {
        let mut command = outflow(&["publish", "--to", &address]);
        let done = json(command.args(args));
        let manifest = fs::read(store.path().join(done["manifest"].as_str().unwrap())).unwrap();
        let manifest: Value = serde_json::from_slice(&manifest).unwrap();
        let files = manifest["files"].as_array().unwrap().clone();
        files.iter().map(|file| file["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names(&[&single]), ["small.txt"]);
    assert_eq!(names(&[&folder]), ["small.txt", "with ü & #1 %20+.txt"]);
    assert_eq!(
        names(&[&folder, &tree.at("empty")]),
        ["empty", "folder/small.txt", "folder/with ü & #1 %20+.txt"]
    );
    assert_eq!(names(&[&tree.root(), Path::new("--hidden")])[0], ".hidden");

    let (code, text) = failure(outflow(&["publish", "--to", &address]).args([&single, &single]));
    assert!(code == 1 && text.contains("the same name \"small.txt\""), "{text}");
    let bad = FileTree::new();
    fs::write(bad.root().join(OsStr::from_bytes(b"a\xff")), "").unwrap();
    let (code, text) = failure(outflow(&["publish", "--to", &address]).arg(bad.root()));
    assert!(code == 1 && text.contains("not UTF-8"), "{text}");
    let bad = FileTree::new();
    bad.file("back\\slash", "");
    let (code, text) = failure(outflow(&["publish", "--to", &address]).arg(bad.root()));
    assert!(code == 1 && text.contains("backslash"), "{text}");
    let (code, text) = failure(outflow(&["publish", "--to", &address]).arg(FileTree::new().root()));
    assert!(code == 1 && text.contains("nothing to publish"), "{text}");
}

#[test]
fn what_is_somebody_elses_is_left_alone() {
    let (store, tree) = (TempDir::new().unwrap(), tree());
    let address = format!("file://{}", store.path().display());
    fs::create_dir(store.path().join("photos")).unwrap();
    fs::write(store.path().join("photos/1.jpg"), "precious").unwrap();
    let root = tree.root();
    let publish = ["publish", root.to_str().unwrap(), "--to", &address, "--id", "photos"];
    let (code, text) = failure(&mut outflow(&publish));
    assert!(code == 1 && text.contains("choose another --id") && !text.contains("To continue"), "{text}");
    let (code, text) = failure(&mut outflow(&["transfer", "remove", "photos", "--store", &address]));
    assert!(code == 1 && text.contains("no transfer photos"), "{text}");
    assert_eq!(fs::read(store.path().join("photos/1.jpg")).unwrap(), b"precious");
    assert_eq!(output(&mut outflow(&["transfer", "list", "--store", &address])), "");
}

#[test]
fn ended_and_broken_transfers_are_listed_as_such() {
    let store = TempDir::new().unwrap();
    let address = format!("file://{}", store.path().display());
    let write = |id: &str, rest: &str| {
        fs::create_dir(store.path().join(id)).unwrap();
        let json = format!(r#"{{"version":1,"id":"{id}","created":"2020-01-01T00:00:00Z",{rest}}}"#);
        fs::write(store.path().join(id).join("manifest.json"), json).unwrap();
    };
    write("ended", r#""expires":"2020-02-01T00:00:00Z","files":[]"#);
    write("broken", r#""files":[{"name":"../x","size":1}]"#);
    let listed = json(&mut outflow(&["transfer", "list", "--store", &address]));
    let of = |id: &str| listed.as_array().unwrap().iter().find(|line| line["id"] == id).unwrap().clone();
    assert_eq!(of("ended")["expired"], true);
    assert!(of("broken")["error"].as_str().unwrap().contains("file 1 (\"../x\")"));
}

#[test]
fn wrong_usage_has_its_own_exit_code() {
    let tree = tree();
    let root = tree.root();
    let root = root.to_str().unwrap();
    for (args, says) in [
        (vec!["publish", root], "--to"),
        (vec!["publish", "--to", "file:///tmp"], "PATH"),
        (vec!["publish", root, "--to", "nothing"], "s3://bucket/prefix"),
        (vec!["publish", root, "--to", "s3://key:hunter2@bucket"], "environment"),
        (vec!["publish", root, "--to", "file:///no/such"], "create it"),
        (vec!["publish", root, "--to", "file:///tmp", "--id", "../x"], "64 letters"),
        (vec!["publish", root, "--to", "file:///tmp", "--expires", "soon"], "7d"),
        (vec!["publish", root, "--to", "file:///tmp", "--parallel", "0"], "parallel"),
        (vec!["transfer", "remove", "--store", "file:///tmp"], "ID"),
    ] {
        let (code, text) = failure(&mut outflow(&args));
        assert_eq!(code, 2, "{args:?}: {text}");
        assert!(text.contains(says), "{args:?}: {text}");
    }
    let (code, text) = failure(&mut outflow(&["publish", "/no/such", "--to", "file:///tmp"]));
    assert!(code == 1 && text.contains("/no/such"), "{text}");
}

#[test]
fn a_stop_takes_back_what_was_begun() {
    let (s3, tree) = (S3::start(), FileTree::new());
    let file = fs::File::create(tree.at("large.bin")).unwrap();
    // More than a server in Python takes in a moment.
    file.set_len(3 << 30).unwrap();
    file.set_modified(SystemTime::now() - Duration::from_secs(60)).unwrap();
    let root = tree.root();
    let mut command = s3.outflow(&["publish", root.to_str().unwrap(), "--to", "s3://bucket", "--id", "mine"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    until("an upload has begun", || s3.ask(&[], "?uploads").contains("<UploadId>").then_some(()));
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let status = until("it has ended", || child.try_wait().unwrap());
    assert_eq!(status.code(), Some(1));
    let text = std::io::read_to_string(child.stderr.take().unwrap()).unwrap();
    assert!(text.contains("interrupted") && text.contains("--id=mine"), "{text}");
    assert!(!s3.ask(&[], "?uploads").contains("<UploadId>"));
    assert_eq!(s3.keys(), ["mine/publishing.json"]);
}

/// The command, with the environment of the double.
fn to_double(double: &Double, args: &[&str]) -> Command {
    let mut command = outflow(args);
    command.envs(double.env());
    command
}

#[test]
fn a_server_that_is_overloaded_gets_all_of_it_in_the_end() {
    let (double, tree) = (Double::start().unwrap(), tree());
    double.play([
        FaultRule::on(Op::PutObject, Fault::Error500).nth(2),
        FaultRule::on(Op::UploadPart, Fault::Error500).times(2),
        FaultRule::on(Op::CreateMultipartUpload, Fault::Error500).nth(1),
        FaultRule::on(Op::CompleteMultipartUpload, Fault::Error500).nth(1),
    ]);
    let (root, address) = (tree.root(), format!("s3://{}/a b", Double::BUCKET));
    let publish = ["publish", root.to_str().unwrap(), "--to", &address, "--id", "mine"];
    let done = json(&mut to_double(&double, &publish));
    assert_eq!((&done["uploaded"], &done["skipped"]), (&4.into(), &0.into()));
    let get = |key: &str| double.bytes(&format!("a b/mine/{key}")).unwrap().to_vec();
    assert_published(&serde_json::from_slice(&get("manifest.json")).unwrap(), "mine", &tree, get);
    assert_eq!(double.open_uploads(), 0);
    assert_eq!(double.stats().all_faults(), 5);

    // One that never recovers is given up, and nothing is left half.
    double.play([FaultRule::on(Op::UploadPart, Fault::Error500)]);
    let publish = ["publish", root.to_str().unwrap(), "--to", &address, "--id", "other"];
    let (code, text) = failure(&mut to_double(&double, &publish));
    assert!(code == 1 && text.contains("\"big.bin\""), "{text}");
    // A client that still sends when the response arrives may find the connection closed before it
    // reads it.
    assert!(text.contains("it answered 500") || text.contains("the connection failed"), "{text}");
    assert_eq!(double.open_uploads(), 0);
    assert!(double.bytes("a b/other/manifest.json").is_none());
}

#[test]
fn the_sums_of_parts_tell_that_an_object_is_there() {
    let (double, tree) = (Double::start().unwrap(), tree());
    let bytes = fs::read(tree.at("big.bin")).unwrap();
    double.put("mine/files/big.bin", StoredObject::new(bytes).with_composite_crc32(6 << 20).unwrap());
    double.put("mine/publishing.json", "{\"objects\":{}}");
    let (root, address) = (tree.root(), format!("s3://{}", Double::BUCKET));
    let publish = ["publish", root.to_str().unwrap(), "--to", &address, "--id", "mine"];
    let done = json(&mut to_double(&double, &publish));
    assert_eq!((&done["uploaded"], &done["skipped"]), (&3.into(), &1.into()), "{done}");
    assert!(double.stats().count(Op::GetObjectAttributes) > 0);
    let get = |key: &str| double.bytes(&format!("mine/{key}")).unwrap().to_vec();
    assert_published(&serde_json::from_slice(&get("manifest.json")).unwrap(), "mine", &tree, get);
}
