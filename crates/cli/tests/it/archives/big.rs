//! Archives beyond the old limits: more than 4 GiB, and more than 65,535 entries.
//!
//! No test writes gigabytes: the large file is a hole with some bytes at its end, and its archive
//! goes from the socket into pipes.

use std::fs;

use outflow_testkit::needs;
use serde_json::Value;
use tempfile::TempDir;

use crate::support::{
    ChildProgram, FileTree, Server, Setup, assert_same, feed, java, output, program, python,
};

const FOUR_GIB: u64 = 1 << 32;
const END: &[u8] = b"the end of it all";
const LARGE: u64 = FOUR_GIB + 100_000;

/// One file larger than 4 GiB, and files whose offsets are beyond 4 GiB.
fn large_tree() -> FileTree {
    let tree = FileTree::new();
    tree.file("a first.txt", "before it\n");
    tree.sparse("large.bin", LARGE, END);
    tree.file("later/one.txt", "behind 4 GiB\n");
    tree.file("later/two.txt", "behind 4 GiB as well\n");
    tree
}

/// Name and size of what is in it.
const LARGE_NAMES: [(&str, u64); 4] =
    [("a first.txt", 10), ("large.bin", LARGE), ("later/one.txt", 13), ("later/two.txt", 21)];

/// Pours the archive once into bsdtar and Java, neither of which can seek in a pipe, and checks
/// what they see.
#[track_caller]
fn check_piped(server: &Server, layout: &str) -> String {
    let announced = server.fetch("HEAD", "/?zip", "").expect(200).length();
    let (bsdtar, mut to_bsdtar) = ChildProgram::start_with_input(program("bsdtar").args(["-tf", "-"]));
    let (java, mut to_java) = ChildProgram::start_with_input(java("Check.java").arg("-"));
    let mut client = server.client();
    let head = client.request("GET", "/?zip", "").head().expect(200);
    assert_eq!(head.length(), announced, "{layout}: HEAD and GET agree");
    let poured = client.pour(announced, |bytes| {
        feed(&mut to_bsdtar, bytes);
        feed(&mut to_java, bytes);
    });
    poured.unwrap();
    drop((to_bsdtar, to_java));
    let (bsdtar, java) = (bsdtar.finish(), java.finish());
    assert!(bsdtar.status.success(), "{layout}: {}", String::from_utf8_lossy(&bsdtar.stderr));
    assert!(java.status.success(), "{layout}: {}", String::from_utf8_lossy(&java.stderr));
    let names: Vec<String> = LARGE_NAMES.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(
        String::from_utf8(bsdtar.stdout).unwrap().lines().collect::<Vec<_>>(),
        names,
        "{layout}: bsdtar"
    );
    let java = String::from_utf8(java.stdout).unwrap();
    let sizes: Vec<(&str, u64)> = java
        .lines()
        .map(|line| line.split('\t').collect::<Vec<_>>())
        .map(|fields| (fields[1], fields[2].parse().unwrap()))
        .collect();
    assert_eq!(sizes, LARGE_NAMES, "{layout}: Java");
    head.header("etag").to_owned()
}

/// Reads directory and last entries by ranges, with Python.
#[track_caller]
fn check_by_ranges(server: &Server, layout: &str) -> Value {
    let url = server.url("/?zip");
    let read = ["--read=a first.txt", "--read=later/one.txt", "--read=later/two.txt"];
    let report: Value = serde_json::from_str(&output(python("check_zip.py").arg(url).args(read))).unwrap();
    let entries = report["entries"].as_array().unwrap();
    let sizes: Vec<_> = entries.iter().map(|e| (e[0].as_str().unwrap(), e[1].as_u64().unwrap())).collect();
    assert_eq!(sizes, LARGE_NAMES, "{layout}");
    assert!(entries[2][7].as_u64().unwrap() > FOUR_GIB, "{layout}: the third entry is behind 4 GiB");
    assert_eq!(report["ends"]["later/one.txt"], "behind 4 GiB\n", "{layout}");
    report
}

#[test]
fn an_archive_over_four_gib_opens_in_both_layouts() {
    needs!("time");
    let (tree, cache) = (large_tree(), TempDir::new().unwrap());
    let start = || Setup::of(tree.root()).cache(cache.path()).start();
    let server = start();
    let streamed = check_piped(&server, "streamed");
    // All of it has flowed, so all CRC-32s are known now.
    server.await_other_etag("/?zip", &streamed);
    server.stop();
    // An address that had both layouts could not ask for ranges without a tag.
    fs::remove_file(cache.path().join("layouts-v1")).unwrap();
    let server = start();
    let stored = check_piped(&server, "stored");
    assert_ne!(stored, streamed);

    let report = check_by_ranges(&server, "stored");
    let entries = report["entries"].as_array().unwrap();
    // The large file's last bytes lie right before the next entry.
    let end = entries[2][7].as_u64().unwrap();
    let range = format!("{}-{}", end - END.len() as u64, end - 1);
    let mut client = server.client();
    assert_same(&client.get_range("/?zip", &range).expect(206).body, END, "the end of the large file");

    // The streamed layout is still there for whoever began with it.
    let lines = format!("If-Range: {streamed}\r\nRange: bytes=-100\r\n");
    let tail = client.fetch("GET", "/?zip", &lines).expect(206);
    assert_eq!(tail.header("etag"), streamed);
    assert_ne!(
        tail.header("content-range"),
        client.get_range("/?zip", "-100").expect(206).header("content-range")
    );
}

#[test]
fn a_file_over_four_gib_is_served_by_ranges() {
    needs!("time");
    let tree = large_tree();
    let server = Server::of(tree.root());
    let mut client = server.client();
    let head = client.fetch("HEAD", "/large.bin", "").expect(200);
    assert_eq!(head.length(), LARGE);
    let reply = client.get_range("/large.bin", "-17").expect(206);
    assert_same(&reply.body, END, "the end");
    assert_eq!(reply.header("content-range"), format!("bytes {}-{}/{LARGE}", LARGE - 17, LARGE - 1));
    let reply = client.get_range("/large.bin", &format!("{}-{}", FOUR_GIB - 2, FOUR_GIB + 1)).expect(206);
    assert_same(&reply.body, &[0; 4], "around 4 GiB");
    let reply = client.get_range("/large.bin", &format!("{LARGE}-")).expect(416);
    assert_eq!(reply.header("content-range"), format!("bytes */{LARGE}"));
}

#[test]
fn an_archive_of_66_000_files_opens_in_both_layouts() {
    needs!("bsdtar", "time");
    const FILES: usize = 66_000;
    let tree = FileTree::new();
    for number in 0..FILES {
        let folder = tree.at(format!("{:02}", number % 60));
        if number < 60 {
            fs::create_dir(&folder).unwrap();
        }
        fs::write(folder.join(number.to_string()), number.to_string()).unwrap();
    }
    let server = Server::of(tree.root());
    let folder = TempDir::new().unwrap();
    let streamed = server.get("/?zip").expect(200);
    server.await_other_etag("/?zip", streamed.header("etag"));
    let stored = server.get("/?zip").expect(200);
    for (layout, reply) in [("streamed", streamed), ("stored", stored)] {
        let archive = folder.path().join(format!("{layout}.zip"));
        fs::write(&archive, &reply.body).unwrap();
        let report: Value = serde_json::from_str(&output(python("check_zip.py").arg(&archive))).unwrap();
        assert!(report["bad"].is_null(), "{layout}: {}", report["bad"]);
        assert_eq!(report["entries"].as_array().unwrap().len(), FILES, "{layout}");

        let tested = output(program("unzip").arg("-tqq").arg(&archive));
        assert!(!tested.contains("error"), "{layout}: {tested}");
        let listed = output(program("bash").args(["-c", "bsdtar -tf - < \"$0\""]).arg(&archive));
        assert_eq!(listed.lines().count(), FILES, "{layout}");
        let read = output(java("Check.java").arg(&archive));
        assert_eq!(read.lines().count(), 2 * FILES, "{layout}");
        if layout == "stored" {
            let tested = output(program("7z").arg("t").arg("-bso1").arg("-bsp0").arg(&archive));
            assert!(tested.contains("Everything is Ok"), "{tested}");
        }
    }
}
