//! `?events`: how downloads stand, as it happens, for whoever may know.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::Duration;

use crate::support::{
    Browser, EventStream, FileTree, HttpClient, SentEvent, Server, Setup, binary, noise, output,
};
use outflow_testkit::needs;

/// Far more than any socket's buffers hold.
const LEN: usize = 24 << 20;

/// A recipient without a link.
const ANNA: &str = "User-Agent: anna\r\n";

fn tree() -> (FileTree, PathBuf) {
    let tree = FileTree::new();
    tree.file("big.bin", noise(1, LEN));
    for number in 0..40 {
        tree.file(format!("a folder/{number:02}.bin"), noise(100 + number, 400_000));
    }
    let keys = tree.beside("keys");
    fs::write(&keys, output(binary().args(["link", "keygen"]))).unwrap();
    fs::set_permissions(&keys, fs::Permissions::from_mode(0o600)).unwrap();
    (tree, keys)
}

/// The path of a link.
#[track_caller]
fn link(keys: &PathBuf, path: &str, args: &[&str]) -> String {
    let mut command = binary();
    command.args(["link", "create"]).arg(format!("http://test{path}")).arg("--link-keys").arg(keys);
    let url = output(command.args(args));
    url.trim_end().strip_prefix("http://test").unwrap_or_else(|| panic!("{url}")).to_owned()
}

/// Begins to read through a narrow window, and takes half of it: with a pause, because what was
/// acknowledged is looked at four times a second at the most, and only when more is taken.
#[track_caller]
fn begin(server: &Server, path: &str, lines: &str) -> (HttpClient, usize, String) {
    let mut client = HttpClient::connect_narrow(server.addr, 4096);
    let head = client.request("GET", path, lines).head().expect(200);
    let len = head.length() as usize;
    client.take(len / 8 * 3).unwrap();
    // More than a quarter of a second.
    std::thread::sleep(Duration::from_millis(300));
    client.take(len / 2 - len / 8 * 3).unwrap();
    (client, len - len / 2, head.header("etag").to_owned())
}

#[track_caller]
fn assert_grows(told: &[SentEvent]) {
    let acked: Vec<u64> = told.iter().map(|told| told.number("acked")).collect();
    assert!(acked.is_sorted(), "{told:#?}");
}

#[test]
fn whoever_listens_to_a_file_hears_it_grow_and_end_and_does_not_come_back() {
    let (tree, _) = tree();
    let server = Server::of(tree.root());
    let mut listener = EventStream::open(server.client(), "/big.bin?events", ANNA);
    for (name, value) in [("cache-control", "no-store"), ("x-accel-buffering", "no"), ("connection", "close")]
    {
        assert_eq!(listener.head.header(name), value);
    }
    assert!(listener.state().is_empty());
    let retry = listener.retry.expect("how long to wait");
    assert!((2_000..6_000).contains(&retry), "{retry}");

    let (mut client, rest, _) = begin(&server, "/big.bin", ANNA);
    let mut told = listener.until(|told| told.number("acked") > LEN as u64 / 4);
    let halfway = told.last().unwrap();
    assert_eq!((halfway.name.as_str(), halfway.text("state")), ("progress", "open"));
    assert_eq!((halfway.number("total"), halfway.text("path")), (LEN as u64, "/big.bin"));
    assert!(halfway.number("acked") < LEN as u64 && halfway.number("sent") >= halfway.number("acked"));
    // Somebody who comes later is told all of it at once.
    let mut late = EventStream::open(server.client(), "/big.bin?events", ANNA);
    assert!(late.state()[0]["acked"].as_u64().unwrap() >= halfway.number("acked"));

    client.take(rest).unwrap();
    drop(client);
    told.extend(listener.completed("/big.bin"));
    assert_grows(&told);
    let last = told.pop().unwrap();
    assert_eq!((last.number("acked"), last.number("eta")), (LEN as u64, 0));
    listener.expect_end();
    late.completed("/big.bin");
    late.expect_end();

    for (path, lines) in [
        ("/big.bin?events", format!("{ANNA}Last-Event-ID: {}\r\n", last.id)),
        ("/big.bin?events&last_event_id=1", ANNA.to_owned()),
    ] {
        server.fetch("GET", path, &lines).expect(204);
    }
    // A client that missed it is notified again.
    let mut listener = EventStream::open(server.client(), "/big.bin?events&last_event_id=", ANNA);
    assert_eq!(listener.state()[0]["state"], "completed");
    listener.expect_end();
    let head = server.fetch("HEAD", "/big.bin?events", ANNA).expect(200);
    assert_eq!(head.header("content-type"), "text/event-stream");
    server.get("/nothing?events").expect(404);
    assert_eq!(server.get("/a%20folder?events").expect(308).header("location"), "/a%20folder/?events");
}

#[test]
fn whoever_listens_to_a_folder_hears_of_all_downloads_in_it() {
    let (tree, _) = tree();
    let server = Server::of(tree.root());
    let mut listener = EventStream::open(server.client(), "/a%20folder/?events", ANNA);
    assert!(listener.state().is_empty());
    server.fetch("GET", "/big.bin", ANNA).expect(200);
    for number in 0..3 {
        server.fetch("GET", &format!("/%61%20folder/{number:02}.bin"), ANNA).expect(200);
    }
    for number in 0..3 {
        for told in listener.completed(&format!("/a%20folder/{number:02}.bin")) {
            assert!(told.text("path").starts_with("/a%20folder/"), "{told:?}");
        }
    }
    let mut later = EventStream::open(server.client(), "/a%20folder/?events", ANNA);
    let state = later.state();
    assert_eq!(state.len(), 3, "{state:#?}");
    // Newest first.
    assert_eq!(state[0]["path"], "/a%20folder/02.bin");
}

#[test]
fn whoever_listens_to_an_archive_hears_how_many_files_have_arrived() {
    let (tree, _) = tree();
    let server = Server::of(tree.root());
    let mut listener = EventStream::open(server.client(), "/a%20folder/?zip&events", ANNA);
    let mut other = EventStream::open(server.client(), "/a%20folder/?events&zip&file=00.bin", ANNA);
    assert!(listener.state().is_empty() && other.state().is_empty());
    let (client, rest, etag) = begin(&server, "/a%20folder/?zip", ANNA);
    client.reset();
    let mut told = listener.until(|told| told.text("state") == "aborted");
    let aborted = told.last().unwrap();
    let (done, from) = (aborted.number("files_done"), aborted.number("total") - rest as u64);
    assert!((1..40).contains(&done), "{aborted:?}");
    let lines = format!("{ANNA}Range: bytes={from}-\r\nIf-Range: {etag}\r\n");
    server.fetch("GET", "/a%20folder/?zip", &lines).expect(206);
    told.extend(listener.completed("/a%20folder/?zip"));
    assert_grows(&told);
    let last = told.last().unwrap();
    assert_eq!((last.number("files_done"), last.number("files")), (40, 40));
    listener.expect_end();
    // A selection is something else.
    server.fetch("GET", "/a%20folder/?zip&file=00.bin", ANNA).expect(200);
    for told in other.completed("/a%20folder/?zip&file=00.bin") {
        assert_eq!(told.number("files"), 1, "{told:?}");
    }
}

#[test]
fn everybody_hears_of_their_own_downloads_and_the_operator_of_all() {
    let (tree, keys) = tree();
    let server = Setup::of(tree.root()).arg("--link-keys").arg(&keys).start();
    let bob = link(&keys, "/a%20folder/", &["--recipient", "bob"]);
    let again = link(&keys, "/", &["--recipient", "bob"]);
    let carol =
        link(&keys, "/a%20folder/", &["--recipient", "carol", "--file", "00.bin", "--file", "01.bin"]);
    let operator = link(&keys, "/", &["--recipient", "ops", "--operator"]);
    let listen = |path: &str, lines: &str| {
        let mut listener = EventStream::open(server.client(), &format!("{path}?events"), lines);
        assert!(listener.state().is_empty());
        listener
    };
    // Everybody does the same twice, so that what comes in between must have come, if it does.
    let mut all = listen(&operator, "");
    let mut of_file = listen(&format!("{operator}a%20folder/00.bin"), "");
    let mut others = [
        (listen(&bob, ""), "bob"),
        (listen(&carol, ""), "carol"),
        (listen("/a%20folder/", ANNA), "127.0.0.1 "),
    ];
    for number in ["00", "01"] {
        for (path, lines) in [(&*bob, ""), (&*carol, ""), ("/a%20folder/", ANNA)] {
            server.fetch("GET", &format!("{path}{number}.bin"), lines).expect(200);
        }
    }
    for (listener, recipient) in &mut others {
        let mut told = listener.completed("/a%20folder/00.bin");
        told.extend(listener.completed("/a%20folder/01.bin"));
        for told in told {
            assert!(told.text("recipient").starts_with(*recipient), "{told:?} to {recipient}");
        }
    }
    let completed = |told: &SentEvent| told.data["state"] == "completed";
    let mut recipients: Vec<String> = Vec::new();
    while recipients.len() < 6 {
        let told = all.until(completed).pop().unwrap();
        recipients.push(told.text("recipient").split(' ').next().unwrap().to_owned());
    }
    recipients.sort_unstable();
    assert_eq!(recipients, ["127.0.0.1", "127.0.0.1", "bob", "bob", "carol", "carol"]);
    // A file that several people download is not at its end with the first.
    for _ in 0..3 {
        of_file.until(completed);
    }
    // The same person by another link.
    let mut again = EventStream::open(server.client(), &format!("{again}?events"), "");
    assert_eq!(again.state().len(), 2);
    // What a link does not show, it does not tell of either.
    server.get(&format!("{carol}02.bin?events")).expect(404);
    server.get(&format!("{}big.bin?events", bob.replace("/a%20folder/", "/"))).expect(403);
}

#[test]
fn a_link_that_is_used_up_still_tells_of_what_was_begun_by_it() {
    let (tree, keys) = tree();
    let server = Setup::of(tree.root()).arg("--link-keys").arg(&keys).start();
    let link = link(&keys, "/a%20folder/", &["--recipient", "bob", "--max-downloads", "1"]);
    let mut listener = EventStream::open(server.client(), &format!("{link}00.bin?events"), "");
    assert!(listener.state().is_empty());
    server.get(&format!("{link}00.bin")).expect(200);
    listener.completed("/a%20folder/00.bin");
    listener.expect_end();
    server.fetch("GET", &format!("{link}00.bin?events"), "Last-Event-ID: 1\r\n").expect(204);
    server.fetch("GET", &format!("{link}01.bin?events"), "Last-Event-ID: 1\r\n").expect(410);
}

#[test]
fn a_server_without_a_ledger_says_that_it_cannot_tell() {
    let (tree, _) = tree();
    let server = Setup::of(tree.root()).ledger("none").start();
    let problem = server.fetch("GET", "/?events", "Accept: application/json\r\n").expect(501).json();
    assert!(problem["detail"].as_str().unwrap().contains("--ledger"), "{problem:#}");
}

/// What a page does: listens, downloads, and says by what it fetches next what it has heard.
const PAGE: &str = "<!doctype html><script>
const source = new EventSource('big.bin?events')
source.addEventListener('state', () => fetch('big.bin').then(answer => answer.arrayBuffer()), {once: true})
source.addEventListener('progress', event => {
    const download = JSON.parse(event.data)
    if (download.state === 'completed' && download.acked === download.total) fetch('heard.txt')
})
source.addEventListener('error', () => {
    if (source.readyState === EventSource.CLOSED) fetch('closed.txt')
})
</script>";

#[test]
fn a_browser_hears_it_and_comes_back_no_more() {
    needs!("chromium");
    let (tree, _) = tree();
    for (name, text) in [("page.html", PAGE), ("heard.txt", "heard"), ("closed.txt", "closed")] {
        tree.file(name, text);
    }
    let server = Server::of(tree.root());
    let _browser = Browser::open(server.url("/page.html"));
    server.delivery("/heard.txt", "completed");
    server.delivery("/closed.txt", "completed");
}
