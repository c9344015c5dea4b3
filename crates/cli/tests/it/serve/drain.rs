//! The end: what is under way is finished, nothing new begins, and who is impatient asks twice.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::support::{FileTree, HttpClient, Server, Setup, assert_same, noise, until};

/// More than the kernel holds for a slow client.
const LEN: usize = 24 << 20;

fn tree() -> (FileTree, Vec<u8>) {
    let (tree, big) = (FileTree::new(), noise(1, LEN));
    tree.file("big.bin", &big);
    tree.file("a.txt", "public");
    (tree, big)
}

/// A client that has begun to read `path`, and the length that was announced.
fn begin(server: &Server, path: &str) -> (HttpClient, usize) {
    let mut client = HttpClient::connect_narrow(server.addr, 4096);
    let head = client.request("GET", path, "").head().expect(200);
    client.take(1000).unwrap();
    (client, head.length() as usize)
}

/// The server has noticed that it is to end: it takes no more connections.
fn await_draining(server: &Server) {
    until("no more connections are taken", || TcpStream::connect(server.addr).is_err().then_some(()));
}

#[test]
fn what_is_under_way_is_finished() {
    let (tree, big) = tree();
    for signal in [Signal::TERM, Signal::INT] {
        let mut server = Setup::of(tree.root()).arg("--drain").arg("60s").start();
        let (mut file, _) = begin(&server, "/big.bin");
        let (mut archive, archive_len) = begin(&server, "/?zip");
        server.signal(signal);
        await_draining(&server);
        assert!(server.is_running());
        assert_same(&file.take(LEN - 1000).unwrap(), &big[1000..], "the file");
        archive.take(archive_len - 1000).unwrap();
        // Then each connection is closed, although it could be used again.
        file.expect_closed();
        archive.expect_closed();
        let status = server.wait();
        assert_eq!(status.code(), Some(0), "{}", server.log().join("\n"));
    }
}

#[test]
fn a_server_without_work_ends_at_once_although_clients_are_connected() {
    let (tree, _) = tree();
    let mut server = Setup::of(tree.root()).arg("--drain").arg("60s").start();
    let mut idle = server.client();
    idle.get("/a.txt").expect(200);
    let mut silent = server.client();
    let begun = Instant::now();
    server.signal(Signal::TERM);
    let status = server.wait();
    assert_eq!(status.code(), Some(0));
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    idle.expect_closed();
    let _ = silent.try_head().expect_err("nothing was answered");
}

#[test]
fn a_second_signal_stops_at_once() {
    let (tree, _) = tree();
    let mut server = Setup::of(tree.root()).arg("--drain").arg("1h").start();
    let (mut client, _) = begin(&server, "/big.bin");
    server.signal(Signal::TERM);
    await_draining(&server);
    server.signal(Signal::TERM);
    server.wait();
    let rest = client.take(LEN - 1000);
    assert!(rest.is_err(), "the download was cut");
}

#[test]
fn whoever_is_not_finished_in_time_is_cut() {
    let (tree, _) = tree();
    let mut server = Setup::of(tree.root()).arg("--drain").arg("1s").start();
    let (mut client, _) = begin(&server, "/big.bin");
    server.signal(Signal::TERM);
    server.wait();
    assert!(client.take(LEN - 1000).is_err(), "the download was cut");
    let line = server.delivery("/big.bin", "aborted");
    assert!(line["bytes"].as_u64().unwrap() < LEN as u64, "{line}");
}

#[test]
fn the_port_is_free_again_at_once() {
    let (tree, _) = tree();
    let mut server = Server::of(tree.root());
    server.get("/a.txt").expect(200);
    server.signal(Signal::TERM);
    assert!(server.wait().success());
    let listen = server.addr.to_string();
    let mut command = crate::support::binary();
    let own = tempfile::TempDir::new().unwrap();
    command.arg("serve").arg(tree.root()).args(["--listen", &listen, "--cache"]).arg(own.path());
    let again = Server::spawn(command, own);
    assert_eq!(again.addr, server.addr);
    again.get("/a.txt").expect(200);
}
