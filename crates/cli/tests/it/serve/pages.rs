//! Listings for people and for programs, and what HTTP expects of every address.

use std::io::Write as _;

use outflow_testkit::needs;
use serde_json::Value;

use crate::support::{ChildProgram, FileTree, Server, python};

fn tree() -> FileTree {
    let tree = FileTree::new();
    tree.file("b file.txt", "12345");
    tree.modified("b file.txt", 1_623_760_496);
    tree.file("a.txt", "");
    tree.file("sub/inside.txt", "inside");
    tree.folder("empty");
    tree
}

/// The parts of a page that a person uses.
fn parse(page: &[u8]) -> Value {
    let (parser, mut input) = ChildProgram::start_with_input(&mut python("links.py"));
    input.write_all(page).unwrap();
    drop(input);
    let output = parser.finish();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn a_page_is_well_formed_and_all_its_links_work() {
    needs!("python3");
    let tree = tree();
    let server = Server::of(tree.root());
    let mut client = server.client();
    for (folder, names) in
        [("/", &["empty/", "sub/", "a.txt", "b file.txt"][..]), ("/sub/", &["inside.txt"]), ("/empty/", &[])]
    {
        let page =
            client.fetch("GET", folder, "Accept: text/html,application/xhtml+xml,*/*;q=0.8\r\n").expect(200);
        assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
        let parts = parse(&page.body);
        let texts: Vec<&str> =
            parts["texts"].as_array().unwrap().iter().map(|t| t.as_str().unwrap()).collect();
        for name in names {
            assert!(texts.contains(name), "{folder}: no {name} in {texts:?}");
        }
        for link in parts["links"].as_array().unwrap() {
            let link = link.as_str().unwrap();
            let address = if link.starts_with("../") { "/".to_owned() } else { format!("{folder}{link}") };
            client.get(&address).expect(200);
        }
    }
    assert!(client.get("/empty/").text().contains("empty"));
}

#[test]
fn programs_get_json() {
    let tree = tree();
    let server = Server::of(tree.root());
    let mut client = server.client();
    let by_query = client.get("/?json").expect(200);
    assert_eq!(by_query.header("content-type"), "application/json");
    let by_accept = client.fetch("GET", "/", "Accept: application/json\r\n").expect(200);
    assert_eq!(by_query.body, by_accept.body);
    assert!(by_accept.header("vary").eq_ignore_ascii_case("accept"));

    let listing = by_query.json();
    assert_eq!(listing["name"], "tree");
    assert_eq!(listing["path"], "/");
    assert_eq!(listing["archive"], "/?zip");
    let entries = listing["entries"].as_array().unwrap();
    let names: Vec<&str> = entries.iter().map(|entry| entry["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["a.txt", "b file.txt", "empty", "sub"]);
    let file = &entries[1];
    assert_eq!(file["href"], "b%20file.txt");
    assert_eq!((&file["type"], &file["size"]), (&"file".into(), &5.into()));
    assert_eq!(file["modified"], "2021-06-15T12:34:56Z");
    assert_eq!(file["etag"], server.etag("/b%20file.txt"));
    assert_eq!((&entries[3]["type"], &entries[3]["href"]), (&"folder".into(), &"sub/".into()));

    let sub = client.get("/sub/?json").expect(200).json();
    assert_eq!(
        (&sub["name"], &sub["path"], &sub["archive"]),
        (&"sub".into(), &"/sub/".into(), &"/sub/?zip".into())
    );
    // A person's browser gets a page, and so does who says nothing.
    for accept in ["", "Accept: */*\r\n", "Accept: text/html, application/json;q=0.9\r\n"] {
        let page = client.fetch("GET", "/", accept).expect(200);
        assert!(page.header("content-type").starts_with("text/html"), "{accept}");
    }
}

#[test]
fn a_folder_without_its_slash_is_redirected() {
    let tree = tree();
    let server = Server::of(tree.root());
    let mut client = server.client();
    for (from, to) in [
        ("/sub", "/sub/"),
        ("/sub?json", "/sub/?json"),
        ("/sub?zip&file=inside.txt", "/sub/?zip&file=inside.txt"),
    ] {
        let reply = client.get(from).expect(308);
        assert_eq!(reply.header("location"), to);
        client.get(to).expect(200);
    }
    // No redirect leads to another host, whatever the folder is called.
    tree.folder("evil.example");
    let reply = client.get("//evil.example").status;
    assert_eq!(reply, 404);
}

#[test]
fn files_and_archives_answer_conditions() {
    needs!("curl");
    let tree = tree();
    let server = Server::of(tree.root());
    let mut client = server.client();
    server.know_crcs("/?zip");
    for path in ["/b%20file.txt", "/?zip"] {
        let fresh = client.get(path).expect(200);
        let etag = fresh.header("etag");
        assert!(etag.starts_with('"'), "strong: {etag}");
        for (condition, status) in [
            (format!("If-None-Match: {etag}"), 304),
            (format!("If-None-Match: \"x\", W/{etag}"), 304),
            ("If-None-Match: *".to_owned(), 304),
            ("If-None-Match: \"x\"".to_owned(), 200),
            (format!("If-Match: {etag}"), 200),
            ("If-Match: *".to_owned(), 200),
            ("If-Match: \"x\"".to_owned(), 412),
            (format!("If-Match: W/{etag}"), 412),
        ] {
            let reply = client.fetch("GET", path, &format!("{condition}\r\n")).expect(status);
            if status == 304 {
                assert_eq!(reply.header("etag"), etag);
                assert_eq!(reply.body, b"");
            }
            client.fetch("HEAD", path, &format!("{condition}\r\n")).expect(status);
        }
    }
    let modified = client.get("/b%20file.txt").expect(200).header("last-modified").to_owned();
    assert_eq!(modified, "Tue, 15 Jun 2021 12:34:56 GMT");
    for (condition, status) in [
        ("If-Modified-Since: Tue, 15 Jun 2021 12:34:56 GMT", 304),
        ("If-Modified-Since: Tue, 15 Jun 2021 12:34:55 GMT", 200),
        ("If-Modified-Since: yesterday", 200),
        ("If-Unmodified-Since: Tue, 15 Jun 2021 12:34:56 GMT", 200),
        ("If-Unmodified-Since: Tue, 15 Jun 2021 12:34:55 GMT", 412),
        ("If-Modified-Since: Tue, 15 Jun 2021 12:34:56 GMT\r\nIf-None-Match: \"x\"", 200),
    ] {
        client.fetch("GET", "/b%20file.txt", &format!("{condition}\r\n")).expect(status);
    }
}

#[test]
fn methods_that_an_address_does_not_have_are_refused() {
    let tree = tree();
    let server = Server::of(tree.root());
    for method in ["PUT", "DELETE", "PATCH", "PROPFIND", "TRACE", "BREW"] {
        for path in ["/a.txt", "/", "/?zip"] {
            let reply = server.fetch(method, path, "").expect(405);
            let allow = reply.header("allow");
            assert!(allow.contains("GET") && allow.contains("HEAD"), "{method} {path}: {allow}");
        }
    }
    for path in ["/a.txt", "/", "/?zip"] {
        let reply = server.fetch("OPTIONS", path, "");
        assert!(matches!(reply.status, 200 | 204), "{}", reply.status);
        assert_eq!(reply.header("allow").contains("POST"), path == "/?zip", "{path}");
    }
    let reply = server.fetch("OPTIONS", "*", "");
    assert!(matches!(reply.status, 200 | 204), "{}", reply.status);
}

#[test]
fn head_says_what_get_would() {
    let tree = tree();
    let server = Server::of(tree.root());
    let mut client = server.client();
    for path in ["/", "/?json", "/a.txt", "/b%20file.txt", "/nothing", "/sub", "/?zip&file=nothing"] {
        let head = client.fetch("HEAD", path, "");
        let reply = client.get(path);
        assert_eq!(head.status, reply.status, "{path}");
        for field in ["content-length", "content-type", "etag", "last-modified", "location"] {
            assert_eq!(head.find(field), reply.find(field), "{path}: {field}");
        }
    }
}

#[test]
fn problems_are_told_to_programs_and_to_people() {
    needs!("python3");
    let tree = tree();
    let server = Server::of(tree.root());
    let mut client = server.client();
    let problem = client.get("/nothing").expect(404);
    assert_eq!(problem.header("content-type"), "application/problem+json");
    let problem = problem.json();
    assert_eq!(problem["status"], 404);
    assert!(
        problem["title"].is_string() && problem["detail"].is_string() && problem["type"].is_string(),
        "{problem}"
    );
    let page = client.fetch(
        "GET",
        "/<script>alert(1)</script>".replace(['<', '>'], "%3C").as_str(),
        "Accept: text/html\r\n",
    );
    assert_eq!(page.status, 404);
    parse(&page.body);
    let page = client
        .fetch("GET", "/?zip&file=%3Cscript%3Ealert(1)%3C/script%3E", "Accept: text/html\r\n")
        .expect(404);
    assert!(!page.text().contains("<script>"), "{}", page.text());
    parse(&page.body);
}
