//! `outflow tunnel connect` and `listen`: ssh, psql and curl through them, over paths that break.

use std::fs;
use std::io::{Read, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use outflow_testkit::needs;
use rustix::net::sockopt;
use tempfile::TempDir;

use super::tunnel::{Tunnel, client};
use crate::support::legs::{TOKEN, TestTarget};
use crate::support::{
    Authority, ChildProgram, FileTree, Postgres, Server, Serving, Sshd, assert_same, binary, noise, output,
    program,
};

/// Stands between client and server, and breaks each of the first connections after so many bytes.
struct Breaker {
    addr: SocketAddr,
    broken: Arc<AtomicU64>,
}

impl Breaker {
    fn start(server: SocketAddr, times: u64, after: u64) -> Breaker {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let broken = Arc::<AtomicU64>::default();
        let count = Arc::clone(&broken);
        // Ends with the test's process.
        std::thread::spawn(move || {
            for (number, near) in listener.incoming().map_while(Result::ok).enumerate() {
                let Ok(far) = TcpStream::connect(server) else { continue };
                let budget = if (number as u64) < times { after } else { u64::MAX };
                let left = Arc::new(AtomicU64::new(budget));
                for (from, to) in [(&near, &far), (&far, &near)] {
                    let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                    let (left, count) = (Arc::clone(&left), Arc::clone(&count));
                    std::thread::spawn(move || pass(from, to, &left, &count, number));
                }
            }
        });
        Breaker { addr, broken }
    }
}

/// Copies until the connection's budget is used up, then resets both sides; every other time it
/// merely ends them.
fn pass(mut from: TcpStream, mut to: TcpStream, left: &AtomicU64, count: &AtomicU64, number: usize) {
    let mut piece = vec![0; 64 * 1024];
    while let Ok(n) = from.read(&mut piece) {
        if n == 0 {
            let _ = to.shutdown(Shutdown::Write);
            return;
        }
        let before = left.fetch_sub((n as u64).min(left.load(Ordering::Relaxed)), Ordering::Relaxed);
        if before < n as u64 {
            if left.swap(0, Ordering::Relaxed) != u64::MAX {
                count.fetch_add(1, Ordering::Relaxed);
            }
            let _ = to.write_all(&piece[..before as usize]);
            for side in [&from, &to] {
                if number.is_multiple_of(2) {
                    let _ = sockopt::set_socket_linger(side, Some(Duration::ZERO));
                }
                let _ = side.shutdown(Shutdown::Both);
            }
            return;
        }
        if to.write_all(&piece[..n]).is_err() {
            return;
        }
    }
}

#[test]
fn a_copy_by_ssh_survives_ten_breaks_of_the_path() {
    needs!("scp", "sshd");
    const SIZE: usize = 110_000_000;
    let sshd = Sshd::start();
    let tunnel = Tunnel::start(&["--allow", &format!("127.0.0.1:{}", sshd.addr.port())]);
    let folder = TempDir::new().unwrap();
    let bytes = noise(11, SIZE);
    fs::write(folder.path().join("there"), &bytes).unwrap();
    let got = folder.path().join("got");
    for down in [true, false] {
        let path = Breaker::start(tunnel.server.addr, 10, SIZE as u64 / 11);
        let mut scp = sshd.client("scp", &tunnel.way(path.addr));
        let there = folder.path().join("there");
        if down {
            scp.arg(sshd.there(&there)).arg(&got);
        } else {
            scp.arg(&there).arg(sshd.there(&got));
        }
        output(&mut scp);
        assert_same(&fs::read(&got).unwrap(), &bytes, "what was copied");
        fs::remove_file(&got).unwrap();
        assert!(path.broken.load(Ordering::Relaxed) >= 10, "the path was not broken");
    }
    tunnel.server.log_line(&["tunnel ended", "\"legs\":11"]);
}

#[test]
fn ssh_uses_what_it_is_told_to_write_down() {
    needs!("ssh", "sshd");
    let sshd = Sshd::start();
    let tunnel = Tunnel::start(&["--allow", &format!("127.0.0.1:{}", sshd.addr.port())]);
    let stanza = output(&mut tunnel.client("ssh-config", &[&tunnel.url(), "127.0.0.1"]));
    let stanza = stanza.replace("outflow tunnel", &format!("{} tunnel", env!("CARGO_BIN_EXE_outflow")));
    let config = tunnel.token.with_file_name("ssh_config");
    fs::write(&config, stanza).unwrap();
    let mut ssh = sshd.client_with("ssh", &config);
    ssh.args(["127.0.0.1", "cat; echo that was all"]);
    let (running, mut input) = ChildProgram::start_with_input(&mut ssh);
    input.write_all(b"asked\n").unwrap();
    drop(input);
    let said = running.finish();
    assert_eq!(String::from_utf8_lossy(&said.stdout), "asked\nthat was all\n", "{said:?}");
}

#[test]
fn psql_reaches_a_database_that_only_the_server_does() {
    needs!("postgres", "psql");
    let postgres = Postgres::start();
    let mut relay = binary();
    relay.args(["relay", "127.0.0.1:0", &format!("unix:{}", postgres.socket_file().display())]);
    let (_relay, database) = announced(&mut relay, "relaying on ");
    let port = database.rsplit_once(':').unwrap().1.to_owned();
    let tunnel = Tunnel::start(&["--allow", &format!("127.0.0.1:{port}")]);
    let mut listen = tunnel.client("listen", &["127.0.0.1:0", &tunnel.url(), "127.0.0.1", &port]);
    let (_listen, near) = announced(&mut listen, "listening on tcp://");
    let near = near.trim_end_matches('/').rsplit_once(':').unwrap().1.to_owned();
    let ask = |statement: &str| {
        let mut psql = program("psql");
        output(psql.args([
            "-h",
            "127.0.0.1",
            "-p",
            &near,
            "-U",
            "outflow",
            "-d",
            "outflow",
            "-XAtqc",
            statement,
        ]))
    };
    assert_eq!(ask("SELECT 6 * 7").trim(), "42");
    let sum = ask("SELECT g FROM generate_series(1, 500000) g")
        .lines()
        .map(|line| line.parse::<u64>().unwrap())
        .sum::<u64>();
    assert_eq!(sum, 500_000 * 500_001 / 2);
    assert_eq!(ask("SELECT length(repeat('x', 5000000))").trim(), "5000000");
}

/// Starts what serves, and returns what its first line says behind `words`.
fn announced(command: &mut Command, words: &str) -> (Serving, String) {
    let serving = Serving::start(command);
    let said = serving.announced(words).to_owned();
    (serving, said)
}

fn curl(url: &str, got: &Path) -> Command {
    let mut curl = program("curl");
    curl.args(["--disable", "-sS", "--noproxy", "*", "-o"]).arg(got).arg(url);
    curl
}

#[test]
fn what_is_here_is_reached_at_the_server() {
    needs!("curl");
    let tree = FileTree::new();
    let bytes = noise(5, 8_000_000);
    tree.file("film", &bytes);
    let origin = Server::of(tree.root());
    let tunnel = Tunnel::start(&["--allow-listen", "127.0.0.1:*"]);
    let port = origin.addr.port().to_string();
    let mut listen =
        tunnel.client("listen", &["--reverse", "127.0.0.1:0", &tunnel.url(), "127.0.0.1", &port]);
    let (listening, said) = announced(&mut listen, "listening on tcp://");
    let at = said.strip_suffix("/ of the server").unwrap().to_owned();
    let got = tree.root().join("got");
    for _ in 0..3 {
        output(&mut curl(&format!("http://{at}/film"), &got));
        assert_same(&fs::read(&got).unwrap(), &bytes, "film");
    }
    drop(listening);
    tunnel.server.log_line(&["listening ended"]);
    let gone = ChildProgram::start(&mut curl(&format!("http://{at}/film"), &got)).finish();
    assert!(!gone.status.success(), "somebody still listens");
}

/// What `outflow tunnel connect` says when a request is sent through it, to an HTTP server that
/// closes then.
fn ask_through(command: &mut Command) -> Output {
    let (running, mut input) = ChildProgram::start_with_input(command);
    let _ = input.write_all(b"GET /a.txt HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    drop(input);
    running.finish()
}

#[test]
fn each_way_gets_there_also_through_a_companys_proxy_and_within_tls() {
    let tree = FileTree::new();
    tree.file("a.txt", "it came");
    let origin = Server::of(tree.root());
    let port = origin.addr.port().to_string();
    let authority = Authority::new();
    let (certificate, key) = authority.files("a", &["127.0.0.1", "localhost"]);
    let allow = format!("127.0.0.1:{port}");
    let plain = Tunnel::start(&["--allow", &allow]);
    let certificate = ["--tls-cert", certificate.to_str().unwrap(), "--tls-key", key.to_str().unwrap()];
    let secured = Tunnel::start(&[&["--allow", &allow], &certificate[..]].concat());
    // A company's proxy: another tunnel server, which is one for whoever sends CONNECT.
    let company = Tunnel::start(&["--allow", "127.0.0.1:*,localhost:*"]);
    let proxy = format!("http://anna:{TOKEN}@{}", company.server.addr);
    let root = authority.root().to_str().unwrap().to_owned();
    for via in ["connect-tcp", "websocket", "purr"] {
        let https = format!("https://localhost:{}", secured.server.addr.port());
        let mut ways = vec![plain.client("connect", &["--via", via, &plain.url(), "127.0.0.1", &port])];
        ways.push(secured.client("connect", &["--via", via, "--cacert", &root, &https, "127.0.0.1", &port]));
        for mut way in std::mem::take(&mut ways) {
            let said = ask_through(&mut way);
            assert!(said.status.success() && said.stdout.ends_with(b"it came"), "{via}: {said:?}");
            let said = ask_through(way.env("HTTPS_PROXY", &proxy).env("HTTP_PROXY", &proxy));
            assert!(said.status.success() && said.stdout.ends_with(b"it came"), "{via} by proxy: {said:?}");
        }
        let certain = company.server.log_line(&["tunnel ended", "\"carrier\":\"connect\""]);
        assert!(certain.contains("user anna"), "{certain}");
    }
}

#[test]
fn what_goes_wrong_is_said_with_what_to_do() {
    let target = TestTarget::new();
    let port = target.addr.port().to_string();
    let allow = format!("127.0.0.1:{port}");
    let tunnel = Tunnel::start(&["--allow", &allow]);
    let authority = Authority::new();
    let (certificate, key) = authority.files("a", &["localhost"]);
    let secured = Tunnel::start(&[
        "--allow",
        &allow,
        "--tls-cert",
        certificate.to_str().unwrap(),
        "--tls-key",
        key.to_str().unwrap(),
    ]);
    let tree = FileTree::new();
    let files = Server::of(tree.root());
    let (url, gone) = (tunnel.url(), TestTarget::new().addr);
    let https = format!("https://localhost:{}", secured.server.addr.port());
    let other_name = format!("https://127.0.0.1:{}", secured.server.addr.port());
    let root = authority.root().to_str().unwrap().to_owned();
    for (mut command, code, parts) in [
        (client("connect", &[&url, "127.0.0.1", &port]), 1, &["401", "--token-file"][..]),
        (tunnel.client("connect", &[&url, "127.0.0.1", "22"]), 1, &["403", "not among the targets"]),
        (tunnel.client("connect", &[&url, "localhost", &port]), 1, &["403"]),
        (
            tunnel.client("connect", &[&format!("http://{gone}"), "127.0.0.1", &port]),
            1,
            &["cannot connect to"],
        ),
        (tunnel.client("connect", &[&format!("http://{}", files.addr), "127.0.0.1", &port]), 1, &["404"]),
        (tunnel.client("connect", &[&https, "127.0.0.1", &port]), 1, &["TLS", "--cacert"]),
        (tunnel.client("connect", &["--cacert", &root, &other_name, "127.0.0.1", &port]), 1, &["TLS"]),
        (tunnel.client("connect", &[&url]), 2, &["name a HOST and a PORT"]),
        (tunnel.client("connect", &["ftp://x", "a", "1"]), 2, &["ftp"]),
        (tunnel.client("connect", &[&url, "127.0.0.1", "0"]), 2, &["port"]),
        (
            tunnel.client("listen", &["--reverse", "127.0.0.1:0", &url, "127.0.0.1", &port]),
            1,
            &["403", "may listen on"],
        ),
        (
            tunnel.client("listen", &[&target.addr.to_string(), &url, "127.0.0.1", &port]),
            1,
            &["another program already listens"],
        ),
    ] {
        let ended = ChildProgram::start(&mut command).finish();
        let stderr = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.code(), Some(code), "{command:?}: {stderr}");
        for part in parts {
            assert!(stderr.contains(part), "{command:?}: no {part:?} in {stderr}");
        }
        assert!(!stderr.contains(TOKEN) && !stderr.contains("panicked"), "{stderr}");
        assert!(ended.stdout.is_empty(), "{command:?}");
    }
    assert!(target.is_untouched());
}
