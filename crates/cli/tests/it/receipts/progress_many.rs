//! Many who listen to the progress of downloads: what they cost, what ends them, and what other
//! nodes tell.

use std::time::{Duration, Instant};

use outflow_testkit::needs;
use rustix::process::{Resource, Signal, getrlimit, setrlimit};

use crate::support::{EventStream, FileTree, HttpClient, Postgres, Setup, noise};

const LEN: usize = 16 << 20;

fn tree() -> FileTree {
    let tree = FileTree::new();
    tree.file("big.bin", noise(1, LEN));
    tree.file("small.bin", noise(2, 1000));
    tree
}

#[test]
fn a_thousand_idle_listeners_cost_little_memory_and_do_not_hinder_the_end() {
    const MANY: u64 = 1000;
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).unwrap();
    let tree = tree();
    let mut server = Setup::of(tree.root()).arg("--drain").arg("1h").start();
    let listen = |name: u64| {
        // Each somebody else.
        let mut listener = EventStream::open(server.client(), "/?events", &format!("User-Agent: {name}\r\n"));
        assert!(listener.state().is_empty());
        listener
    };
    let mut listeners: Vec<EventStream> = (0..100).map(listen).collect();
    let before = server.memory();
    listeners.extend((100..100 + MANY).map(listen));
    let each = server.memory().saturating_sub(before) / MANY;
    println!("{each} bytes for each of {MANY} listeners");
    assert!(each < 24 * 1024, "{each} bytes for each listener");

    // Each hears what it is for.
    server.fetch("GET", "/small.bin", "User-Agent: 1099\r\n").expect(200);
    listeners.last_mut().unwrap().completed("/small.bin");
    // And then, at once, the end, although there is an hour for it.
    let begun = Instant::now();
    server.signal(Signal::TERM);
    assert!(server.wait().success());
    assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
    listeners.iter_mut().for_each(EventStream::expect_end);
}

#[test]
fn who_listens_without_reading_hinders_nobody_not_even_the_end() {
    let tree = tree();
    let mut server = Setup::of(tree.root()).arg("--drain").arg("1h").start();
    let who = "User-Agent: anna\r\n";
    let deaf: Vec<HttpClient> = (0..50)
        .map(|_| {
            let mut client = HttpClient::connect_narrow(server.addr, 4096);
            client.request("GET", "/?events", who).head().expect(200);
            client
        })
        .collect();
    let mut listener = EventStream::open(server.client(), "/?events", who);
    assert!(listener.state().is_empty());
    // More than the kernel takes for somebody who does not read.
    for number in 0..500 {
        server.fetch("GET", "/small.bin", who).expect(200);
        let told = listener.completed("/small.bin");
        assert_eq!(told.last().unwrap().number("acked"), 1000, "{number}");
    }
    server.signal(Signal::TERM);
    assert!(server.wait().success());
    drop(deaf);
}

#[test]
fn what_happens_on_one_node_is_heard_on_the_other() {
    needs!("postgres");
    let tree = tree();
    let postgres = Postgres::start();
    let [here, there] = [(); 2].map(|()| Setup::of(tree.root()).ledger(postgres.address()).start());
    let who = "User-Agent: anna\r\n";
    let mut listener = EventStream::open(here.client(), "/big.bin?events", who);
    assert!(listener.state().is_empty());
    let mut client = HttpClient::connect_narrow(there.addr, 4096);
    client.request("GET", "/big.bin", who).head().expect(200);
    client.take(LEN / 4).unwrap();
    // What was acknowledged is looked at four times a second at the most, and only when more is
    // taken.
    std::thread::sleep(Duration::from_millis(300));
    client.take(LEN / 2 - LEN / 4).unwrap();
    let told = listener.until(|told| told.name == "progress" && told.number("acked") > 0);
    assert_eq!(told.last().unwrap().text("state"), "open");
    client.take(LEN - LEN / 2).unwrap();
    drop(client);
    let told = listener.completed("/big.bin");
    assert_eq!(told.last().unwrap().number("acked"), LEN as u64);
    listener.expect_end();
    here.fetch("GET", "/big.bin?events", &format!("{who}Last-Event-ID: 1\r\n")).expect(204);
}
