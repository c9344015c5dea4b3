//! Two servers with one ledger are one server to whoever is told of downloads.

use std::sync::atomic::{AtomicUsize, Ordering};

use outflow_testkit::needs;
use tempfile::TempDir;

use crate::support::{
    FileTree, Postgres, Receiver, Server, Setup, assert_same, noise, once_each, output, program, until,
};

const LEN: usize = 16 << 20;

/// Two nodes that serve the same folder, and tell the same receiver.
fn nodes(tree: &FileTree, postgres: &Postgres, receiver: &Receiver) -> [Server; 2] {
    [(); 2].map(|()| receiver.of(Setup::of(tree.root())).ledger(postgres.address()).start())
}

#[test]
fn ranges_that_are_spread_over_two_nodes_make_one_receipt_that_is_told_once() {
    needs!("postgres");
    let tree = FileTree::new();
    let big = noise(1, LEN);
    tree.file("big.bin", &big);
    let (postgres, receiver) = (Postgres::start(), Receiver::start());
    let nodes = nodes(&tree, &postgres, &receiver);
    let piece = LEN / 16;
    std::thread::scope(|scope| {
        for number in 0..16 {
            let (node, big) = (&nodes[number % 2], &big);
            scope.spawn(move || {
                let (start, end) = (number * piece, (number + 1) * piece);
                let reply = node.client().get_range("/big.bin", &format!("{start}-{}", end - 1)).expect(206);
                assert_same(&reply.body, &big[start..end], "a piece");
            });
        }
    });
    receiver.wait_for("download.completed", 1);
    receiver.wait_for("download.started", 1);
    let [one, other] = nodes.map(Server::close);
    let downloads = one.assert_completed(1);
    assert_eq!(downloads[0]["deliveries"], 16);
    assert_eq!(other.downloads(), downloads);
    let told = receiver.told();
    assert_eq!(told.len(), one.events().len(), "each event once: {told:#?}");
    assert_eq!(once_each(&told).len(), told.len());
}

#[test]
fn many_downloads_on_two_nodes_at_once_are_told_once_each() {
    needs!("postgres");
    const EACH: usize = 40;
    let tree = FileTree::new();
    for number in 0..EACH {
        tree.file(format!("{number}.bin"), noise(number as u64, 100_000));
    }
    let (postgres, receiver) = (Postgres::start(), Receiver::start());
    let nodes = nodes(&tree, &postgres, &receiver);
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::SeqCst);
                    if number >= EACH {
                        return;
                    }
                    // The halves of a file on one node each, the second half first every other
                    // time.
                    let path = format!("/{number}.bin");
                    let mut halves = ["0-49999", "50000-99999"];
                    halves.rotate_left(number % 2);
                    for (node, half) in nodes.iter().zip(halves) {
                        node.client().get_range(&path, half).expect(206);
                    }
                }
            });
        }
    });
    let told = receiver.wait_for("download.completed", EACH);
    assert_eq!(told.len(), EACH);
    receiver.wait_for("download.started", EACH);
    let [ledger, _] = nodes.map(Server::close);
    ledger.assert_completed(EACH);
    let told = receiver.told();
    assert_eq!(told.len(), 2 * EACH, "each event once");
    assert_eq!(once_each(&told).len(), 2 * EACH);
}

#[test]
fn a_download_goes_on_at_the_other_node_when_one_is_killed() {
    needs!("curl", "postgres");
    let tree = FileTree::new();
    let big = noise(1, LEN);
    tree.file("big.bin", &big);
    let (postgres, receiver) = (Postgres::start(), Receiver::start());
    let [one, other] = nodes(&tree, &postgres, &receiver);
    let mut client = crate::support::HttpClient::connect_narrow(one.addr, 4096);
    client.request("GET", "/big.bin", "User-Agent: curl\r\n").head().expect(200);
    let begun = client.take(LEN / 2).unwrap();
    receiver.wait_for("download.started", 1);
    let ledger = one.kill();
    assert!(ledger.events_of("download.completed").is_empty());

    let folder = TempDir::new().unwrap();
    let to = folder.path().join("big.bin");
    std::fs::write(&to, &begun).unwrap();
    let mut curl = program("curl");
    curl.args(["--disable", "-sSf", "--noproxy", "*", "-A", "curl", "-C", "-", "-o"]).arg(&to);
    output(curl.arg(other.url("/big.bin")));
    assert_same(&std::fs::read(&to).unwrap(), &big, "the file");
    let told = receiver.wait_for("download.completed", 1).remove(0);
    let download = &told.body["data"]["download"];
    assert!(download["inferred"].as_u64().unwrap() > 0, "known from where it went on: {download:#}");
    let ledger = other.close();
    ledger.assert_completed(1);
    until("nothing more is told", || {
        (once_each(&receiver.told()).len() == ledger.events().len()).then_some(())
    });
}
