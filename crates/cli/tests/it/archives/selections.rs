//! Archives of some of a folder's files: by their names in the address, and by a token that stands
//! for them.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use outflow_testkit::needs;
use tempfile::TempDir;

use crate::support::{FileTree, Random, Server, Setup, assert_same, noise, output, program};

fn tree() -> FileTree {
    let tree = FileTree::new();
    for name in
        ["a.txt", "b.txt", "sub/c.txt", "sub/deeper/d.txt", "other/e.txt", "ünï code.txt", "a+b&c=d.txt"]
    {
        tree.file(name, format!("this is {name}"));
    }
    tree
}

/// The names in an archive.
fn names_in(archive: &[u8], scratch: &Path) -> BTreeSet<String> {
    let path = scratch.join("selected.zip");
    fs::write(&path, archive).unwrap();
    output(program("unzip").arg("-tqq").arg(&path));
    output(program("bsdtar").arg("-tf").arg(&path)).lines().map(str::to_owned).collect()
}

#[test]
fn a_selection_has_what_was_selected() {
    needs!("bsdtar", "unzip");
    let (tree, scratch) = (tree(), TempDir::new().unwrap());
    let server = Server::of(tree.root());
    let mut client = server.client();
    for (query, names) in [
        ("file=a.txt", &["a.txt"][..]),
        ("file=b.txt&file=a.txt&file=a.txt", &["a.txt", "b.txt"]),
        ("file=sub/", &["sub/c.txt", "sub/deeper/d.txt"]),
        ("file=sub", &["sub/c.txt", "sub/deeper/d.txt"]),
        ("file=sub/&file=sub/c.txt&file=a.txt", &["a.txt", "sub/c.txt", "sub/deeper/d.txt"]),
        ("file=sub/deeper/d.txt&file=other/", &["other/e.txt", "sub/deeper/d.txt"]),
        ("file=%C3%BCn%C3%AF+code.txt", &["ünï code.txt"]),
        ("file=%C3%BCn%C3%AF%20code.txt&file=a%2Bb%26c%3Dd.txt", &["a+b&c=d.txt", "ünï code.txt"]),
    ] {
        let reply = client.get(&format!("/?zip&{query}")).expect(200);
        let expected = names.iter().map(|name| (*name).to_owned()).collect();
        assert_eq!(names_in(&reply.body, scratch.path()), expected, "{query}");
    }
    let within = client.get("/sub/?zip&file=deeper/").expect(200);
    assert_eq!(names_in(&within.body, scratch.path()), ["deeper/d.txt".to_owned()].into());
    assert_eq!(within.header("content-disposition"), "attachment; filename=\"sub.zip\"");
}

#[test]
fn what_is_missing_is_named() {
    let tree = tree();
    let server = Server::of(tree.root());
    let mut client = server.client();
    for query in ["file=nothing.txt", "file=a.txt&file=nothing.txt", "file=sub/&file=nothing.txt/"] {
        let reply = client.get(&format!("/?zip&{query}")).expect(404);
        assert_eq!(reply.header("content-type"), "application/problem+json");
        let problem = reply.json();
        assert_eq!(problem["missing"], serde_json::json!(["nothing.txt"]), "{query}: {problem}");
        assert!(problem["detail"].as_str().unwrap().contains("nothing.txt"), "{problem}");
    }
    let page = client.fetch("GET", "/?zip&file=nothing.txt", "Accept: text/html\r\n").expect(404);
    assert!(page.header("content-type").starts_with("text/html"));
    assert!(page.text().contains("nothing.txt"));
    let problem = client.post("/?zip", "file=nothing.txt&file=a.txt&file=nor+this").expect(404).json();
    assert_eq!(problem["count"], 2, "{problem}");
}

#[test]
fn a_form_leads_to_an_address_that_stands_for_it() {
    needs!("bsdtar", "curl", "unzip");
    let (tree, scratch) = (tree(), TempDir::new().unwrap());
    let server = Server::of(tree.root());
    let mut client = server.client();
    let reply = client.post("/?zip", "file=a.txt&file=sub%2F").expect(303);
    let location = reply.header("location").to_owned();
    let names = names_in(&client.get(&location).expect(200).body, scratch.path());
    assert_eq!(names, ["a.txt", "sub/c.txt", "sub/deeper/d.txt"].map(str::to_owned).into());
    client.fetch("HEAD", &location, "").expect(200);
    // Nothing selected is a mistake that can be explained.
    client.post("/?zip", "").expect(400);
    // A curl user does the same in one line.
    let to = scratch.path().join("by-curl.zip");
    let mut curl = program("curl");
    curl.args(["-sSfL", "--noproxy", "*", "-d", "file=a.txt", "-d", "file=b.txt", "-o"]).arg(&to);
    output(curl.arg(server.url("/?zip")));
    let names = names_in(&fs::read(&to).unwrap(), scratch.path());
    assert_eq!(names, ["a.txt", "b.txt"].map(str::to_owned).into());
}

#[test]
fn ten_thousand_files_can_be_selected_resumed_and_found_again_after_a_restart() {
    needs!("bsdtar", "unzip");
    const SELECTED: usize = 10_000;
    let (tree, scratch, cache) = (FileTree::new(), TempDir::new().unwrap(), TempDir::new().unwrap());
    let folder = tree.folder("many");
    let (mut form, mut expected) = (String::new(), BTreeSet::new());
    for number in 0..SELECTED + 500 {
        let name = format!("file with a longer name {number:05}.txt");
        fs::write(folder.join(&name), &name).unwrap();
        // Every 21st is left out.
        if number % 21 != 20 {
            form += &format!("&file={}", name.replace(' ', "+"));
            expected.insert(name);
        }
    }
    assert_eq!(expected.len(), SELECTED);
    let start = || Setup::of(tree.root()).cache(cache.path()).start();
    let server = start();
    let reply = server.client().post("/many/?zip", &form[1..]).expect(303);
    let location = reply.header("location").to_owned();
    assert!(location.starts_with("/many/?zip"), "{}", &location[..100]);
    assert!(location.len() < 60_000, "an address that fits: {} bytes", location.len());

    let whole = server.get(&location).expect(200);
    assert_eq!(names_in(&whole.body, scratch.path()), expected);
    let check_rest = |server: &Server, when: &str| {
        let from = whole.body.len() / 3;
        let bare = server.fetch("GET", &location, &format!("Range: bytes={from}-\r\n")).expect(206);
        assert_same(&bare.body, &whole.body[from..], when);
        let lines = format!("Range: bytes={from}-\r\nIf-Range: {}\r\n", whole.header("etag"));
        let tagged = server.fetch("GET", &location, &lines).expect(206);
        assert_same(&tagged.body, &whole.body[from..], when);
    };
    check_rest(&server, "at once");
    fs::write(folder.join("a new file.txt"), "not selected").unwrap();
    check_rest(&server, "with an unrelated new file");
    server.stop();
    let server = start();
    check_rest(&server, "after a restart");
    fs::remove_file(folder.join("file with a longer name 00020.txt")).unwrap();
    check_rest(&server, "without a file that was not selected");

    // Without one that was selected there is no such archive any more.
    fs::remove_file(folder.join("file with a longer name 00021.txt")).unwrap();
    server.stop();
    let server = start();
    let problem = server.get(&location).expect(404).json();
    assert_eq!(problem["count"], 1, "{problem}");
}

#[test]
fn tokens_that_nobody_made_are_refused() {
    let tree = FileTree::new();
    for number in 0..200 {
        tree.file(format!("a name that is long enough to make tokens {number}.txt"), noise(number, 10));
    }
    let server = Server::of(tree.root());
    let mut client = server.client();
    let form: Vec<String> = (0..150)
        .map(|number| format!("file=a+name+that+is+long+enough+to+make+tokens+{number}.txt"))
        .collect();
    let location = client.post("/?zip", &form.join("&")).expect(303).header("location").to_owned();
    let token = location.strip_prefix("/?zip&pick=").expect("a token").to_owned();
    client.get(&location).expect(200);

    let mut random = Random::new(1);
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut hostile: Vec<String> = [
        "",
        "A",
        "AAAA",
        "%00",
        "..",
        "%FF%FF",
        "AQAU",
        "AQAUAQE",
        "AQAU_____wE",
        "AQAkAf____8P",
        "AQD_AQE",
        "====",
        "AQAU/w+=",
    ]
    .map(str::to_owned)
    .to_vec();
    hostile.extend((1..token.len()).step_by(7).map(|len| token[..len].to_owned()));
    hostile.push(format!("{token}AAAA"));
    hostile.push(format!("{token}{token}"));
    for _ in 0..300 {
        let mut changed = token.clone().into_bytes();
        let at = random.below(changed.len() as u64) as usize;
        changed[at] = alphabet[random.below(64) as usize];
        hostile.push(String::from_utf8(changed).unwrap());
        let len = random.below(60) as usize;
        hostile.push((0..len).map(|_| char::from(alphabet[random.below(64) as usize])).collect());
    }
    for hostile in hostile.iter().filter(|hostile| **hostile != token) {
        let reply = client.get(&format!("/?zip&pick={hostile}"));
        // Not a token; or one for files that are not there.
        assert!(matches!(reply.status, 400 | 404), "{hostile}: {}", reply.status);
    }
    client.get(&format!("{location}&file=a.txt")).expect(400);
    client.get(&format!("{location}&pick={token}")).expect(400);
    client.get(&location).expect(200);
}

#[test]
fn forms_that_are_none_or_too_long_are_refused() {
    let tree = tree();
    let server = Server::of(tree.root());
    let lines = "Content-Type: text/plain\r\nContent-Length: 10\r\n";
    server.client().request("POST", "/?zip", lines).send("file=a.txt").reply().expect(415);
    let lines = "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 999999999999\r\n";
    server.client().request("POST", "/?zip", lines).reply().expect(413);
    server.client().post("/a.txt", "file=a.txt").expect(405);
    server.client().post("/", "file=a.txt").expect(405);
    server.client().post("/nothing/?zip", "file=a.txt").expect(404);
    // In chunks, for once.
    let lines = "Content-Type: application/x-www-form-urlencoded\r\nTransfer-Encoding: chunked\r\n";
    let mut client = server.client();
    client.request("POST", "/?zip", lines).send("6\r\nfile=a\r\n4\r\n.txt\r\n0\r\n\r\n").reply().expect(303);
    client.get("/a.txt").expect(200);
}
