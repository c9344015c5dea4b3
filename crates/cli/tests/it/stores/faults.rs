//! Stores that do not have what they should, or stop in the middle: nobody gets a wrong byte, and
//! the log says why.

use std::net::TcpListener;

use outflow_catalog::{StoreOptions, open_store};
use outflow_server::{DownloadOptions, DownloadService};
use outflow_testkit::s3::{At, Double, Fault, FaultRule, StoredObject, pattern};
use serde_json::{Value, json};

use crate::support::{HttpClient, Random, Server, StoreAccess as _, assert_same, noise, until};

const SIZE: usize = 6_000_000;

/// What a manifest says of the one file, and what is there.
struct Lie {
    object: Option<Vec<u8>>,
    size: usize,
    crc32: Option<u32>,
}

fn put(double: &Double, id: &str, lie: Lie) {
    if let Some(object) = lie.object {
        double.put(&format!("p/{id}/f"), object);
    }
    let mut file = json!({"name": "f", "key": "f", "size": lie.size});
    if let Some(crc32) = lie.crc32 {
        file["crc32"] = format!("{crc32:08x}").into();
    }
    let manifest: Value = json!({"version": 1, "id": id, "created": "2026-11-01T09:30:00Z", "files": [file]});
    double.put(&format!("p/{id}/manifest.json"), manifest.to_string().into_bytes());
}

fn put_right(double: &Double, id: &str) -> Vec<u8> {
    let bytes = noise(5, SIZE);
    let crc32 = Some(crc32fast::hash(&bytes));
    put(double, id, Lie { object: Some(bytes.clone()), size: SIZE, crc32 });
    bytes
}

/// Asks, and returns what comes of the body; true if it is all of it.
fn take(server: &Server, path: &str) -> (u16, Vec<u8>, bool) {
    let mut client = server.client();
    let Ok(head) = client.request("GET", path, "").try_head() else { return (0, Vec::new(), false) };
    let (mut body, mut piece) = (Vec::new(), vec![0; 65536]);
    let length = head.length() as usize;
    while body.len() < length {
        match client.read(&mut piece) {
            Ok(n) if n > 0 => body.extend_from_slice(&piece[..n]),
            _ => return (head.status, body, false),
        }
    }
    (head.status, body, true)
}

/// A download of `path` does not end well, and the log says why. Returns what came.
#[track_caller]
fn assert_fails(server: &Server, path: &str, why: &str) -> Vec<u8> {
    let (status, body, whole) = take(server, path);
    assert!(!whole || status >= 500, "{status}, {} bytes", body.len());
    let line = server.log_line(&["\"outcome\":\"failed\"", why]);
    assert!(line.contains("reason"), "{line}");
    if whole { Vec::new() } else { body }
}

fn assert_secret_is_kept(server: &Server) {
    for secret in [Double::SECRET_KEY, Double::ACCESS_KEY, "X-Amz-Signature", "X-Amz-Credential"] {
        assert!(!server.log().iter().any(|line| line.contains(secret)), "the log has {secret}");
    }
}

#[test]
fn what_a_manifest_promises_and_the_store_does_not_have_is_no_download() {
    let double = Double::start().unwrap();
    let (bytes, right) = (noise(5, SIZE), Some(crc32fast::hash(&noise(5, SIZE))));
    put(&double, "missing", Lie { object: None, size: SIZE, crc32: right });
    put(&double, "shorter", Lie { object: Some(bytes[..SIZE - 10].to_vec()), size: SIZE, crc32: right });
    put(&double, "longer", Lie { object: Some(bytes.clone()), size: SIZE - 10, crc32: right });
    put(&double, "other", Lie { object: Some(bytes.clone()), size: SIZE, crc32: Some(7) });
    // Bytes that nobody sees are not checked.
    let server = double.access().serve("p").arg("--no-sendfile").start();
    for path in ["f", "?zip"] {
        assert_fails(&server, &format!("/t/missing/{path}"), "does not have it");
        assert_fails(&server, &format!("/t/shorter/{path}"), "5999990");
        assert_fails(&server, &format!("/t/longer/{path}"), "6000000");
    }
    let came = assert_fails(&server, "/t/other/f", "00000007 was promised");
    assert!(came.len() < SIZE);
    assert_same(&came, &bytes[..came.len()], "what came");
    assert_secret_is_kept(&server);
}

#[test]
fn access_that_ends_in_the_middle_cuts_the_download_and_one_that_comes_back_does_not() {
    let double = Double::start().unwrap();
    let bytes = put_right(&double, "a");
    let server = double.access().serve("p").start();
    server.get("/t/a/?json").expect(200);
    double.play([FaultRule::get(Fault::Expired).key("p/a/f").times(2)]);
    assert_same(&server.get("/t/a/f").expect(200).body, &bytes, "f");
    double.play([FaultRule { skip: 1, ..FaultRule::get(Fault::Denied).key("p/a/f") }]);
    let came = assert_fails(&server, "/t/a/f", "refuses access (403): AccessDenied");
    assert!((1..SIZE).contains(&came.len()), "{}", came.len());
    assert_same(&came, &bytes[..came.len()], "what came");
    double.calm();
    let rest = server.fetch("GET", "/t/a/f", &format!("Range: bytes={}-\r\n", came.len())).expect(206);
    assert_same(&rest.body, &bytes[came.len()..], "the rest");
    assert_secret_is_kept(&server);
}

#[test]
fn a_manifest_that_comes_wrong_once_is_read_again() {
    let double = Double::start().unwrap();
    let manifest = |id: &str| format!("p/{id}/manifest.json");
    let server = double.access().serve("p").start();
    for (id, fault) in [
        ("a", Fault::Long { extra: 100 }),
        ("b", Fault::Short { missing: 10 }),
        ("c", Fault::Junk { extra: 100 }),
        ("d", Fault::Expired),
        ("e", Fault::Error500),
        ("f", Fault::Close { at: At::Share(0.5) }),
    ] {
        let bytes = put_right(&double, id);
        double.play([FaultRule::get(fault).key(&manifest(id)).times(1)]);
        assert_same(&server.get(&format!("/t/{id}/f")).expect(200).body, &bytes, id);
        assert_eq!(double.stats().all_faults(), 1, "{id}");
        double.reset_stats();
    }
    // Nor is it for ever if it comes wrong again and again: that the store says "not modified" does
    // not help it.
    let bytes = put_right(&double, "g");
    double.play([FaultRule::get(Fault::Long { extra: 100 }).key(&manifest("g"))]);
    server.get("/t/g/f").expect(502);
    double.calm();
    let reply = until("the manifest is read again", || {
        let reply = server.get("/t/g/f");
        (reply.status == 200).then_some(reply)
    });
    assert_same(&reply.body, &bytes, "g");
}

#[test]
fn a_store_that_falls_silent_is_asked_again() {
    let double = Double::start().unwrap();
    let bytes = put_right(&double, "a");
    let server = double.access().serve("p").start();
    double.play([FaultRule::get(Fault::Stall { at: At::Share(0.5), ms: None }).key("p/a/f").nth(1)]);
    assert_same(&server.get("/t/a/f").expect(200).body, &bytes, "f");
    assert!(double.stats().all_faults() >= 1);
}

#[test]
fn a_store_that_is_gone_is_a_download_that_fails() {
    let double = Double::start().unwrap();
    put_right(&double, "a");
    let server = double.access().serve("p").start();
    server.get("/t/a/?json").expect(200);
    drop(double);
    assert_eq!(assert_fails(&server, "/t/a/f", "cannot connect to the store").len(), 0);
}

#[test]
fn flipped_bits_never_pass_for_a_whole_file() {
    let double = Double::start().unwrap();
    let bytes = put_right(&double, "a");
    let server = double.access().serve("p").arg("--no-sendfile").start();
    server.get("/t/a/?json").expect(200);
    let mut random = Random::new(1);
    let (mut completed, mut cut) = (0, 0);
    for _ in 0..60 {
        let at = At::Byte(random.below(1 << 20));
        double.play([FaultRule::get(Fault::FlipBit { at }).key("p/a/f").nth(1 + random.below(8))]);
        for path in ["/t/a/f", "/t/a/?zip"] {
            let (status, body, whole) = take(&server, path);
            if whole && status == 200 {
                completed += 1;
                // In the archive it is behind its header, which says how long it is.
                let len = |at: usize| usize::from(u16::from_le_bytes([body[at], body[at + 1]]));
                let from = if path == "/t/a/f" { 0 } else { 30 + len(26) + len(28) };
                assert_same(&body[from..from + SIZE], &bytes, path);
            } else {
                cut += 1;
            }
        }
    }
    assert!(completed > 30 && cut > 10, "{completed} {cut}");
}

#[test]
fn a_replaced_object_ends_its_download_and_the_next_one_gets_the_new_bytes() {
    let double = Double::start().unwrap();
    let (old, size) = (noise(5, 30_000_000), 30_000_000);
    double.put("p/f", old.clone());
    let server = double.access().serve("p").arg("--plain").start();
    let mut client = HttpClient::connect_narrow(server.addr, 4096);
    let head = client.request("GET", "/f", "").head().expect(200);
    let mut came = client.take(1_000_000).unwrap();
    let before = head.header("etag").to_owned();
    double.replace("p/f").unwrap();
    let mut piece = vec![0; 65536];
    while let Ok(n @ 1..) = client.read(&mut piece) {
        came.extend_from_slice(&piece[..n]);
    }
    assert!(came.len() < size, "all of it came");
    assert_same(&came, &old[..came.len()], "what came");
    server.log_line(&["\"outcome\":\"failed\"", "was changed"]);
    let new = double.bytes("p/f").unwrap();
    let lines = format!("Range: bytes={}-\r\nIf-Range: {before}\r\n", came.len());
    let again = until("the new bytes are served", || {
        let head = server.fetch("HEAD", "/f", "");
        (head.status == 200 && head.header("etag") != before).then(|| server.fetch("GET", "/f", &lines))
    });
    let again = again.expect(200);
    assert_same(&again.body, &new, "the new bytes");
}

#[test]
fn what_nobody_has_to_see_is_spliced() {
    const LEN: u64 = 64 << 20;
    let double = Double::builder().anonymous().start().unwrap();
    double.put("p/f", StoredObject::pattern(3, LEN));
    let manifest = json!({"version": 1, "id": "a", "created": "2026-11-01T09:30:00Z",
        "files": [{"name": "f", "key": "f", "size": LEN}]});
    double.put("p/a/manifest.json", manifest.to_string().into_bytes());
    double.put("p/a/f", StoredObject::pattern(3, LEN));
    let store = open_store(&format!("{}/{}/p", double.endpoint(), Double::BUCKET), &StoreOptions::default());
    let service = DownloadService::transfers(store.unwrap(), &DownloadOptions::default());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let server = outflow_wire::Server::new(outflow_wire::ServerOptions::default());
    let (counters, handle) = (server.counters(), server.handle());
    let serving = std::thread::spawn(move || server.run([listener], 1, service));
    let mut client = HttpClient::connect(addr);
    let length = client.request("GET", "/t/a/f", "").head().expect(200).length();
    let mut at = 0;
    client
        .pour(length, |bytes| {
            assert_same(bytes, &pattern(3, at, bytes.len()), "f");
            at += bytes.len() as u64;
        })
        .unwrap();
    assert_eq!(at, LEN);
    assert!(counters.body.of(outflow_wire::SendPath::Splice).get() > LEN / 10 * 9, "{counters:?}");
    drop(client);
    handle.stop();
    serving.join().unwrap().unwrap();
}
