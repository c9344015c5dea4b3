//! Parts of files and archives: each equal to the same slice of the whole.

use std::fmt::Write as _;

use outflow_testkit::needs;
use tempfile::TempDir;

use crate::support::{
    Authority, Fetch, FileTree, HttpClient, Random, Reply, Server, Setup, Transport, assert_same, noise,
};

/// Files of many sizes, around those at which something changes: a block, a span that is sent by
/// the kernel.
fn tree() -> FileTree {
    let tree = FileTree::new();
    let sizes = [0, 1, 100, 4095, 16_384, 32_767, 32_768, 32_769, 65_534, 65_535, 65_536, 131_070, 131_071];
    for (number, size) in sizes.into_iter().chain([700_000, 1_500_000, 2_500_000]).enumerate() {
        tree.file(format!("{}/{number}.bin", number % 3), noise(number as u64, size));
    }
    tree
}

/// `test` for a server of `tree` that knows all CRC-32s, asked in each of the ways.
fn each_way(tree: &FileTree, test: impl Fn(&mut dyn Fetch)) {
    let (authority, cache) = (Authority::new(), TempDir::new().unwrap());
    let learning = Setup::of(tree.root()).cache(cache.path()).start();
    learning.know_crcs("/?zip");
    learning.stop();
    for transport in Transport::ALL {
        println!("{transport:?}");
        let server = transport.serve(Setup::of(tree.root()).cache(cache.path()), &authority);
        test(&mut *transport.client(&server, &authority));
    }
}

#[track_caller]
fn assert_slice(reply: &Reply, whole: &[u8], from: usize, to: usize) {
    assert_eq!(reply.status, 206, "{from}-{to}: {:?}", reply.headers);
    assert_eq!(reply.header("content-range"), format!("bytes {from}-{to}/{}", whole.len()));
    assert_same(&reply.body, &whole[from..=to], &format!("bytes {from}-{to}"));
}

/// A thousand random ranges, most of them short, on one connection.
#[track_caller]
fn check_thousand(client: &mut HttpClient, path: &str, etag: &str, whole: &[u8]) {
    let mut random = Random::new(whole.len() as u64);
    for number in 0..1000 {
        let from = random.below(whole.len() as u64) as usize;
        let longest = if number % 50 == 0 { whole.len() as u64 } else { 20_000 };
        let to = (from + random.below(longest) as usize).min(whole.len() - 1);
        let lines = format!("Range: bytes={from}-{to}\r\nIf-Range: {etag}\r\n");
        assert_slice(&client.fetch("GET", path, &lines), whole, from, to);
    }
}

#[test]
fn a_thousand_ranges_of_an_archive_are_slices_of_it_in_both_layouts() {
    let tree = tree();
    let server = Server::of(tree.root());
    let mut client = server.client();
    let streamed = client.get("/?zip").expect(200);
    check_thousand(&mut client, "/?zip", streamed.header("etag"), &streamed.body);
    let etag = server.await_other_etag("/?zip", streamed.header("etag"));
    let stored = client.get("/?zip").expect(200);
    assert_eq!(stored.header("etag"), etag);
    check_thousand(&mut client, "/?zip", &etag, &stored.body);
    // The first layout is still whole.
    check_thousand(&mut client, "/?zip", streamed.header("etag"), &streamed.body);
}

#[test]
fn ranges_of_an_archive_that_nobody_has_read_yet_are_slices_of_it() {
    let tree = tree();
    let whole = Server::of(tree.root()).get("/?zip").expect(200);
    let server = Server::of(tree.root());
    let etag = server.etag("/?zip");
    assert_eq!(etag, whole.header("etag"));
    // No CRC-32 is known: the ranges that hold one have to wait until it is computed.
    check_thousand(&mut server.client(), "/?zip", &etag, &whole.body);
}

#[test]
fn a_thousand_ranges_of_a_file_are_slices_of_it() {
    let (tree, whole) = (FileTree::new(), noise(3, 3_000_000));
    tree.file("file.bin", &whole);
    let server = Server::of(tree.root());
    let etag = server.etag("/file.bin");
    check_thousand(&mut server.client(), "/file.bin", &etag, &whole);
}

#[test]
fn ranges_are_read_as_rfc_9110_says() {
    needs!("curl");
    each_way(&tree(), |client| {
        for path in ["/2/14.bin", "/?zip"] {
            let whole = client.get(path).expect(200).body;
            let (len, last) = (whole.len(), whole.len() - 1);
            assert_slice(&client.get_range(path, "-1"), &whole, last, last);
            assert_slice(&client.get_range(path, "-500"), &whole, len - 500, last);
            assert_slice(&client.get_range(path, &format!("-{}", len + 1)), &whole, 0, last);
            assert_slice(&client.get_range(path, "0-"), &whole, 0, last);
            assert_slice(&client.get_range(path, &format!("{last}-")), &whole, last, last);
            assert_slice(&client.get_range(path, &format!("5-{}", u64::MAX)), &whole, 5, last);
            for unsatisfiable in [format!("{len}-"), format!("{len}-{}", len + 9), "-0".to_owned()] {
                let reply = client.get_range(path, &unsatisfiable).expect(416);
                assert_eq!(reply.header("content-range"), format!("bytes */{len}"), "{unsatisfiable}");
            }
            for malformed in ["", "x", "5-4", "1-2-3", "--1", "0-1;2-3", "0x1-2", "1"] {
                let reply = client.get_range(path, malformed).expect(200);
                assert_same(&reply.body, &whole, malformed);
            }
            let other_unit = client.fetch("GET", path, "Range: rows=0-1\r\n").expect(200);
            assert_same(&other_unit.body, &whole, "another unit");
            let head = client.fetch("HEAD", path, "Range: bytes=0-1\r\n").expect(200);
            assert_eq!(head.length(), len as u64);
        }
    });
}

/// Some of the thousand, in the other ways.
#[test]
fn random_ranges_are_slices_in_every_way() {
    needs!("curl");
    each_way(&tree(), |client| {
        for path in ["/2/14.bin", "/?zip"] {
            let whole = client.get(path).expect(200);
            let (etag, whole) = (whole.header("etag").to_owned(), whole.body);
            let mut random = Random::new(7);
            for number in 0..30 {
                let from = random.below(whole.len() as u64) as usize;
                let longest = if number % 10 == 0 { whole.len() as u64 } else { 20_000 };
                let to = (from + random.below(longest) as usize).min(whole.len() - 1);
                let lines = format!("Range: bytes={from}-{to}\r\nIf-Range: {etag}\r\n");
                assert_slice(&client.fetch("GET", path, &lines), &whole, from, to);
            }
            let same = client.fetch("GET", path, &format!("If-None-Match: {etag}\r\n")).expect(304);
            assert_eq!((same.header("etag"), same.body.len()), (&*etag, 0));
            client.fetch("GET", path, "If-Match: \"other\"\r\n").expect(412);
            client.fetch("DELETE", path, "").expect(405);
        }
    });
}

/// The parts of a multipart body, by the length that each announces.
fn parts(reply: &Reply) -> Vec<(String, Vec<u8>)> {
    let boundary = reply.header("content-type").strip_prefix("multipart/byteranges; boundary=").unwrap();
    let (mut rest, mut parts) = (&reply.body[..], Vec::new());
    loop {
        let delimiter = format!("--{boundary}");
        rest = rest.strip_prefix(b"\r\n").unwrap_or(rest);
        rest = rest.strip_prefix(delimiter.as_bytes()).expect("a boundary");
        if let Some(after) = rest.strip_prefix(b"--") {
            assert_eq!(after, b"\r\n", "nothing after the last boundary");
            return parts;
        }
        let end = rest.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
        let head = std::str::from_utf8(&rest[2..end]).unwrap();
        let range =
            head.lines().find_map(|line| line.strip_prefix("Content-Range: bytes ")).unwrap().to_owned();
        let (from, to) = range.split_once('/').unwrap().0.split_once('-').unwrap();
        let len = to.parse::<usize>().unwrap() - from.parse::<usize>().unwrap() + 1;
        parts.push((range, rest[end + 4..end + 4 + len].to_vec()));
        rest = &rest[end + 4 + len..];
    }
}

#[test]
fn several_ranges_come_as_parts_in_the_order_asked() {
    needs!("curl");
    each_way(&tree(), |client| {
        for path in ["/2/14.bin", "/?zip"] {
            let whole = client.get(path).expect(200).body;
            let len = whole.len();
            let asked = [(1_000_000, 1_000_999), (0, 0), (len - 300, len - 1), (300_000, 500_000)];
            let mut ranges = String::new();
            for (from, to) in asked {
                write!(ranges, "{}{from}-{to}", if ranges.is_empty() { "" } else { ", " }).unwrap();
            }
            let reply = client.get_range(path, &ranges).expect(206);
            let found = parts(&reply);
            assert_eq!(found.len(), asked.len());
            for ((range, bytes), (from, to)) in found.iter().zip(asked) {
                assert_eq!(*range, format!("{from}-{to}/{len}"));
                assert_same(bytes, &whole[from..=to], range);
            }
        }
    });
}

#[test]
fn if_range_protects_from_joining_two_files() {
    needs!("curl");
    let authority = Authority::new();
    for transport in Transport::ALL {
        let tree = FileTree::new();
        let (before, after) = (noise(1, 100_000), noise(2, 100_001));
        // Long ago: a date tells seconds, and asking takes longer in some of the ways.
        let path = tree.file("file.bin", &before);
        let file = std::fs::File::options().write(true).open(path).unwrap();
        file.set_modified(std::time::SystemTime::now() - std::time::Duration::from_secs(3600)).unwrap();
        let server = transport.serve(Setup::of(tree.root()), &authority);
        let mut client = transport.client(&server, &authority);
        let first = client.get("/file.bin").expect(200);
        let lines = format!("Range: bytes=50000-\r\nIf-Range: {}\r\n", first.header("etag"));
        assert_slice(&client.fetch("GET", "/file.bin", &lines), &before, 50_000, 99_999);

        tree.file("file.bin", &after);
        let reply = client.fetch("GET", "/file.bin", &lines).expect(200);
        assert_same(&reply.body, &after, "the new file, whole");
        let lines = format!("Range: bytes=50000-\r\nIf-Match: {}\r\n", first.header("etag"));
        client.fetch("GET", "/file.bin", &lines).expect(412);
        let lines = format!("Range: bytes=50000-\r\nIf-Range: {}\r\n", first.header("last-modified"));
        assert!(client.fetch("GET", "/file.bin", &lines).status == 200, "a date from before it changed");
    }
}
