//! Who comes without TLS is sent on to it, and browsers are told to come with it.

use std::net::SocketAddr;

use crate::support::{Authority, FileTree, HttpClient, Server, Setup, output, program};
use outflow_testkit::needs;

/// A server with TLS and a listener that redirects, and that one's address.
fn server(tree: &FileTree, authority: &Authority, more: &[&str]) -> (Server, SocketAddr) {
    let (certificate, key) = authority.files("a", &["a.test"]);
    let setup = Setup::of(tree.root()).arg("--tls-cert").arg(certificate).arg("--tls-key").arg(key);
    let setup =
        more.iter().fold(setup.arg("--redirect-http").arg("127.0.0.1:0"), |setup, arg| setup.arg(arg));
    let server = setup.start();
    let line = server.log_line(&["redirecting clients without TLS"]);
    let line: serde_json::Value = serde_json::from_str(&line).unwrap();
    let address = line.get("address").or_else(|| line["fields"].get("address")).unwrap();
    (server, address.as_str().unwrap().parse().unwrap())
}

#[test]
fn the_same_thing_is_had_with_tls() {
    let (tree, authority) = (FileTree::new(), Authority::new());
    tree.file("a.txt", "a");
    let (server, redirects) = server(&tree, &authority, &[]);
    let port = server.addr.port();
    for (request, location) in [
        ("GET / HTTP/1.1\r\nHost: a.test", format!("https://a.test:{port}/")),
        ("GET /a.txt HTTP/1.1\r\nHost: a.test:80", format!("https://a.test:{port}/a.txt")),
        (
            "GET /d%20e/?zip&file=a%2Fb HTTP/1.1\r\nHost: A.test",
            format!("https://A.test:{port}/d%20e/?zip&file=a%2Fb"),
        ),
        ("GET //evil.test/ HTTP/1.1\r\nHost: a.test", format!("https://a.test:{port}//evil.test/")),
        ("GET /nothing HTTP/1.1\r\nHost: [::1]", format!("https://[::1]:{port}/nothing")),
        ("DELETE /a.txt HTTP/1.1\r\nHost: a.test", format!("https://a.test:{port}/a.txt")),
        ("GET http://b.test/x HTTP/1.1\r\nHost: b.test", format!("https://b.test:{port}/x")),
    ] {
        let reply = HttpClient::connect(redirects).send(format!("{request}\r\n\r\n")).reply().expect(308);
        assert_eq!(reply.header("location"), location, "{request}");
        assert_eq!(reply.find("strict-transport-security"), None, "not without TLS (RFC 6797, 7.2)");
    }
    let mut client = HttpClient::connect(redirects);
    let head = client.fetch("HEAD", "/a.txt", "").expect(308);
    assert_eq!(head.header("location"), format!("https://test:{port}/a.txt"));
    // The connection stays open, but behind a body that nobody reads.
    client.get("/a.txt").expect(308);
    let moved = client.post("/a.txt", "x=y").expect(308);
    assert_eq!(moved.header("location"), format!("https://test:{port}/a.txt"));
}

#[test]
fn nobody_is_sent_to_a_host_that_is_none() {
    let (tree, authority) = (FileTree::new(), Authority::new());
    let (_server, redirects) = server(&tree, &authority, &[]);
    for lines in [
        "HTTP/1.1\r\nHost: user@a.test",
        "HTTP/1.1\r\nHost: a.test/evil",
        "HTTP/1.1\r\nHost: a.test\\evil",
        "HTTP/1.1\r\nHost: a.test, b.test",
        "HTTP/1.1\r\nHost: a.test\r\nHost: b.test",
        "HTTP/1.1\r\nHost:",
        "HTTP/1.1",
        "HTTP/1.0",
    ] {
        let reply = HttpClient::connect(redirects).send(format!("GET / {lines}\r\n\r\n")).reply();
        assert_eq!((reply.status, reply.find("location")), (400, None), "{lines}");
    }
}

#[test]
fn browsers_are_told_to_come_with_tls_by_answers_with_tls_alone() {
    let (tree, authority) = (FileTree::new(), Authority::new());
    tree.file("a.txt", "a");
    for (arg, field) in [("--hsts=365d", "max-age=31536000"), ("--hsts=0s", "max-age=0")] {
        let (server, redirects) = server(&tree, &authority, &[arg]);
        for path in ["/a.txt", "/nothing", "/"] {
            let mut client = HttpClient::connect_secure(server.addr, "a.test", &authority.config()).unwrap();
            client.request("GET", path, "");
            assert_eq!(client.head().header("strict-transport-security"), field);
        }
        assert_eq!(
            HttpClient::connect(redirects).get("/a.txt").expect(308).find("strict-transport-security"),
            None
        );
    }
}

#[test]
fn all_that_holds_for_http_2_as_well() {
    needs!("curl");
    let (tree, authority) = (FileTree::new(), Authority::new());
    tree.file("a.txt", "a");
    let (server, redirects) = server(&tree, &authority, &["--hsts=365d", "--http2-cleartext"]);
    let curl = |more: &[&str], url: String| {
        let mut curl = program("curl");
        curl.args(["--disable", "-sS", "--noproxy", "*", "-D", "-", "-o", "/dev/null", "--cacert"])
            .arg(authority.root());
        curl.args(["--resolve", &format!("a.test:{}:127.0.0.1", server.addr.port())]);
        curl.args(["--resolve", &format!("a.test:{}:127.0.0.1", redirects.port())]);
        output(curl.args(more).arg(url)).to_ascii_lowercase()
    };
    let there = format!("https://a.test:{}/a.txt", server.addr.port());
    let head = curl(&["--http2"], there.clone());
    assert!(head.starts_with("http/2 200"), "{head}");
    assert!(head.contains("\r\nstrict-transport-security: max-age=31536000\r\n"), "{head}");
    let head = curl(&["--http2-prior-knowledge"], format!("http://a.test:{}/a.txt", redirects.port()));
    assert!(head.starts_with("http/2 308") && head.contains(&format!("\r\nlocation: {there}\r\n")), "{head}");
}
