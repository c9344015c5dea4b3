//! Proxies in front of the server: who is believed to be the client, and who has acknowledged.

use std::net::SocketAddr;

use outflow_testkit::needs;
use serde_json::Value;

use crate::support::{FileTree, Haproxy, Nginx, Server, Setup, noise, output, program};

fn tree() -> FileTree {
    let tree = FileTree::new();
    tree.file("a.bin", noise(1, 300_000));
    tree
}

/// A proxy at this address, which records whose requests it forwards.
const PROXY: &str = "127.0.0.1";

/// A download by a client at `from` through `to`; `more` is for curl.
fn download(from: &str, to: SocketAddr, more: &[&str]) {
    let mut curl = program("curl");
    curl.args(["--disable", "-sSf", "--noproxy", "*", "-A", "curl", "--interface", from, "-o", "/dev/null"]);
    output(curl.args(more).arg(format!("http://{to}/a.bin")));
}

/// The download of `client`.
#[track_caller]
fn of<'a>(downloads: &'a [Value], client: &str) -> &'a Value {
    let mut found = downloads.iter().filter(|download| download["client"] == client);
    let one = found.next().unwrap_or_else(|| panic!("no download of {client}: {downloads:#?}"));
    assert!(found.next().is_none(), "two of {client}: {downloads:#?}");
    one
}

#[test]
fn haproxy_says_who_the_client_is_in_three_ways() {
    needs!("curl", "haproxy");
    let tree = tree();
    let plain = Setup::of(tree.root()).arg("--trusted-proxies").arg(PROXY).start();
    let introduced =
        Setup::of(tree.root()).arg("--trusted-proxies").arg(PROXY).arg("--proxy-protocol").start();
    let haproxy = Haproxy::start(plain.addr, introduced.addr);
    download("127.0.0.11", haproxy.v1, &[]);
    download("127.0.0.12", haproxy.v2, &[]);
    download("127.0.0.13", haproxy.http, &[]);
    let line = introduced.delivery("/a.bin", "completed");
    assert!(line["client"].as_str().unwrap().starts_with("127.0.0.1"), "{line}");

    let downloads = introduced.close().assert_completed(2);
    for client in ["127.0.0.11", "127.0.0.12"] {
        assert_eq!(of(&downloads, client)["assurance"], "proxy");
    }
    let downloads = plain.close().assert_completed(1);
    assert_eq!(of(&downloads, "127.0.0.13")["assurance"], "proxy");
}

#[test]
fn nginx_says_who_the_client_is() {
    needs!("curl", "nginx");
    let tree = tree();
    let server = Setup::of(tree.root()).arg("--trusted-proxies").arg("10.0.0.0/8,127.0.0.1").start();
    let nginx = Nginx::start_with(&format!(
        "location / {{ proxy_pass http://{}; proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; }}",
        server.addr
    ));
    download("127.0.0.21", nginx.addr, &[]);
    // What clients say of themselves stands before what the proxy says of them.
    download("127.0.0.22", nginx.addr, &["-H", "X-Forwarded-For: 8.8.8.8"]);
    let ledger = server.close();
    let downloads = ledger.assert_completed(2);
    for client in ["127.0.0.21", "127.0.0.22"] {
        let download = of(&downloads, client);
        assert_eq!(download["assurance"], "proxy");
        let text = ledger.run(&["download", "show", download["id"].as_str().unwrap()]);
        assert!(text.contains("proxy"), "{text}");
    }
}

#[test]
fn nobody_else_is_believed() {
    needs!("curl");
    let tree = tree();
    let claims = ["-H", "X-Forwarded-For: 8.8.8.8", "-H", "Forwarded: for=8.8.4.4"];
    // No proxy is trusted; another one is.
    for trusted in [None, Some("192.0.2.1")] {
        let mut setup = Setup::of(tree.root());
        if let Some(trusted) = trusted {
            setup = setup.arg("--trusted-proxies").arg(trusted);
        }
        let server = setup.start();
        download("127.0.0.31", server.addr, &claims);
        let downloads = server.close().assert_completed(1);
        assert_eq!(of(&downloads, "127.0.0.31")["assurance"], "peer");
    }
}

#[test]
fn a_connection_without_the_header_that_was_agreed_on_is_not_served() {
    let tree = tree();
    let server: Server =
        Setup::of(tree.root()).arg("--trusted-proxies").arg(PROXY).arg("--proxy-protocol").start();
    let mut client = server.client();
    client.request("GET", "/a.bin", "");
    assert!(client.try_head().is_err(), "it was served");
    let ledger = server.close();
    assert!(ledger.downloads().is_empty());
}
