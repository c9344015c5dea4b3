//! Thousands of subscribers: what they cost, that all hear, and that nothing of them stays.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use rustix::process::{Resource, getrlimit, setrlimit};

use super::delivery::{PUBLISH, await_count, publish, setup};
use crate::support::{FileTree, PATIENCE, Server};

/// Few enough to be counted from: what a server needs for its first clients is not theirs.
const FEW: usize = 1_000;
const MANY: usize = 5_000;

/// Subscribes without keeping anything: a client of its own would cost as much as the server.
fn subscribe(server: &Server) -> TcpStream {
    let mut stream = TcpStream::connect(server.addr).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "GET /channels/a HTTP/1.1\r\nHost: test\r\n{PUBLISH}\r\n").unwrap();
    stream
}

#[test]
fn thousands_subscribe_and_hear_and_leave() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).unwrap();
    let tree = FileTree::new();
    let server = setup(&tree).args(["--channel-per-address", "100000"]).start();
    let mut subscribers: Vec<TcpStream> = (0..FEW).map(|_| subscribe(&server)).collect();
    await_count(&server, "/channels/a", FEW as u64);
    publish(&server, "/channels/a", "first");
    let few = server.memory();
    subscribers.extend((FEW..MANY).map(|_| subscribe(&server)));
    await_count(&server, "/channels/a", MANY as u64);
    let last = publish(&server, "/channels/a", "last");
    let event = format!("id: {last}\ndata: last\n\n");
    for subscriber in &mut subscribers {
        let (mut heard, mut piece) = (Vec::new(), [0; 512]);
        while !heard.windows(event.len()).any(|part| part == event.as_bytes()) {
            let n = subscriber.read(&mut piece).unwrap();
            assert!(n > 0, "{}", String::from_utf8_lossy(&heard));
            heard.extend_from_slice(&piece[..n]);
        }
    }
    let each = server.memory().saturating_sub(few) / (MANY - FEW) as u64;
    println!("{each} bytes for each of {} subscribers", MANY - FEW);
    assert!(each <= 600, "{each} bytes for each subscriber");
    drop(subscribers);
    await_count(&server, "/channels/a", 0);
    let left = server.memory().saturating_sub(few);
    assert!(left < 4 << 20, "{left} bytes more than with a few, although all have left");
}
