//! Files and folders that the server may not read: 403, and no archive that silently lacks them.

use crate::support::{FileTree, Setup, output, program};
use outflow_testkit::needs;

/// A tree in which `locked` may not be read in any way.
fn tree() -> FileTree {
    let tree = FileTree::new();
    tree.file("open.txt", "open");
    tree.file("sub/open.txt", "open as well");
    tree
}

#[test]
fn an_unreadable_file_is_forbidden_and_so_is_an_archive_with_it() {
    let tree = tree();
    tree.file("sub/locked.txt", "locked");
    tree.mode("sub/locked.txt", 0o000);
    let server = Setup::of(tree.root()).unprivileged().start();
    let mut client = server.client();
    let reply = client.get("/sub/locked.txt").expect(403);
    assert_eq!(reply.header("content-type"), "application/problem+json");
    client.fetch("HEAD", "/sub/locked.txt", "").expect(403);
    for path in ["/?zip", "/sub/?zip", "/?zip&file=sub/", "/?zip&file=open.txt&file=sub/locked.txt"] {
        let problem = client.get(path).expect(403);
        assert_eq!(problem.header("content-type"), "application/problem+json", "{path}");
        assert!(problem.text().contains("sub/locked.txt"), "{path}: the file is named: {}", problem.text());
    }
    // For people, too.
    let page = client.fetch("GET", "/?zip", "Accept: text/html\r\n").expect(403);
    assert!(page.text().contains("sub/locked.txt"), "{}", page.text());
    client.get("/?zip&file=sub/open.txt&file=open.txt").expect(200);
    assert_eq!(client.get("/sub/open.txt").expect(200).text(), "open as well");
}

#[test]
fn an_unreadable_folder_is_forbidden_and_so_is_an_archive_with_it() {
    let tree = tree();
    tree.file("locked/inside.txt", "locked");
    tree.mode("locked", 0o000);
    let server = Setup::of(tree.root()).unprivileged().start();
    let mut client = server.client();
    for path in ["/locked/", "/locked/inside.txt", "/locked/?json"] {
        assert_eq!(client.get(path).status, 403, "{path}");
    }
    for path in ["/?zip", "/locked/?zip", "/?zip&file=locked/"] {
        let problem = client.get(path).expect(403);
        if path != "/locked/?zip" {
            assert!(problem.text().contains("locked"), "{path}: the folder is named: {}", problem.text());
        }
    }
    client.get("/?zip&file=open.txt").expect(200);
    client.get("/").expect(200);
    tree.mode("locked", 0o755);
}

#[test]
fn a_folder_whose_names_can_be_read_but_not_its_files_makes_no_archive_that_lacks_them() {
    let tree = tree();
    tree.file("names/inside.txt", "locked");
    // Its names may be listed, nothing in it may be looked at.
    tree.mode("names", 0o744);
    let server = Setup::of(tree.root()).unprivileged().start();
    let mut client = server.client();
    client.get("/names/inside.txt").expect(403);
    client.get("/names/?zip").expect(403);
    let problem = client.get("/?zip").expect(403);
    assert!(problem.text().contains("names/"), "the folder is named: {}", problem.text());
    tree.mode("names", 0o755);
}

#[test]
fn a_folder_that_can_be_passed_but_not_listed_gives_its_files_by_name() {
    needs!("bsdtar");
    let tree = tree();
    tree.file("pass/inside.txt", "known by name");
    tree.mode("pass", 0o711);
    let server = Setup::of(tree.root()).unprivileged().start();
    let mut client = server.client();
    assert_eq!(client.get("/pass/inside.txt").expect(200).text(), "known by name");
    client.get("/pass/").expect(403);
    client.get("/?zip").expect(403);
    let archive = tree.beside("one.zip");
    std::fs::write(&archive, client.get("/?zip&file=pass/inside.txt").expect(200).body).unwrap();
    assert_eq!(output(program("bsdtar").arg("-tf").arg(&archive)), "pass/inside.txt\n");
    tree.mode("pass", 0o755);
}

#[test]
fn a_file_that_becomes_unreadable_is_refused_from_then_on() {
    let tree = tree();
    let server = Setup::of(tree.root()).unprivileged().start();
    let mut client = server.client();
    client.get("/open.txt").expect(200);
    tree.mode("open.txt", 0o000);
    client.get("/open.txt").expect(403);
}
