//! What counts as delivered: all of it, acknowledged, once.
//!
//! Nothing is waited for to see that it does not happen: a server that was closed has noted
//! everything, and is asked then.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use outflow_testkit::needs;
use rustix::process::Signal;
use serde_json::Value;

use crate::support::{
    Answer, FileTree, HttpClient, Ledger, Network, Receiver, Reply, Server, Setup, assert_same, noise,
};

/// Far more than any socket's buffers hold.
const LEN: u64 = 24 << 20;

fn tree() -> (FileTree, Vec<u8>) {
    let (tree, big) = (FileTree::new(), noise(1, LEN as usize));
    tree.file("big.bin", &big);
    for number in 0..40 {
        tree.file(format!("folder/{number:02}.bin"), noise(100 + number, 200_000));
    }
    (tree, big)
}

/// One request as `who`, read to its end.
#[track_caller]
fn get(server: &Server, who: &str, path: &str, lines: &str) -> Reply {
    server.fetch("GET", path, &format!("User-Agent: {who}\r\n{lines}"))
}

#[track_caller]
fn number(value: &Value, pointer: &str) -> u64 {
    value.pointer(pointer).and_then(Value::as_u64).unwrap_or_else(|| panic!("no {pointer} in {value:#}"))
}

/// Asks for `path` through a narrow window, and takes `len` bytes of the body.
#[track_caller]
fn take(server: &Server, who: &str, path: &str, len: u64) -> HttpClient {
    let mut client = HttpClient::connect_narrow(server.addr, 4096);
    client.request("GET", path, &format!("User-Agent: {who}\r\n")).head().expect(200);
    client.take(len as usize).unwrap();
    client
}

#[test]
fn who_leaves_just_before_the_end_has_not_downloaded_and_may_go_on_later() {
    let (tree, big) = tree();
    let receiver = Receiver::start();
    let server = receiver.of(Setup::of(tree.root())).start();
    let read = LEN / 1000 * 999;
    let leavers: [fn(HttpClient); 2] = [HttpClient::reset, drop];
    for (round, leave) in leavers.into_iter().enumerate() {
        let who = format!("reader-{round}");
        let client = take(&server, &who, "/big.bin", read);
        // What is in the client's kernel was acknowledged, or soon would have been.
        let buffer = client.buffer();
        leave(client);
        let aborted = receiver.wait_for("download.aborted", round + 1).pop().unwrap();
        let acked = number(&aborted.body, "/data/download/acked");
        assert!(
            (read - buffer..=read + buffer).contains(&acked),
            "{acked} acked of {read} read, and {buffer}"
        );
        assert_eq!(number(&aborted.body, "/data/download/total"), LEN);
        assert_eq!(receiver.told_of("download.completed").len(), round, "it was not completed");

        let rest = get(&server, &who, "/big.bin", &format!("Range: bytes={read}-\r\n")).expect(206);
        assert_same(&rest.body, &big[read as usize..], "the rest");
        let completed = receiver.wait_for("download.completed", round + 1).pop().unwrap();
        assert_eq!(completed.download(), aborted.download(), "another download");
    }
    let ledger = server.close();
    for download in ledger.assert_completed(2) {
        assert_eq!(
            (number(&download, "/generation"), number(&download, "/deliveries")),
            (1, 2),
            "{download:#}"
        );
    }
    let counts = ledger.counts();
    assert_eq!(counts["download.aborted"], 2, "{counts:?}");
    assert_eq!(counts["download.started"], 2, "{counts:?}");
}

#[test]
fn what_is_read_at_leisure_is_completed_not_earlier_than_the_last_buffer() {
    let (tree, _) = tree();
    let read = Arc::new(AtomicU64::new(0));
    // The receiver notes how far the reader was when it was told.
    let (seen, at_end) = (Arc::clone(&read), Arc::new(AtomicU64::new(0)));
    let noted = Arc::clone(&at_end);
    let receiver = Receiver::answering(move |_, told| {
        if told.kind == "download.completed" {
            noted.store(seen.load(Ordering::SeqCst), Ordering::SeqCst);
        }
        Answer::Status(200)
    });
    let server = receiver.of(Setup::of(tree.root())).start();
    let mut client = take(&server, "leisure", "/big.bin", LEN - 100_000);
    read.store(LEN - 100_000, Ordering::SeqCst);
    let buffer = client.buffer();
    let mut piece = [0; 1000];
    while read.load(Ordering::SeqCst) < LEN {
        // Slower than any webhook comes.
        std::thread::sleep(Duration::from_millis(10));
        let n = client.read(&mut piece).unwrap();
        assert_ne!(n, 0, "an early end");
        read.fetch_add(n as u64, Ordering::SeqCst);
    }
    receiver.wait_for("download.completed", 1);
    let at = at_end.load(Ordering::SeqCst);
    assert!(at + buffer >= LEN, "told when {} bytes had not been read, with a buffer of {buffer}", LEN - at);
    drop(client);
    server.close().assert_completed(1);
}

#[test]
fn what_is_not_read_to_the_end_is_never_completed() {
    let (tree, _) = tree();
    let server = Setup::of(tree.root()).arg("--drain").arg("1s").start();
    let mut client = take(&server, "sleeper", "/big.bin", LEN / 2);
    let buffer = client.buffer();
    let left = LEN / 2 - 3 * buffer;
    client.take(left as usize).unwrap();
    // Only the end of the server ends it.
    server.signal(Signal::TERM);
    let ledger = server.close();
    let (download, counts) = (ledger.download(), ledger.counts());
    assert_eq!(download["state"], "aborted", "{download:#}");
    assert!(number(&download, "/acked") <= LEN - 2 * buffer, "{download:#}");
    assert_eq!(counts.get("download.completed"), None, "{counts:?}");
    assert_eq!(counts["download.aborted"], 1, "{counts:?}");
    drop(client);
}

#[test]
fn whoever_asks_without_fetching_is_not_noted() {
    let (tree, _) = tree();
    let server = Server::of(tree.root());
    let mut client = server.client();
    let etag = client.fetch("HEAD", "/big.bin", "").expect(200).header("etag").to_owned();
    client.fetch("GET", "/big.bin", &format!("If-None-Match: {etag}\r\n")).expect(304);
    client.fetch("GET", "/big.bin", "If-Match: \"x\"\r\n").expect(412);
    client.get_range("/big.bin", &format!("{LEN}-")).expect(416);
    client.get("/nothing").expect(404);
    client.get("/folder/").expect(200);
    client.get("/folder/?json").expect(200);
    client.fetch("HEAD", "/folder/?zip", "").expect(200);
    client.get_range("/folder/?zip", "99999999999-").expect(416);
    drop(client);
    let ledger = server.close();
    assert_eq!(ledger.downloads(), [] as [Value; 0]);
    assert_eq!(ledger.events(), [] as [Value; 0]);
}

#[test]
fn jumping_about_in_a_video_completes_nothing_until_all_of_it_was_fetched() {
    let (tree, _) = tree();
    let server = Server::of(tree.root());
    let mut client = server.client();
    // Its index at the end, then here and there, twice the same, never the tenth megabyte.
    for range in
        ["0-99999", "25000000-", "5000000-6999999", "5000000-6999999", "12000000-24999999", "1-9999999"]
    {
        client.get_range("/big.bin", range).expect(206);
    }
    drop(client);
    let ledger = server.close();
    let download = ledger.download();
    assert_eq!(number(&download, "/acked"), LEN - 2_000_000, "{download:#}");
    assert_ne!(download["state"], "completed", "{download:#}");
    assert_eq!(ledger.counts().get("download.completed"), None);
}

#[test]
fn the_missing_piece_completes_what_was_fetched_here_and_there() {
    let (tree, _) = tree();
    let server = Server::of(tree.root());
    for range in ["0-99999", "25000000-", "5000000-6999999", "12000000-24999999", "1-9999999"] {
        server.client().get_range("/big.bin", range).expect(206);
    }
    // With a hole in the middle that two ranges of one request fill.
    server.client().get_range("/big.bin", "11000000-11999999,10000000-10999999").expect(206);
    let ledger = server.close();
    let downloads = ledger.assert_completed(1);
    assert_eq!(number(&downloads[0], "/deliveries"), 6);
}

#[test]
fn a_second_whole_download_counts_again_and_a_straggling_range_does_not() {
    let (tree, _) = tree();
    let server = Server::of(tree.root());
    get(&server, "anna", "/folder/00.bin", "").expect(200);
    server.ledger.await_events("download.completed", 1);
    get(&server, "anna", "/folder/00.bin", "").expect(200);
    server.ledger.await_events("download.completed", 2);
    get(&server, "anna", "/folder/00.bin", "Range: bytes=-1000\r\n").expect(206);
    let ledger = server.close();
    let downloads = ledger.downloads();
    let completed: Vec<&Value> =
        downloads.iter().filter(|download| download["state"] == "completed").collect();
    let generations: Vec<u64> = completed.iter().map(|download| number(download, "/generation")).collect();
    assert_eq!(generations, [1, 2], "{downloads:#?}");
    assert_eq!(ledger.counts()["download.completed"], 2);
}

#[test]
fn recipients_contents_and_selections_are_told_apart() {
    let (tree, _) = tree();
    let server = Server::of(tree.root());
    let twice = "/?zip&file=folder/00.bin&file=folder/01.bin";
    let wanted = [
        // Two recipients of one content.
        ("anna", "/big.bin"),
        ("ben", "/big.bin"),
        // Two selections, and files in them by themselves.
        ("anna", twice),
        ("anna", "/?zip&file=folder/01.bin&file=folder/02.bin"),
        ("anna", "/folder/00.bin"),
        ("anna", "/folder/01.bin"),
        ("anna", "/folder/?zip"),
    ];
    for (who, path) in wanted {
        get(&server, who, path, "").expect(200);
    }
    let ledger = server.close();
    let downloads = ledger.assert_completed(wanted.len());
    for (download, (who, path)) in downloads.iter().zip(wanted) {
        assert_eq!(download["user_agent"], who, "{download:#}");
        assert_eq!(
            (&download["weak"], number(download, "/generation")),
            (&Value::Bool(true), 1),
            "{download:#}"
        );
        let files = match path {
            _ if path == twice => Some(2),
            "/folder/?zip" => Some(40),
            "/big.bin" => None,
            _ => continue,
        };
        assert_eq!(download["files"].as_u64(), files, "{download:#}");
        assert_eq!(download["files_done"].as_u64(), files, "{download:#}");
    }
    let mut contents: Vec<&Value> = downloads.iter().map(|download| &download["content"]).collect();
    contents.sort_unstable_by_key(|content| content.to_string());
    contents.dedup();
    assert_eq!(contents.len(), wanted.len() - 1, "one content twice, all others once");
}

/// An archive of 40 files, 37 of which are taken.
#[test]
fn of_an_archive_it_is_known_which_files_have_arrived() {
    needs!("curl");
    let (tree, _) = tree();
    let receiver = Receiver::start();
    let server = receiver.of(Setup::of(tree.root())).start();
    server.know_crcs("/folder/?zip");
    let before = receiver.wait_for("download.completed", 1).len();
    // So far into the 38th file that no buffer reaches its end.
    let client = take(&server, "zip", "/folder/?zip", 37 * 200_200 + 100_000);
    client.reset();
    let aborted = receiver.wait_for("download.aborted", 1).pop().unwrap();
    assert_eq!(number(&aborted.body, "/data/download/files_done"), 37);
    assert_eq!(number(&aborted.body, "/data/download/files"), 40);
    assert_eq!(receiver.told_of("download.completed").len(), before);

    let ledger = server.close();
    let downloads = ledger.downloads();
    let download = downloads.iter().find(|download| download["user_agent"] == "zip").unwrap();
    let list = ledger.show(download)["file_list"].as_array().unwrap().clone();
    assert_eq!(list.len(), 40);
    for (number, file) in list.iter().enumerate() {
        assert_eq!(file["name"], format!("{number:02}.bin"), "{file}");
        assert_eq!((&file["size"], &file["done"]), (&200_000.into(), &Value::Bool(number < 37)), "{file}");
    }
    let text = ledger.run(&["download", "show", download["id"].as_str().unwrap()]);
    assert!(text.contains("37 of 40"), "{text}");
}

#[test]
fn nothing_is_noted_without_a_ledger() {
    let (tree, big) = tree();
    let server = Setup::of(tree.root()).ledger("none").start();
    assert_same(&server.get("/big.bin").expect(200).body, &big, "the file");
    let ledger: Ledger = server.close();
    let refused = ledger.outflow(&["download", "list"]).output().unwrap();
    assert!(!refused.status.success(), "{}", String::from_utf8_lossy(&refused.stdout));
}

/// Here the bytes are long "sent" when they arrive: the server's kernel, the queue before the slow
/// network and the client's kernel hold them.
#[test]
fn over_a_slow_network_the_completion_comes_after_the_last_byte() {
    needs!("ip", "tc");
    const SLOW: u64 = 4 << 20;
    let Some(network) = Network::with_rate("20mbit", 400_000) else { return };
    let tree = FileTree::new();
    let bytes = noise(1, SLOW as usize);
    tree.file("slow.bin", &bytes);
    let read = Arc::new(AtomicU64::new(0));
    let (seen, at_end) = (Arc::clone(&read), Arc::new(AtomicU64::new(0)));
    let noted = Arc::clone(&at_end);
    let receiver = Receiver::at(network.here, move |_, told| {
        if told.kind == "download.completed" {
            noted.store(seen.load(Ordering::SeqCst), Ordering::SeqCst);
        }
        Answer::Status(200)
    });
    let server = receiver.of(Setup::of(tree.root())).far(&network).start();
    let mut client = server.client();
    assert_eq!(client.request("GET", "/slow.bin", "").head().expect(200).length(), SLOW);
    let mut found = Vec::new();
    let mut piece = vec![0; 1 << 16];
    while (found.len() as u64) < SLOW {
        let n = client.read(&mut piece).unwrap();
        assert_ne!(n, 0, "an early end");
        found.extend_from_slice(&piece[..n]);
        read.store(found.len() as u64, Ordering::SeqCst);
    }
    assert_same(&found, &bytes, "over the network");
    receiver.wait_for("download.completed", 1);
    let at = at_end.load(Ordering::SeqCst);
    // A reader that reads at once leaves next to nothing to its kernel: a few packets, which fit in
    // 64 KiB.
    assert!(at + (64 << 10) >= SLOW, "told when {} bytes had not been read", SLOW - at);
    drop(client);
    server.close().assert_completed(1);
}
