//! Certificates from files: by name, renewed while downloads run, and refused when they are of no
//! use.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::process::Signal;

use crate::support::{Authority, FileTree, HttpClient, Setup, assert_same, noise, presented, replace, until};

fn with(tree: &FileTree, pair: &(impl AsRef<Path>, impl AsRef<Path>)) -> Setup {
    let setup = Setup::of(tree.root()).arg("--tls-cert").arg(pair.0.as_ref());
    setup.arg("--tls-key").arg(pair.1.as_ref())
}

#[test]
fn the_first_line_says_https_and_files_arrive() {
    let (tree, authority) = (FileTree::new(), Authority::new());
    let bytes = noise(7, 3_000_000);
    tree.file("a.bin", &bytes);
    let server = with(&tree, &authority.files("a", &["a.test"])).start();
    assert_eq!(server.first_line, format!("listening on https://{}/", server.addr));
    let mut client = HttpClient::connect_secure(server.addr, "a.test", &authority.config()).unwrap();
    client.request("GET", "/a.bin", "");
    let head = client.head().expect(200);
    assert_eq!(head.find("strict-transport-security"), None);
    assert_same(&client.take(bytes.len()).unwrap(), &bytes, "a.bin");
    drop(client);
    server.delivery("/a.bin", "completed");
}

#[test]
fn the_name_chooses_the_certificate() {
    let (tree, authority) = (FileTree::new(), Authority::new());
    let (a, b) = (authority.files("a", &["a.test"]), authority.files("b", &["b.test", "*.b.test"]));
    let server = with(&tree, &a).arg("--tls-cert").arg(b.0).arg("--tls-key").arg(b.1).start();
    let config = authority.config();
    // The client checks that it is for the name.
    for host in ["a.test", "b.test", "x.b.test"] {
        presented(server.addr, host, &config);
    }
    let Err(error) = HttpClient::connect_secure(server.addr, "c.test", &config) else {
        panic!("c.test is nobody's name")
    };
    assert!(error.to_string().contains("not valid for name"), "{error}");
}

/// Ends the load, whatever becomes of the test.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_renewed_certificate_is_taken_while_downloads_run_and_none_of_them_breaks() {
    let (tree, authority) = (FileTree::new(), Authority::new());
    let bytes = noise(8, 20_000_000);
    tree.file("a.bin", &bytes);
    let (certificate, key) = authority.files("a", &["a.test"]);
    let server = with(&tree, &(&certificate, &key)).start();
    let config = authority.config();
    let first = presented(server.addr, "a.test", &config);
    let mut old = HttpClient::connect_secure(server.addr, "a.test", &config).unwrap();
    old.request("GET", "/a.bin", "");
    old.head().expect(200);
    let start = old.take(1000).unwrap();
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _end = End(&ended);
        let load = || {
            let mut handshakes = 0;
            while !ended.load(Ordering::Relaxed) {
                let mut client = HttpClient::connect_secure(server.addr, "a.test", &config).unwrap();
                client.request("GET", "/a.bin", "");
                client.head().expect(200);
                client.take(100_000).unwrap();
                handshakes += 1;
            }
            handshakes
        };
        let loads = [scope.spawn(load), scope.spawn(load)];
        let mut last = first.clone();
        for round in 0..5 {
            let (chain, private) = authority.issue(&["a.test"], 1, 90);
            replace(&certificate, &chain);
            replace(&key, &private);
            // By the signal, or by itself.
            if round < 4 {
                server.signal(Signal::HUP);
            }
            last = until("another certificate is presented", || {
                let now = presented(server.addr, "a.test", &config);
                (now != last).then_some(now)
            });
        }
        ended.store(true, Ordering::Relaxed);
        for load in loads {
            assert!(load.join().unwrap() > 0);
        }
        assert_ne!(last, first);
    });
    let rest = old.take(bytes.len() - start.len()).unwrap();
    assert_same(&[start, rest].concat(), &bytes, "a download that began before");
}

#[test]
fn a_new_certificate_that_is_of_no_use_changes_nothing_but_the_log() {
    let (tree, authority) = (FileTree::new(), Authority::new());
    let (certificate, key) = authority.files("a", &["a.test"]);
    let server = with(&tree, &(&certificate, &key)).start();
    let first = presented(server.addr, "a.test", &authority.config());
    replace(&certificate, "nonsense");
    server.signal(Signal::HUP);
    server.log_line(&["the old ones stay in use", "it has no certificate"]);
    assert_eq!(presented(server.addr, "a.test", &authority.config()), first);
    let (chain, private) = authority.issue(&["a.test"], 1, 90);
    replace(&certificate, &chain);
    server.log_line(&["the old ones stay in use", "does not match the certificate"]);
    replace(&key, &private);
    server.log_line(&["certificate reloaded"]);
    assert_ne!(presented(server.addr, "a.test", &authority.config()), first);
}

#[test]
fn without_certificates_that_are_of_use_the_server_does_not_start() {
    let (tree, authority) = (FileTree::new(), Authority::new());
    let (certificate, key) = authority.files("a", &["a.test"]);
    let (_, other) = authority.files("b", &["b.test"]);
    let expired = authority.folder.path().join("expired.pem");
    std::fs::write(&expired, {
        let (chain, key) = authority.issue(&["a.test"], 30, -1);
        chain + &key
    })
    .unwrap();
    let none = authority.folder.path().join("none.pem");
    for (certificate, key, parts) in [
        (&none, &key, ["none.pem", "check the path"]),
        (&certificate, &none, ["none.pem", "check the path"]),
        (&key, &key, ["a.key", "it has no certificate"]),
        (&certificate, &certificate, ["a.pem", "it has no private key"]),
        (&certificate, &other, ["b.key", "name a certificate and its own key"]),
        (&expired, &expired, ["expired.pem", "renew it"]),
    ] {
        let (code, text) = with(&tree, &(certificate, key)).fail();
        assert_eq!(code, Some(1), "{text}");
        assert!(parts.iter().all(|part| text.contains(part)), "{text}: no {parts:?}");
        // What happened is said once.
        assert_eq!(text.matches(parts[1]).count(), 1, "{text}");
    }
}

#[test]
fn a_certificate_that_ends_soon_is_warned_of() {
    let (tree, authority) = (FileTree::new(), Authority::new());
    let both = authority.folder.path().join("both.pem");
    std::fs::write(&both, {
        let (chain, key) = authority.issue(&["a.test"], 80, 10);
        chain + &key
    })
    .unwrap();
    let server = with(&tree, &(&both, &both)).start();
    server.log_line(&["WARN", "the certificate expires soon", "both.pem"]);
}

#[test]
fn what_makes_no_sense_together_is_wrong_usage() {
    let tree = FileTree::new();
    for (args, part) in [
        (&["--tls-cert", "a.pem"][..], "--tls-key"),
        (&["--tls-key", "a.pem"], "--tls-cert"),
        (&["--hsts=1d"], "--hsts"),
        (&["--hsts=soon"], "--hsts"),
        (&["--redirect-http", "127.0.0.1:0"], "--redirect-http"),
        (&["--redirect-http", "80"], "--redirect-http"),
        (&["--acme-ca", "ca.pem"], "--acme"),
        (&["--acme-contact", "anna@a.test"], "--acme"),
    ] {
        let (code, text) = args.iter().fold(Setup::of(tree.root()), |setup, arg| setup.arg(arg)).fail();
        assert_eq!(code, Some(2), "{args:?}: {text}");
        assert!(text.contains(part), "{args:?}: {text}");
    }
}

#[test]
fn what_is_offered_can_be_chosen() {
    let (tree, authority) = (FileTree::new(), Authority::new());
    let pair = authority.files("a", &["a.test"]);
    for (arg, chosen) in [("--http2", "h2"), ("--no-http2", "http/1.1")] {
        let server = with(&tree, &pair).arg(arg).start();
        let mut config = (*authority.config()).clone();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let client = HttpClient::connect_secure(server.addr, "a.test", &config.into()).unwrap();
        assert_eq!(client.tls().alpn_protocol(), Some(chosen.as_bytes()));
    }
}

#[test]
fn the_configuration_file_and_the_environment_name_certificates_as_well() {
    let (tree, authority) = (FileTree::new(), Authority::new());
    let (certificate, key) = authority.files("a", &["a.test"]);
    let config = authority.folder.path().join("outflow.toml");
    std::fs::write(&config, "tls-cert = 'a.pem'\ntls-key = ['a.key']\nhsts = '60s'\n").unwrap();
    for setup in [
        Setup::of(tree.root()).arg("--config").arg(config),
        Setup::of(tree.root())
            .env("OUTFLOW_TLS_CERT", certificate)
            .env("OUTFLOW_TLS_KEY", key)
            .env("OUTFLOW_HSTS", "60s"),
    ] {
        let server = setup.start();
        let mut client = HttpClient::connect_secure(server.addr, "a.test", &authority.config()).unwrap();
        client.request("GET", "/", "");
        assert_eq!(client.head().header("strict-transport-security"), "max-age=60");
    }
}
