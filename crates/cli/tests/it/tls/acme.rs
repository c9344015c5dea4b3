//! Certificates from an authority: Pebble, which looks at every signature and every proof, and one
//! that only fails.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use outflow_testkit::needs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use tempfile::TempDir;

use crate::support::{Authority, FileTree, HttpClient, PebbleSite, Setup, presented, until};

/// The only name that needs no DNS.
const HOST: &str = "localhost";

fn with(tree: &FileTree, directory: &str, authority: &Authority, cache: &TempDir) -> Setup {
    Setup::of(tree.root())
        .args(["--acme", HOST, "--acme-contact", "anna@example.com", "--acme-directory", directory])
        .arg("--acme-ca")
        .arg(authority.root())
        .arg("--acme-cache")
        .arg(cache.path().join("acme"))
}

/// The only file in the cache of that name.
fn kept(cache: &TempDir, name: &str) -> PathBuf {
    let folders = std::fs::read_dir(cache.path().join("acme")).unwrap();
    let mut found = folders.map(|folder| folder.unwrap().path().join(name)).filter(|path| path.exists());
    let path = found.next().unwrap_or_else(|| panic!("no {name}"));
    assert!(found.next().is_none(), "a second {name}");
    path
}

#[track_caller]
fn fetch(addr: SocketAddr, config: &Arc<rustls::ClientConfig>) {
    let mut client = HttpClient::connect_secure(addr, HOST, config).unwrap();
    client.request("GET", "/a.txt", "");
    client.head().expect(200);
    assert_eq!(client.take(1).unwrap(), b"a");
}

#[test]
fn a_certificate_is_got_kept_and_renewed() {
    needs!("curl", "pebble");
    let (tree, place, cache) = (FileTree::new(), PebbleSite::new(), TempDir::new().unwrap());
    tree.file("a.txt", "a");
    let server = with(&tree, &place.directory(), &place.authority, &cache).start();
    // Until there is one, handshakes fail, and the log says why.
    assert!(HttpClient::connect_secure(server.addr, HOST, &place.authority.config()).is_err());
    server.log_line(&["a handshake failed: there is no certificate yet", HOST]);
    // It is asked for again and again until the authority is there, whose nonces are often no good.
    server.log_line(&["could not obtain a certificate", "cannot reach the authority"]);
    let env = [("PEBBLE_WFE_NONCEREJECT", "25"), ("PEBBLE_AUTHZREUSE", "100")];
    let pebble = place.start(server.addr.port(), &env);
    server.log_line(&["certificate issued", HOST]);
    let trusted = pebble.trusted();
    let first = presented(server.addr, HOST, &trusted);
    fetch(server.addr, &trusted);
    for name in ["localhost.pem", "account.json"] {
        let mode = std::fs::metadata(kept(&cache, name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    let account = std::fs::read(kept(&cache, "account.json")).unwrap();
    server.stop();

    // The next server has it at once, and asks for none.
    let server = with(&tree, &place.directory(), &place.authority, &cache).start();
    assert_eq!(presented(server.addr, HOST, &trusted), first);
    assert!(!server.log().iter().any(|line| line.contains("certificate issued")));
    server.stop();

    // One that is in its last third is presented, and another one asked for, with the same account.
    let (chain, key) = place.authority.issue(&[HOST], 70, 20);
    std::fs::write(kept(&cache, "localhost.pem"), key + &chain).unwrap();
    let server = with(&tree, &place.directory(), &place.authority, &cache).start();
    server.log_line(&["certificate issued", HOST]);
    let renewed = presented(server.addr, HOST, &trusted);
    assert_ne!(renewed, first);
    assert_eq!(std::fs::read(kept(&cache, "account.json")).unwrap(), account);
    let on_disk = std::fs::read(kept(&cache, "localhost.pem")).unwrap();
    assert_eq!(CertificateDer::from_pem_slice(&on_disk).unwrap(), renewed);
    server.stop();
}

#[test]
fn an_account_that_the_authority_has_forgotten_is_made_anew() {
    needs!("curl", "pebble");
    let (tree, place, cache) = (FileTree::new(), PebbleSite::new(), TempDir::new().unwrap());
    tree.file("a.txt", "a");
    let server = with(&tree, &place.directory(), &place.authority, &cache).start();
    let pebble = place.start(server.addr.port(), &[]);
    server.log_line(&["certificate issued", HOST]);
    let account = std::fs::read(kept(&cache, "account.json")).unwrap();
    drop(pebble);
    server.stop();
    std::fs::remove_file(kept(&cache, "localhost.pem")).unwrap();
    let server = with(&tree, &place.directory(), &place.authority, &cache).start();
    let pebble = place.start(server.addr.port(), &[]);
    server.log_line(&["no longer knows the account"]);
    server.log_line(&["certificate issued", HOST]);
    fetch(server.addr, &pebble.trusted());
    assert_ne!(std::fs::read(kept(&cache, "account.json")).unwrap(), account);
    server.stop();
}

#[test]
fn a_domain_that_leads_elsewhere_is_not_proven_and_the_log_says_what_to_do() {
    needs!("curl", "pebble");
    let (tree, place, cache) = (FileTree::new(), PebbleSite::new(), TempDir::new().unwrap());
    tree.file("a.txt", "a");
    // The server at this address does not speak TLS.
    let elsewhere = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = elsewhere.local_addr().unwrap().port();
    std::thread::spawn(move || elsewhere.incoming().for_each(drop));
    let _pebble = place.start(port, &[]);
    // What is kept is presented as long as it is good.
    let setup = with(&tree, &place.directory(), &place.authority, &cache);
    let (chain, key) = place.authority.issue(&[HOST], 70, 20);
    let folder = cache.path().join("acme").join(folder_of(&place.directory()));
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("localhost.pem"), key + &chain).unwrap();
    let server = setup.start();
    let line =
        server.log_line(&["could not obtain a certificate", "could not verify the domain", "port 443"]);
    assert!(line.contains("\"has_certificate\":true"), "{line}");
    fetch(server.addr, &place.authority.config());
    server.stop();
}

#[test]
fn files_are_for_all_names_that_are_not_the_authoritys() {
    needs!("curl", "pebble");
    let (tree, place, cache) = (FileTree::new(), PebbleSite::new(), TempDir::new().unwrap());
    tree.file("a.txt", "a");
    // The file would be for the domain as well.
    let (certificate, key) = place.authority.files("a", &["a.test", HOST]);
    let setup = with(&tree, &place.directory(), &place.authority, &cache);
    let server = setup.arg("--tls-cert").arg(certificate).arg("--tls-key").arg(key).start();
    let files = place.authority.config();
    // For the domain only the authority's certificate is presented, which is not there yet.
    assert!(HttpClient::connect_secure(server.addr, HOST, &files).is_err());
    let from_file = presented(server.addr, "a.test", &files);
    let pebble = place.start(server.addr.port(), &[]);
    server.log_line(&["certificate issued", HOST]);
    fetch(server.addr, &pebble.trusted());
    assert_eq!(presented(server.addr, "a.test", &files), from_file);
    server.stop();
}

/// As the server names it.
fn folder_of(directory: &str) -> String {
    format!("127.0.0.1-{}", &blake3::hash(directory.as_bytes()).to_hex()[..8])
}

/// How an authority fails that gets as far as orders.
#[derive(Clone, Copy, Debug)]
enum Fault {
    RateLimited,
    Broken,
    Nonces,
    NotJson,
    Redirects,
    Endless,
}

#[test]
fn whatever_an_authority_does_wrong_is_said_and_waited_out() {
    for (fault, what, seconds) in [
        (Fault::RateLimited, "after too many requests (rateLimited: come back later)", 3600..3601),
        (Fault::Broken, "the authority refuses (serverInternal: out of order)", 1..2),
        (Fault::Nonces, "the authority refuses (badNonce: again)", 1..2),
        (Fault::NotJson, "does not speak ACME", 1..2),
        (Fault::Redirects, "does not speak ACME", 1..2),
        (Fault::Endless, "a response of more than", 1..2),
    ] {
        let (tree, authority, cache) = (FileTree::new(), Authority::new(), TempDir::new().unwrap());
        let failing = Failing::start(&authority, fault);
        let server = with(&tree, &failing.directory, &authority, &cache).start();
        let line = server.log_line(&["could not obtain a certificate", what]);
        let line: serde_json::Value = serde_json::from_str(&line).unwrap();
        let again = line.get("retry_in_seconds").or_else(|| line["fields"].get("retry_in_seconds")).unwrap();
        assert!(seconds.contains(&again.as_u64().unwrap()), "{fault:?}: {line}");
        assert!(HttpClient::connect_secure(server.addr, HOST, &authority.config()).is_err());
        if seconds.start == 1 {
            until("it is asked again", || (failing.orders.load(Ordering::Relaxed) > 1).then_some(()));
        }
        server.stop();
    }
}

/// An authority that gives accounts, and takes no orders.
struct Failing {
    directory: String,
    /// How often it was asked for the last thing that it does.
    orders: Arc<AtomicUsize>,
}

impl Failing {
    fn start(authority: &Authority, fault: Fault) -> Failing {
        let (certificate, key) = authority.files("failing", &["127.0.0.1"]);
        let chain = vec![CertificateDer::from_pem_file(certificate).unwrap()];
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config =
            ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let key = PrivateKeyDer::from_pem_file(Path::new(&key)).unwrap();
        let config = Arc::new(config.with_no_client_auth().with_single_cert(chain, key).unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let base = format!("https://{}", listener.local_addr().unwrap());
        let orders = Arc::<AtomicUsize>::default();
        let failing = Failing { directory: format!("{base}/directory"), orders: Arc::clone(&orders) };
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let session = ServerConnection::new(Arc::clone(&config)).unwrap();
                let (base, orders) = (base.clone(), Arc::clone(&orders));
                let mut stream = BufReader::new(StreamOwned::new(session, stream.unwrap()));
                // A client may be gone.
                std::thread::spawn(move || answer(&mut stream, fault, &base, &orders));
            }
        });
        failing
    }
}

fn answer(
    stream: &mut BufReader<StreamOwned<ServerConnection, std::net::TcpStream>>,
    fault: Fault,
    base: &str,
    orders: &AtomicUsize,
) -> std::io::Result<()> {
    let (mut line, mut length) = (String::new(), 0);
    stream.read_line(&mut line)?;
    let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
    loop {
        let mut field = String::new();
        stream.read_line(&mut field)?;
        if field.trim().is_empty() {
            break;
        }
        if let Some(value) = field.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
    }
    stream.read_exact(&mut vec![0; length])?;
    let problem = |kind: &str, detail: &str| {
        serde_json::json!({ "type": format!("urn:ietf:params:acme:error:{kind}"), "detail": detail })
            .to_string()
    };
    let (status, field, body) = match path.as_str() {
        "/directory" => {
            let keys = ["newNonce", "newAccount", "newOrder", "revokeCert", "keyChange"];
            let urls = keys.map(|key| (key.to_owned(), format!("{base}/{key}").into()));
            (200, String::new(), serde_json::Value::Object(urls.into_iter().collect()).to_string())
        }
        "/newNonce" => (200, String::new(), String::new()),
        "/newAccount" => {
            (201, format!("Location: {base}/account/1\r\n"), "{\"status\":\"valid\"}".to_owned())
        }
        _ => {
            orders.fetch_add(1, Ordering::Relaxed);
            match fault {
                Fault::RateLimited => {
                    (429, "Retry-After: 3600\r\n".to_owned(), problem("rateLimited", "come back later"))
                }
                Fault::Broken => {
                    let body = problem("serverInternal", "out of order").replacen('{', "{\"status\":500,", 1);
                    (500, String::new(), body)
                }
                Fault::Nonces => (400, String::new(), problem("badNonce", "again")),
                Fault::NotJson => (200, String::new(), "<html>".to_owned()),
                Fault::Redirects => (302, format!("Location: {base}/elsewhere\r\n"), String::new()),
                Fault::Endless => (200, String::new(), " ".repeat(2 << 20)),
            }
        }
    };
    write!(
        stream.get_mut(),
        "HTTP/1.1 {status} Status\r\nReplay-Nonce: AAAA\r\n{field}Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )?;
    stream.get_mut().flush()?;
    let session = &mut stream.get_mut().conn;
    session.send_close_notify();
    stream.get_mut().flush()
}
