//! Archives in every reader that people have: unzip, 7z, bsdtar, Python and Java, in both layouts.
//!
//! An archive is streamed until the CRC-32 of each file is known, and stored from then on. The
//! bytes differ, what is in them does not.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use outflow_testkit::needs;
use tempfile::TempDir;

use crate::support::{
    ChildProgram, FileTree, Files, Server, assert_same, java, noise, output, program, python,
};

/// 2021-06-15T12:34:56Z; even seconds, which is all that DOS knows.
const TIME: u64 = 1_623_760_496;
/// The same as year, month, day, hour, minute, second.
const DATE: [u64; 6] = [2021, 6, 15, 12, 34, 56];

/// A tree with everything that an archive has to carry.
fn tree() -> FileTree {
    let tree = FileTree::new();
    tree.file("readme.txt", "hello\n");
    tree.file("nested/folder/deep.bin", noise(7, 300_000));
    tree.file("nested/exactly-one-block.bin", noise(8, 65_535));
    tree.file("nested/one-block-and-a-byte.bin", noise(9, 65_536));
    tree.file("empty.txt", "");
    tree.folder("empty folder/");
    tree.folder("nested/Ordner ohne Inhalt");
    tree.file("ünïcödé/файл.txt", "не ASCII\n");
    tree.file("ünïcödé/😀.bin", noise(10, 1000));
    tree.file("ünïcödé/日本語.txt", "日本語\n");
    tree.file("bin/run.sh", "#!/bin/sh\nexit 0\n");
    tree.mode("bin/run.sh", 0o755);
    for (name, bytes) in FileTree::read(&tree.root()) {
        if !name.ends_with('/') || bytes.is_empty() {
            tree.modified(&name, TIME);
        }
    }
    tree
}

/// The archive of a tree in both layouts, each as a file in `folder`.
fn both_layouts(tree: &FileTree, folder: &TempDir) -> [PathBuf; 2] {
    let server = Server::of(tree.root());
    let streamed = server.get("/?zip").expect(200);
    server.await_other_etag("/?zip", streamed.header("etag"));
    let stored = server.get("/?zip").expect(200);
    assert_ne!(streamed.body.len(), stored.body.len(), "the layouts differ");
    [("streamed.zip", streamed), ("stored.zip", stored)].map(|(name, reply)| {
        let path = folder.path().join(name);
        fs::write(&path, reply.body).unwrap();
        path
    })
}

/// What was extracted is what was archived: names, bytes, times, and who may be executed.
#[track_caller]
fn assert_extracted(to: &Path, tree: &FileTree, how: &str) {
    let (found, expected) = (FileTree::read(to), FileTree::read(&tree.root()));
    assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>(), "{how}");
    for (name, bytes) in &expected {
        assert_same(&found[name], bytes, &format!("{how}: {name}"));
        if !name.ends_with('/') {
            assert_eq!(FileTree::mtime(&to.join(name)), TIME, "{how}: time of {name}");
            let executable = fs::metadata(to.join(name)).unwrap().permissions().mode() & 0o100 != 0;
            assert_eq!(executable, name == "bin/run.sh", "{how}: mode of {name}");
        }
    }
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc: u32, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| crc >> 1 ^ (0xedb8_8320 & (crc & 1).wrapping_neg()))
    })
}

#[test]
fn unzip_tests_and_extracts() {
    needs!("unzip");
    let (tree, folder) = (tree(), TempDir::new().unwrap());
    for archive in both_layouts(&tree, &folder) {
        let report = output(program("unzip").arg("-t").arg(&archive));
        assert!(report.contains("No errors detected"), "{report}");
        let to = TempDir::new().unwrap();
        output(program("unzip").arg("-q").arg(&archive).arg("-d").arg(to.path()));
        assert_extracted(to.path(), &tree, &format!("unzip {}", archive.display()));
    }
}

#[test]
fn seven_zip_tests_and_extracts() {
    needs!("7z");
    let (tree, folder) = (tree(), TempDir::new().unwrap());
    for archive in both_layouts(&tree, &folder) {
        let report = output(program("7z").arg("t").arg(&archive));
        assert!(report.contains("Everything is Ok"), "{report}");
        assert!(!report.contains("Warnings"), "{report}");
        let to = TempDir::new().unwrap();
        output(program("7z").arg("x").arg("-bd").arg(format!("-o{}", to.path().display())).arg(&archive));
        assert_extracted(to.path(), &tree, &format!("7z {}", archive.display()));
    }
}

#[test]
fn bsdtar_lists_and_extracts_a_file() {
    needs!("bsdtar");
    let (tree, folder) = (tree(), TempDir::new().unwrap());
    for archive in both_layouts(&tree, &folder) {
        let listed = output(program("bsdtar").arg("-tf").arg(&archive));
        let listed: BTreeSet<&str> = listed.lines().collect();
        let expected = FileTree::read(&tree.root());
        assert_eq!(listed, expected.keys().map(String::as_str).collect());
        let to = TempDir::new().unwrap();
        output(program("bsdtar").arg("-xpf").arg(&archive).arg("-C").arg(to.path()));
        assert_extracted(to.path(), &tree, &format!("bsdtar {}", archive.display()));
    }
}

#[test]
fn bsdtar_extracts_what_curl_downloads() {
    needs!("bsdtar", "curl");
    let tree = tree();
    let server = Server::of(tree.root());
    let before = server.etag("/?zip");
    for layout in ["streamed", "stored"] {
        let to = TempDir::new().unwrap();
        let pipe = "set -o pipefail; curl -sSf --noproxy '*' \"$0\" | bsdtar -xpf - -C \"$1\"";
        output(program("bash").args(["-c", pipe]).arg(server.url("/?zip")).arg(to.path()));
        // Where a reader sees local headers only, there are no modes.
        let expected = FileTree::read(&tree.root());
        let found: Files = FileTree::read(to.path());
        assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>(), "{layout}");
        for (name, bytes) in &expected {
            assert_same(&found[name], bytes, &format!("{layout}: {name}"));
        }
        server.await_other_etag("/?zip", &before);
    }
}

#[test]
fn python_reads_names_times_and_modes() {
    needs!("python3");
    let (tree, folder) = (tree(), TempDir::new().unwrap());
    let expected = FileTree::read(&tree.root());
    for archive in both_layouts(&tree, &folder) {
        let report: serde_json::Value =
            serde_json::from_str(&output(python("check_zip.py").arg(&archive))).unwrap();
        assert!(report["bad"].is_null(), "{}", report["bad"]);
        let entries = report["entries"].as_array().unwrap();
        assert_eq!(entries.len(), expected.len());
        for entry in entries {
            let name = entry[0].as_str().unwrap();
            let bytes = expected.get(name).unwrap_or_else(|| panic!("{name} is not in the tree"));
            assert_eq!(
                (entry[1].as_u64(), entry[2].as_u64()),
                (Some(bytes.len() as u64), Some(crc32(bytes).into()))
            );
            assert_eq!(entry[3], serde_json::json!(DATE), "{name}");
            let mode = match name {
                _ if name.ends_with('/') => 0o040_755,
                "bin/run.sh" => 0o100_755,
                _ => 0o100_644,
            };
            assert_eq!(entry[4], mode, "{name}");
            let is_framed = archive.ends_with("streamed.zip") && !bytes.is_empty();
            assert_eq!(entry[5], if is_framed { 8 } else { 0 }, "method of {name}");
        }
    }
}

#[test]
fn java_reads_the_same_by_both_of_its_readers() {
    needs!("java");
    let (tree, folder) = (tree(), TempDir::new().unwrap());
    let expected = FileTree::read(&tree.root());
    let lines = output(java("Check.java").args(both_layouts(&tree, &folder)));
    let mut expected_lines: Vec<String> = Vec::new();
    for reader in ["ZipFile", "ZipInputStream"] {
        for (name, bytes) in &expected {
            expected_lines.push(format!("{reader}\t{name}\t{}\t{:08x}\t{TIME}", bytes.len(), crc32(bytes)));
        }
    }
    expected_lines.sort();
    let mut lines: Vec<&str> = lines.lines().collect();
    assert_eq!(lines.len(), 2 * expected_lines.len());
    for half in [lines.split_off(expected_lines.len()), lines] {
        let mut half = half;
        half.sort_unstable();
        assert_eq!(half, expected_lines);
    }
}

#[test]
fn an_archive_of_nothing_is_an_archive() {
    needs!("bsdtar", "python3");
    let tree = FileTree::new();
    let server = Server::of(tree.root());
    let reply = server.get("/?zip").expect(200);
    let to = tree.beside("nothing.zip");
    fs::write(&to, &reply.body).unwrap();
    let report = output(python("check_zip.py").arg(&to));
    assert!(report.contains("\"entries\": []"), "{report}");
    assert_eq!(output(program("bsdtar").arg("-tf").arg(&to)), "");
}

#[test]
fn two_servers_make_the_same_archive_of_copies() {
    let (tree, copy) = (tree(), FileTree::new());
    output(program("cp").arg("-a").arg(tree.at(".")).arg(copy.root()));
    let (one, other) = (Server::of(tree.root()), Server::of(copy.root()));
    for layout in ["streamed", "stored"] {
        let (one_reply, other_reply) = (one.get("/?zip").expect(200), other.get("/?zip").expect(200));
        assert_eq!(one_reply.header("etag"), other_reply.header("etag"), "{layout}");
        assert_same(&one_reply.body, &other_reply.body, layout);
        if layout == "streamed" {
            one.await_other_etag("/?zip", one_reply.header("etag"));
            other.await_other_etag("/?zip", one_reply.header("etag"));
        }
    }
}

#[test]
fn head_announces_what_get_sends() {
    let tree = tree();
    let server = Server::of(tree.root());
    for layout in ["streamed", "stored"] {
        let head = server.fetch("HEAD", "/?zip", "").expect(200);
        let reply = server.get("/?zip").expect(200);
        for field in ["content-length", "etag", "content-type", "content-disposition", "accept-ranges"] {
            assert_eq!(head.header(field), reply.header(field), "{layout}");
        }
        assert_eq!(head.header("content-type"), "application/zip");
        assert_eq!(head.header("content-disposition"), "attachment; filename=\"tree.zip\"");
        if layout == "streamed" {
            server.await_other_etag("/?zip", head.header("etag"));
        }
    }
}

#[test]
fn java_reads_an_archive_from_a_pipe() {
    needs!("java");
    let tree = tree();
    let server = Server::of(tree.root());
    let reply = server.get("/?zip").expect(200);
    let (java, mut input) = ChildProgram::start_with_input(java("Check.java").arg("-"));
    crate::support::feed(&mut input, &reply.body);
    drop(input);
    let read = java.finish();
    assert!(read.status.success(), "{}", String::from_utf8_lossy(&read.stderr));
    assert_eq!(String::from_utf8(read.stdout).unwrap().lines().count(), FileTree::read(&tree.root()).len());
}
