//! Downloads of archives that go on after something has changed: the layout, the server, its
//! memory.
//!
//! While CRC-32s are unknown an archive has one layout, afterwards another one. A download must go
//! on in the one that it began with; if it cannot, the client must be able to tell.

use outflow_testkit::needs;
use tempfile::TempDir;

use crate::support::{FileTree, Reply, Server, Setup, assert_same, noise, output, program};

const PATH: &str = "/?zip";

fn tree() -> FileTree {
    let tree = FileTree::new();
    for number in 0..20 {
        tree.file(format!("{number:02}.bin"), noise(number, 100_000));
    }
    tree
}

/// The reply is the rest of `whole` from `from` on.
#[track_caller]
fn assert_rest(reply: &Reply, whole: &Reply, from: usize, when: &str) {
    assert_eq!(reply.status, 206, "{when}: {:?}", reply.headers);
    assert_eq!(reply.header("etag"), whole.header("etag"), "{when}");
    let len = whole.body.len();
    assert_eq!(reply.header("content-range"), format!("bytes {from}-{}/{len}", len - 1), "{when}");
    assert_same(&reply.body, &whole.body[from..], when);
}

/// With a tag, as browsers do.
#[track_caller]
fn check_tagged(server: &Server, whole: &Reply, when: &str) {
    let etag = whole.header("etag");
    for condition in ["If-Range", "If-Match"] {
        let lines = format!("Range: bytes=1234567-\r\n{condition}: {etag}\r\n");
        assert_rest(&server.fetch("GET", PATH, &lines), whole, 1_234_567, &format!("{when}, {condition}"));
    }
}

/// Without, as `curl -C -` and `wget -c` do.
#[track_caller]
fn check_bare(server: &Server, whole: &Reply, when: &str) {
    for from in [1, 100, 1_234_567, whole.body.len() - 1] {
        let reply = server.fetch("GET", PATH, &format!("Range: bytes={from}-\r\n"));
        assert_rest(&reply, whole, from, when);
    }
}

#[test]
fn a_download_goes_on_after_the_crcs_became_known() {
    let tree = tree();
    let server = Server::of(tree.root());
    let begun = server.get(PATH).expect(200);
    server.await_other_etag(PATH, begun.header("etag"));
    check_tagged(&server, &begun, "after the CRC-32s became known");
    check_bare(&server, &begun, "after the CRC-32s became known");
}

#[test]
fn a_download_goes_on_after_a_restart() {
    let (tree, cache) = (tree(), TempDir::new().unwrap());
    let start = || Setup::of(tree.root()).cache(cache.path()).start();
    let server = start();
    let begun = server.get(PATH).expect(200);
    server.await_other_etag(PATH, begun.header("etag"));
    server.stop();

    let server = start();
    assert_ne!(server.etag(PATH), begun.header("etag"), "the CRC-32s are remembered");
    check_bare(&server, &begun, "after a restart");
    check_tagged(&server, &begun, "after a restart");
    server.stop();

    // This address has both layouts now: without a tag nobody knows which one is to go on.
    let server = start();
    let stored = server.get(PATH).expect(200);
    server.stop();
    let server = start();
    server.fetch("GET", PATH, "Range: bytes=1000-\r\n").expect(428);
    check_tagged(&server, &stored, "after a restart, stored");
    server.stop();
    std::fs::remove_file(cache.path().join("layouts-v1")).unwrap();

    // What was begun in the better layout goes on in that.
    let server = start();
    assert_eq!(server.get(PATH).expect(200).header("etag"), stored.header("etag"));
    server.stop();
    let server = start();
    check_bare(&server, &stored, "after a restart, stored");
    check_tagged(&server, &stored, "after a restart, stored");
    check_tagged(&server, &begun, "after two restarts");
}

#[test]
fn a_download_goes_on_after_a_crash() {
    let (tree, cache) = (tree(), TempDir::new().unwrap());
    let start = || Setup::of(tree.root()).cache(cache.path()).start();
    let server = start();
    let begun = server.get(PATH).expect(200);
    let stored_tag = server.await_other_etag(PATH, begun.header("etag"));
    // Killed, without a moment to write anything down.
    drop(server);

    let server = start();
    let now = server.etag(PATH);
    assert!(now == stored_tag || now == begun.header("etag"));
    check_tagged(&server, &begun, "after a crash");
    check_bare(&server, &begun, "after a crash");
}

#[test]
fn a_download_begun_before_the_memory_was_lost_goes_on_by_its_tag() {
    let tree = tree();
    let server = Server::of(tree.root());
    let begun = server.get(PATH).expect(200);
    server.stop();
    // Another cache folder, which knows nothing.
    let server = Server::of(tree.root());
    check_tagged(&server, &begun, "without a memory");
    // A range without a validator belongs to no known layout.
    server.fetch("GET", PATH, "Range: bytes=1000-\r\n").expect(428);
    check_tagged(&server, &begun, "after a bare range");
    server.stop();

    // A client that requests length and tag first can name the layout.
    let server = Server::of(tree.root());
    assert_eq!(server.etag(PATH), begun.header("etag"));
    // The first of these has to compute all CRC-32s; the next ones go on in the same layout all the
    // same.
    check_bare(&server, &begun, "after HEAD");
}

#[test]
fn a_tagged_download_that_cannot_go_on_shows_it() {
    let tree = tree();
    let server = Server::of(tree.root());
    let streamed = server.get(PATH).expect(200);
    server.await_other_etag(PATH, streamed.header("etag"));
    let begun = server.get(PATH).expect(200);
    server.stop();

    // The layout that was begun needs CRC-32s which nobody knows any more.
    let server = Server::of(tree.root());
    let etag = begun.header("etag");
    let reply = server.fetch("GET", PATH, &format!("Range: bytes=1000-\r\nIf-Range: {etag}\r\n"));
    match reply.status {
        // It found them out.
        206 => assert_rest(&reply, &begun, 1000, "with If-Range"),
        // All of the other layout.
        200 => assert_same(&reply.body, &streamed.body, "with If-Range"),
        status => panic!("{status}"),
    }
    let reply = server.fetch("GET", PATH, &format!("Range: bytes=1000-\r\nIf-Match: {etag}\r\n"));
    assert!(matches!(reply.status, 206 | 412), "{}", reply.status);
    if reply.status == 206 {
        assert_rest(&reply, &begun, 1000, "with If-Match");
    }
}

#[test]
fn a_download_without_a_tag_is_not_continued_when_the_memory_was_lost() {
    needs!("curl", "unzip", "wget");
    let tree = tree();
    let server = Server::of(tree.root());
    server.know_crcs(PATH);
    let begun = server.get(PATH).expect(200);
    server.stop();
    let server = Server::of(tree.root());

    let folder = TempDir::new().unwrap();
    let (part, head) = (folder.path().join("tree.zip"), &begun.body[..1_000_000]);
    std::fs::write(&part, head).unwrap();
    let curl = |more: &[&str]| {
        let mut curl = program("curl");
        curl.args(["--disable", "--silent", "--show-error", "--noproxy", "*", "-C", "-", "-o"]);
        curl.arg(&part).args(more).arg(server.url(PATH)).output().unwrap()
    };
    let wget = || {
        let mut wget = program("wget");
        wget.args(["--no-config", "--no-proxy", "--no-verbose", "--tries=2", "-c", "-O"]);
        wget.arg(&part).arg(server.url(PATH)).output().unwrap()
    };
    // Nor when it is tried again.
    for _ in 0..3 {
        for more in [&[][..], &["--fail"]] {
            let curl = curl(more);
            let said = String::from_utf8_lossy(&curl.stderr);
            assert!(!curl.status.success(), "curl {more:?}: {said}");
            assert_same(&std::fs::read(&part).unwrap(), head, "what curl had");
        }
        let wget = wget();
        let said = String::from_utf8_lossy(&wget.stderr);
        assert_eq!(wget.status.code(), Some(8), "an error response: {said}");
        assert!(said.contains("428"), "{said}");
        assert_same(&std::fs::read(&part).unwrap(), head, "what wget had");
    }
    for range in ["1000000-", "1-2"] {
        let problem = server.client().get_range(PATH, range).expect(428).json();
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains("Download it again, or send its ETag"), "{range}: {problem}");
    }
    std::fs::remove_file(&part).unwrap();
    assert!(curl(&[]).status.success());
    output(program("unzip").arg("-tqq").arg(&part));
    // And what has begun goes on.
    let whole = std::fs::read(&part).unwrap();
    std::fs::write(&part, &whole[..1_000_000]).unwrap();
    assert!(wget().status.success());
    assert_same(&std::fs::read(&part).unwrap(), &whole, "continued by wget");
}

#[test]
fn a_download_whose_files_have_changed_does_not_go_on() {
    let tree = tree();
    let server = Server::of(tree.root());
    let begun = server.get(PATH).expect(200);
    tree.file("07.bin", noise(700, 100_001));
    let etag = begun.header("etag");
    // At once, while the plan of the archive may still be remembered.
    for when in ["at once", "later"] {
        for condition in ["If-Range", "If-Match"] {
            let mut client = server.client();
            let lines = format!("Range: bytes=100000-\r\n{condition}: {etag}\r\n");
            let head = client.request("GET", PATH, &lines).head();
            match (head.status, condition) {
                // The new archive, whole.
                (200, "If-Range") => assert_ne!(head.header("etag"), etag),
                (412, "If-Match") => {}
                // The old one, which breaks off where the changed file begins.
                (206, _) => {
                    let body = client.expect_cut(head.length() as usize);
                    assert!(begun.body[100_000..].starts_with(&body), "{when}: {condition}");
                }
                (status, _) => panic!("{when}: {condition}: {status}"),
            }
        }
        if when == "at once" {
            server.await_other_etag(PATH, etag);
        }
    }
    let fresh = server.get(PATH).expect(200);
    assert_ne!(fresh.header("etag"), etag);
}
