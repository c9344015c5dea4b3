//! Names that are hard to write down: listed, downloaded by their links, and safe in archives.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;

use outflow_testkit::needs;
use rustix::fs::{CWD, Mode, OFlags, mkdirat, openat};
use serde_json::Value;
use tempfile::TempDir;

use crate::support::{ChildProgram, FileTree, Server, assert_same, output, program, python};

fn hard_names() -> Vec<Vec<u8>> {
    let mut names: Vec<Vec<u8>> = [
        "quote\"quote.txt",
        "apostrophe's.txt",
        "new\nline.txt",
        "return\r\n.txt",
        "tab\t.txt",
        "bell\u{7}.txt",
        "escape\u{1b}[31m.txt",
        "delete\u{7f}.txt",
        "emoji 😀👩‍👩‍👧.txt",
        "a&b=c.txt",
        "<b>bold<b>.txt",
        "100%.txt",
        "%41.txt",
        "%2e%2e",
        "what?.txt",
        "hash#.txt",
        "semi;colon.txt",
        "plus+plus.txt",
        " leading space",
        "trailing ",
        "-rf",
        "--help",
        "a:b.txt",
        "C:",
        "con",
        "NUL.txt",
        "star*.txt",
        "pipe|.txt",
        "$HOME",
        "`id`.txt",
        "ünï.txt",
        "u\u{308}ni decomposed.txt",
        "gpj\u{202e}.exe",
        "عربي.txt",
        "日本語.txt",
        "zero\u{200b}width.txt",
        "javascript:alert(1)",
        "http:",
        "@",
        "~",
        "{}",
        "[1].txt",
        "a,b.txt",
        "tilde~",
        "CASE.txt",
        "case.txt",
    ]
    .map(|name| name.as_bytes().to_vec())
    .to_vec();
    names.push("l".repeat(251).into_bytes().into_iter().chain(*b".txt").collect());
    names.push("é".repeat(127).into_bytes());
    // Not UTF-8; the last two look alike when they are shown.
    names.push(b"latin-\xe9.txt".to_vec());
    names.push(b"\xff\xfe.bin".to_vec());
    names.push(b"\xff\xfd.bin".to_vec());
    names
}

fn tree() -> FileTree {
    let tree = FileTree::new();
    for name in hard_names() {
        tree.file(OsStr::from_bytes(&name), content_of(&name));
        tree.file(OsStr::from_bytes(&[b"folders/", &name[..], b"/inside.txt"].concat()), &name);
    }
    tree
}

/// Names the file that a download has to be of.
fn content_of(name: &[u8]) -> Vec<u8> {
    [b"this is ", name].concat()
}

#[test]
fn every_entry_of_a_listing_is_downloaded_by_its_address() {
    let tree = tree();
    let server = Server::of(tree.root());
    let mut client = server.client();
    let listing = client.get("/?json").expect(200).json();
    let mut found = BTreeSet::new();
    for entry in listing["entries"].as_array().unwrap() {
        let href = entry["href"].as_str().unwrap();
        let reply = client.get(&format!("/{href}")).expect(200);
        if entry["type"] == "file" {
            assert_eq!(reply.length(), entry["size"].as_u64().unwrap(), "{href}");
            assert_eq!(reply.header("etag"), entry["etag"], "{href}");
            found.insert(reply.body);
        }
    }
    assert_eq!(found, hard_names().iter().map(|name| content_of(name)).collect());

    let listing = client.get("/folders/?json").expect(200).json();
    let mut found = BTreeSet::new();
    for entry in listing["entries"].as_array().unwrap() {
        let href = entry["href"].as_str().unwrap();
        assert_eq!(entry["type"], "folder", "{href}");
        found.insert(client.get(&format!("/folders/{href}inside.txt")).expect(200).body);
        client.get(&format!("/folders/{href}")).expect(200);
        // Without the slash it leads to the folder.
        let redirect = client.get(&format!("/folders/{}", href.trim_end_matches('/'))).expect(308);
        client.get(redirect.header("location")).expect(200);
    }
    assert_eq!(found, hard_names().into_iter().collect());
}

#[test]
fn every_link_of_a_page_works_and_shows_no_control_character() {
    needs!("python3");
    let tree = tree();
    let server = Server::of(tree.root());
    let mut client = server.client();
    let page = client.get("/").expect(200);
    assert!(page.text().chars().all(|c| c == '\n' || !c.is_control()), "control characters in the page");
    let (parser, mut input) = ChildProgram::start_with_input(&mut python("links.py"));
    input.write_all(&page.body).unwrap();
    drop(input);
    let parsed = parser.finish();
    assert!(parsed.status.success(), "{}", String::from_utf8_lossy(&parsed.stderr));
    let parsed: Value = serde_json::from_slice(&parsed.stdout).unwrap();
    let links = parsed["links"].as_array().unwrap();
    // All files, the folder, and the archive.
    assert!(links.len() >= hard_names().len() + 2, "{links:?}");
    for link in links {
        let link = link.as_str().unwrap();
        assert!(!link.starts_with("javascript:") && !link.contains("://"), "{link}");
        client.get(&format!("/{link}")).expect(200);
    }
}

#[test]
fn the_fields_of_a_page_select_what_they_stand_for() {
    needs!("python3");
    let tree = tree();
    let server = Server::of(tree.root());
    let page = server.get("/").expect(200);
    let (parser, mut input) = ChildProgram::start_with_input(&mut python("links.py"));
    input.write_all(&page.body).unwrap();
    drop(input);
    let parsed: Value = serde_json::from_slice(&parser.finish().stdout).unwrap();
    // As a browser sends it when everything but the folder is ticked.
    let form: Vec<String> = parsed["fields"]
        .as_array()
        .unwrap()
        .iter()
        .map(|field| (field[0].as_str().unwrap(), field[1].as_str().unwrap()))
        .filter(|(_, value)| !value.ends_with('/'))
        .map(|(name, value)| format!("{name}={}", encoded(value)))
        .collect();
    assert_eq!(form.len(), hard_names().len());
    let form = form.join("&");
    let reply = server.client().post("/?zip", &form).expect(303);
    let archive = server.get(reply.header("location")).expect(200).body;
    let path = tree.beside("selected.zip");
    fs::write(&path, archive).unwrap();
    let report: Value = serde_json::from_str(&output(python("check_zip.py").arg(&path))).unwrap();
    assert!(report["bad"].is_null());
    assert_eq!(report["entries"].as_array().unwrap().len(), hard_names().len());
}

fn encoded(text: &str) -> String {
    text.bytes()
        .map(
            |byte| {
                if byte.is_ascii_alphanumeric() {
                    char::from(byte).to_string()
                } else {
                    format!("%{byte:02X}")
                }
            },
        )
        .collect()
}

#[test]
fn an_archive_of_hard_names_has_safe_and_unique_ones_and_all_files() {
    needs!("bsdtar", "python3");
    let tree = tree();
    let server = Server::of(tree.root());
    for layout in ["streamed", "stored"] {
        let reply = server.get("/?zip").expect(200);
        let path = tree.beside("all.zip");
        fs::write(&path, &reply.body).unwrap();
        let report: Value = serde_json::from_str(&output(python("check_zip.py").arg(&path))).unwrap();
        assert!(report["bad"].is_null(), "{layout}");
        let names: Vec<&str> =
            report["entries"].as_array().unwrap().iter().map(|entry| entry[0].as_str().unwrap()).collect();
        assert_eq!(names.len(), 2 * hard_names().len(), "{layout}");
        assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len(), "{layout}: unique");
        for name in names {
            assert!(!name.chars().any(char::is_control), "{name:?}");
            assert!(!name.contains(['\\', ':', '*', '?', '"', '<', '>', '|']), "{name:?}");
            assert!(
                !name.starts_with('/') && name.split('/').all(|part| !matches!(part, "" | "." | "..")),
                "{name:?}"
            );
            assert!(name.split('/').all(|part| part.len() <= 255), "{name:?}");
        }
        // Extracted, every file is there with its own bytes.
        let to = TempDir::new().unwrap();
        output(program("bsdtar").arg("-xf").arg(&path).arg("-C").arg(to.path()));
        let extracted: BTreeSet<Vec<u8>> = FileTree::read(to.path()).into_values().collect();
        let expected = hard_names().into_iter().flat_map(|name| [content_of(&name), name]).collect();
        assert_eq!(extracted, expected, "{layout}");
        if layout == "streamed" {
            server.await_other_etag("/?zip", reply.header("etag"));
        }
    }
}

#[test]
fn downloads_are_saved_under_safe_names() {
    let tree = tree();
    let server = Server::of(tree.root());
    let mut client = server.client();
    for (address, disposition) in [
        (
            "/quote%22quote.txt",
            "attachment; filename=\"quote_quote.txt\"; filename*=UTF-8''quote%22quote.txt",
        ),
        ("/new%0Aline.txt", "attachment; filename=\"new_line.txt\""),
        ("/return%0D%0A.txt", "attachment; filename=\"return__.txt\""),
        ("/%C3%BCn%C3%AF.txt", "attachment; filename=\"_n_.txt\"; filename*=UTF-8''%C3%BCn%C3%AF.txt"),
        ("/gpj%E2%80%AE.exe", "attachment; filename=\"gpj_.exe\""),
        ("/semi;colon.txt", "attachment; filename=\"semi;colon.txt\""),
    ] {
        let reply = client.get(&format!("{address}?download")).expect(200);
        assert_eq!(reply.header("content-disposition"), disposition);
        let shown = client.get(address).expect(200);
        assert!(
            !shown.find("content-disposition").unwrap_or_default().starts_with("attachment"),
            "{address}"
        );
    }
    let zip = client.get("/folders/quote%22quote.txt/?zip").expect(200);
    let disposition = zip.header("content-disposition");
    assert_eq!(
        disposition,
        "attachment; filename=\"quote_quote.txt.zip\"; filename*=UTF-8''quote%22quote.txt.zip"
    );
}

#[test]
fn a_name_with_a_backslash_is_in_the_archive_but_has_no_address() {
    needs!("bsdtar");
    let tree = FileTree::new();
    tree.file("back\\slash.txt", "inside");
    let server = Server::of(tree.root());
    let listing = server.get("/?json").expect(200).json();
    assert_eq!(listing["entries"][0]["name"], "back\\slash.txt");
    assert_eq!(listing["entries"][0]["href"], Value::Null);
    server.get("/back%5Cslash.txt").expect(400);
    let path = tree.beside("all.zip");
    fs::write(&path, server.get("/?zip").expect(200).body).unwrap();
    assert_eq!(output(program("bsdtar").arg("-tf").arg(&path)), "back_slash.txt\n");
}

/// Makes `levels` folders in one another, each called `name`, and a file in the last.
fn make_deep(tree: &FileTree, name: &str, levels: usize) {
    let flags = OFlags::DIRECTORY | OFlags::RDONLY;
    let mut folder = openat(CWD, tree.root(), flags, Mode::empty()).unwrap();
    for _ in 0..levels {
        mkdirat(&folder, name, Mode::from_raw_mode(0o755)).unwrap();
        folder = openat(&folder, name, flags, Mode::empty()).unwrap();
    }
    let file =
        openat(&folder, "deep.txt", OFlags::CREATE | OFlags::WRONLY, Mode::from_raw_mode(0o644)).unwrap();
    fs::File::from(file).write_all(b"far down").unwrap();
}

#[test]
fn a_tree_of_200_levels_is_served_and_archived() {
    needs!("7z", "bsdtar");
    let tree = FileTree::new();
    make_deep(&tree, "d", 200);
    let server = Server::of(tree.root());
    let address = "/d".repeat(200);
    assert_eq!(server.get(&format!("{address}/deep.txt")).expect(200).text(), "far down");
    server.get(&format!("{address}/")).expect(200);
    let path = tree.beside("all.zip");
    fs::write(&path, server.get("/?zip").expect(200).body).unwrap();
    assert_eq!(output(program("bsdtar").arg("-tf").arg(&path)), format!("{}deep.txt\n", "d/".repeat(200)));
    let report = output(program("7z").arg("t").arg(&path));
    assert!(report.contains("Everything is Ok"), "{report}");
}

#[test]
fn a_path_longer_than_the_kernel_takes_is_served_and_archived_in_parts() {
    needs!("bsdtar");
    let tree = FileTree::new();
    let name = "thirty characters in one name.";
    make_deep(&tree, name, 200);
    tree.file("other.txt", "other");
    let server = Server::of(tree.root());
    let part = format!("/{}", encoded(name));
    let address = part.repeat(200);
    assert!(200 * name.len() > 4096);
    assert_eq!(server.get(&format!("{address}/deep.txt")).expect(200).text(), "far down");
    let listing = server.get(&format!("{address}/?json")).expect(200).json();
    assert_eq!(listing["entries"][0]["name"], "deep.txt");

    // Names in an archive have to fit: all of it is refused with a reason, or all of it is there.
    let reply = server.get("/?zip");
    if reply.status == 200 {
        let path = tree.beside("all.zip");
        fs::write(&path, &reply.body).unwrap();
        assert_eq!(output(program("bsdtar").arg("-tf").arg(&path)).lines().count(), 2);
    } else {
        assert_eq!(reply.status, 403, "{}", reply.text());
        let detail = reply.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains(name) && detail.contains("4096 bytes"), "{detail}");
    }
    let part_of_it = server.get(&format!("{}/?zip", part.repeat(100))).expect(200);
    let path = tree.beside("part.zip");
    fs::write(&path, &part_of_it.body).unwrap();
    let listed = output(program("bsdtar").arg("-tf").arg(&path));
    assert_same(
        listed.as_bytes(),
        format!("{}deep.txt\n", format!("{name}/").repeat(100)).as_bytes(),
        "names",
    );
    output(program("rm").arg("-rf").arg(tree.root()));
}
