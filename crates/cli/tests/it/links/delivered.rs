//! Links that are signed: whom they let in, what uses them up, and what is said to whoever stays
//! outside.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use outflow_testkit::needs;
use serde_json::Value;

use crate::support::{
    FileTree, HttpClient, Ledger, Receiver, Reply, Server, Setup, assert_same, binary, noise, output, program,
};

const LEN: usize = 12 << 20;

struct House {
    tree: FileTree,
    keys: PathBuf,
    big: Vec<u8>,
}

impl House {
    fn new() -> House {
        let (tree, big) = (FileTree::new(), noise(1, LEN));
        tree.file("photos/big.bin", &big);
        for number in 0..4 {
            tree.file(format!("photos/{number}.jpg"), noise(10 + number, 50_000));
        }
        tree.file("other/secret.txt", "not for everybody");
        let keys = tree.beside("keys");
        fs::write(&keys, output(binary().args(["link", "keygen"]))).unwrap();
        fs::set_permissions(&keys, fs::Permissions::from_mode(0o600)).unwrap();
        House { tree, keys, big }
    }

    fn setup(&self) -> Setup {
        Setup::of(self.tree.root()).arg("--link-keys").arg(&self.keys)
    }

    /// `outflow link`; returns the path of the address that it prints.
    #[track_caller]
    fn link(&self, path: &str, args: &[&str]) -> String {
        let mut command = binary();
        command.args(["link", "create"]).arg(format!("http://test{path}")).arg("--link-keys").arg(&self.keys);
        let url = output(command.args(args));
        let path = url.trim_end().strip_prefix("http://test").unwrap_or_else(|| panic!("{url}"));
        assert!(path.starts_with("/l/"), "{path}");
        path.to_owned()
    }
}

/// The part of a link's path that must not be known to anybody else.
fn token(link: &str) -> &str {
    link.split('/').nth(2).unwrap()
}

/// The id that `outflow link show` finds in a link.
fn id_of(house: &House, link: &str) -> String {
    let mut command = binary();
    command
        .args(["link", "show"])
        .arg(format!("http://test{link}"))
        .arg("--link-keys")
        .arg(&house.keys)
        .arg("--json");
    let shown: Value = serde_json::from_str(&output(&mut command)).unwrap();
    shown["id"].as_str().unwrap_or_else(|| panic!("{shown:#}")).to_owned()
}

/// Refused with a page for people and a problem for programs, neither of which shows the file.
#[track_caller]
fn assert_refused(server: &Server, path: &str, status: u16, says: &str) {
    let page = server.fetch("GET", path, "Accept: text/html\r\n").expect(status);
    assert!(page.header("content-type").starts_with("text/html"), "{:?}", page.headers);
    assert!(page.text().contains(says), "no {says:?} in {}", page.text());
    let problem = server.fetch("GET", path, "Accept: application/json\r\n").expect(status).json();
    assert!(problem["detail"].as_str().unwrap().contains(says), "{problem:#}");
}

/// The log tells of `links` without their tokens.
#[track_caller]
fn assert_discreet(server: &Server, links: &[&str]) {
    for line in server.log() {
        for link in links {
            assert!(!line.contains(token(link)), "a token in the log: {line}");
        }
    }
}

fn range(server: &Server, path: &str, from: usize) -> Reply {
    server.fetch("GET", path, &format!("Range: bytes={from}-\r\n"))
}

/// Begins to read through a narrow window, and takes `len` bytes.
fn begin(server: &Server, path: &str, len: usize) -> HttpClient {
    let mut client = HttpClient::connect_narrow(server.addr, 4096);
    client.request("GET", path, "").head().expect(200);
    client.take(len).unwrap();
    client
}

#[test]
fn a_link_names_the_recipient_of_what_is_downloaded_by_it() {
    needs!("curl");
    let house = House::new();
    let server = house.setup().start();
    let link = house.link("/photos/", &["--recipient", "anna@example.org"]);
    let page = server.fetch("GET", &link, "Accept: text/html\r\n").expect(200);
    assert!(page.text().contains("big.bin"), "{}", page.text());
    assert_same(&server.get(&format!("{link}big.bin")).expect(200).body, &house.big, "by the link");
    // By another address and program: the same person.
    let mut curl = program("curl");
    curl.args(["--disable", "-sSf", "--noproxy", "*", "--interface", "127.0.0.9", "-o", "/dev/null"]);
    output(curl.arg(server.url(&format!("{link}?zip"))));
    // Not behind the link's scope, also not upwards.
    assert_refused(&server, &link.replace("/photos/", "/other/secret.txt"), 403, "something else");
    server.get("/other/secret.txt").expect(200);
    assert_discreet(&server, &[&link]);
    let line = server.delivery("/l/…/photos/big.bin", "completed");
    assert_eq!(line["link"], id_of(&house, &link), "{line}");

    let ledger = server.close();
    let downloads = ledger.assert_completed(3);
    for download in &downloads[..2] {
        assert_eq!(download["recipient"], "anna@example.org", "{download:#}");
        assert_eq!(download["weak"], false, "{download:#}");
        assert!(!download.to_string().contains(token(&link)), "the token is nobody's business: {download:#}");
    }
    assert_eq!(downloads[0]["path"], "/photos/big.bin");
    assert_eq!(downloads[1]["files"], 5);
    assert_eq!(downloads[2]["weak"], true);
}

#[test]
fn one_person_who_goes_on_elsewhere_has_one_receipt() {
    needs!("curl");
    let house = House::new();
    let server = house.setup().start();
    let link = house.link("/photos/big.bin", &["--recipient", "anna"]);
    begin(&server, &link, LEN / 2).reset();
    server.ledger.await_events("download.aborted", 1);
    let mut curl = program("curl");
    curl.args(["--disable", "-sSf", "--noproxy", "*", "--interface", "127.0.0.9", "-o", "/dev/null", "-r"]);
    output(curl.arg(format!("{}-", LEN / 2)).arg(server.url(&link)));
    let downloads = server.close().assert_completed(1);
    assert_eq!(downloads[0]["deliveries"], 2);
}

#[test]
fn receipts_use_a_link_up_and_broken_downloads_do_not() {
    let house = House::new();
    let receiver = Receiver::start();
    let server = receiver.of(house.setup()).start();
    let link = house.link("/photos/", &["--recipient", "anna", "--max-downloads", "2"]);
    let big = format!("{link}big.bin");
    // Three that break, and one that is still under way.
    for number in 0..3 {
        begin(&server, &big, LEN / 2).reset();
        receiver.wait_for("download.aborted", number + 1);
    }
    let small = format!("{link}0.jpg");
    server.get(&small).expect(200);
    receiver.wait_for("download.completed", 1);
    assert!(receiver.told_of("link.exhausted").is_empty());
    let other = format!("{link}1.jpg");
    server.get(&other).expect(200);
    let exhausted = receiver.wait_for("link.exhausted", 1).remove(0);
    let id = id_of(&house, &link);
    assert_eq!(exhausted.body["data"]["link"]["id"], id, "{:#}", exhausted.body);

    // Nothing new, neither files nor archives nor a second time.
    for path in [format!("{link}2.jpg"), small, format!("{link}?zip")] {
        assert_refused(&server, &path, 410, "2 downloads");
    }
    // But what was begun goes on to its end, as often as it breaks.
    range(&server, &big, LEN - 1000).expect(206);
    let rest = range(&server, &big, LEN / 4).expect(206);
    assert_same(&rest.body, &house.big[LEN / 4..], "what was begun");
    receiver.wait_for("download.completed", 3);
    assert_refused(&server, &big, 410, "2 downloads");
    assert_discreet(&server, &[&link]);
    let ledger = server.close();
    let counts = ledger.counts();
    assert_eq!((counts["download.completed"], counts["link.exhausted"]), (3, 1), "{counts:?}");
    assert_eq!(receiver.told_of("link.exhausted").len(), 1);
}

#[test]
fn a_link_for_one_download_by_many_connections_is_enough() {
    needs!("aria2c");
    let house = House::new();
    let server = house.setup().start();
    let link = house.link("/photos/big.bin", &["--recipient", "anna", "--max-downloads", "1"]);
    let folder = tempfile::TempDir::new().unwrap();
    let mut aria2c = program("aria2c");
    aria2c.args([
        "--no-conf",
        "--quiet",
        "--file-allocation=none",
        "-x16",
        "-s16",
        "-k1M",
        "-o",
        "big.bin",
        "-d",
    ]);
    output(aria2c.arg(folder.path()).arg(server.url(&link)));
    assert_same(&fs::read(folder.path().join("big.bin")).unwrap(), &house.big, "aria2c");
    server.ledger.await_events("link.exhausted", 1);
    assert_refused(&server, &link, 410, "one download");
    let ledger = server.close();
    ledger.assert_completed(1);
    assert_eq!(ledger.counts()["link.exhausted"], 1);
}

#[test]
fn links_that_are_forged_altered_expired_or_for_something_else_are_refused() {
    let house = House::new();
    let server = house.setup().start();
    let link = house.link("/photos/", &["--recipient", "anna", "--expires", "7d"]);
    server.get(&format!("{link}0.jpg")).expect(200);
    let secret = token(&link);
    let (payload, mac) = secret.split_once('.').unwrap();
    let flipped = |text: &str, at: usize| {
        let mut bytes = text.as_bytes().to_vec();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        String::from_utf8(bytes).unwrap()
    };
    let forged = House::new().link("/photos/", &["--recipient", "anna"]);
    let mut bad = vec![token(&forged).to_owned()];
    for at in [0, payload.len() / 2, payload.len() - 2] {
        bad.push(format!("{}.{mac}", flipped(payload, at)));
    }
    for at in [0, mac.len() / 2] {
        bad.push(format!("{payload}.{}", flipped(mac, at)));
    }
    for token in &bad {
        assert_refused(&server, &format!("/l/{token}/photos/0.jpg"), 403, "not valid");
    }
    // By the clock: a second is enough.
    let short = house.link("/photos/", &["--recipient", "anna", "--expires", "1s"]);
    let (status, page) = crate::support::until("a link has expired", || {
        let reply = server.fetch("GET", &format!("{short}1.jpg"), "Accept: text/html\r\n");
        (reply.status != 200).then(|| (reply.status, reply.text().to_owned()))
    });
    assert!(status == 410 && page.contains("expired on"), "{status}: {page}");
    assert_discreet(&server, &[&link, &short, &forged]);
}

#[test]
fn nothing_is_served_without_a_link_if_that_is_asked_for() {
    let house = House::new();
    let server = house.setup().arg("--require-links").start();
    for path in ["/", "/photos/big.bin", "/photos/?zip", "/nothing"] {
        assert_refused(&server, path, 403, "link");
    }
    let link = house.link("/photos/", &["--recipient", "anna"]);
    server.get(&format!("{link}big.bin")).expect(200);
    server.close().assert_completed(1);
    // Which needs keys.
    let (code, said) = Setup::of(house.tree.root()).arg("--require-links").fail();
    assert!(code.is_some_and(|code| code != 0) && said.contains("--link-keys"), "{code:?}: {said}");
}

#[test]
fn a_link_that_is_taken_back_lets_nobody_in() {
    let house = House::new();
    let server = house.setup().start();
    let link = house.link("/photos/", &["--recipient", "anna", "--id", "for-anna"]);
    let other = house.link("/photos/", &["--recipient", "ben"]);
    server.get(&format!("{link}0.jpg")).expect(200);
    revoke(&server.ledger, "for-anna");
    // Believed for a second at most.
    crate::support::until("the link is void", || {
        let reply = server.fetch("GET", &format!("{link}1.jpg"), "");
        (reply.status == 410).then_some(())
    });
    assert_refused(&server, &link, 410, "taken back");
    assert_refused(&server, &format!("{link}0.jpg"), 410, "taken back");
    server.get(&format!("{other}1.jpg")).expect(200);
    assert_discreet(&server, &[&link, &other]);
}

fn revoke(ledger: &Ledger, id: &str) {
    ledger.run(&["link", "revoke", id]);
}

#[test]
fn a_password_is_asked_for_where_one_was_set() {
    needs!("curl");
    let house = House::new();
    let server = house.setup().start();
    let secret = house.tree.beside("password");
    fs::write(&secret, "correct horse\n").unwrap();
    let password = format!("--password=@{}", secret.display());
    let link = house.link("/photos/", &["--recipient", "anna", &password]);
    let url = server.url(&format!("{link}0.jpg"));
    let curl = |user: Option<&str>| {
        let mut curl = program("curl");
        curl.args(["--disable", "-sS", "--noproxy", "*", "-o", "/dev/null", "-w", "%{http_code}"]);
        if let Some(user) = user {
            curl.args(["-u", user]);
        }
        output(curl.arg(&url))
    };
    assert_eq!(curl(None), "401");
    assert_eq!(curl(Some("anna:wrong")), "401");
    assert_eq!(curl(Some("anna:correct horse")), "200");
    assert_eq!(curl(Some("whoever:correct horse")), "200");
    let asked = server.get(&format!("{link}0.jpg")).expect(401);
    assert!(
        asked.header("www-authenticate").starts_with("Basic realm=\"Outflow link "),
        "{:?}",
        asked.headers
    );
    assert_discreet(&server, &[&link]);
    let log = server.log().join("\n");
    assert!(!log.contains("correct horse") && !log.contains("Y29ycmVjdCBob3JzZQ"), "{log}");
    let ledger = server.close();
    assert_eq!(ledger.counts()["download.completed"], 2);
}

#[test]
fn a_link_for_some_files_shows_and_lets_out_nothing_else() {
    let house = House::new();
    let server = house.setup().start();
    let link = house.link("/photos/", &["--recipient", "anna", "--file", "0.jpg", "--file", "2.jpg"]);
    let listing = server.get(&format!("{link}?json")).expect(200).json();
    let names: Vec<&str> =
        listing["entries"].as_array().unwrap().iter().map(|entry| entry["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["0.jpg", "2.jpg"]);
    server.get(&format!("{link}2.jpg")).expect(200);
    server.get(&format!("{link}1.jpg")).expect(404);
    server.get(&format!("{link}?zip")).expect(200);
    let downloads = server.close().assert_completed(2);
    assert_eq!(downloads[1]["files"], 2);
}

#[test]
fn a_file_without_a_ledger_cannot_be_limited() {
    let house = House::new();
    let server = house.setup().ledger("none").start();
    let link = house.link("/photos/", &["--recipient", "anna"]);
    server.get(&format!("{link}0.jpg")).expect(200);
    let limited = house.link("/photos/", &["--recipient", "anna", "--max-downloads", "1"]);
    assert_refused(&server, &format!("{limited}0.jpg"), 403, "--ledger");
}
