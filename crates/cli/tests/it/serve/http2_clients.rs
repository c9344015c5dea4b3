//! Real clients over HTTP/2 and within TLS: whole, resumed, cut; and what the ledger says of it.

use std::fs;
use std::io::Read as _;
use std::process::Stdio;

use outflow_testkit::needs;
use outflow_testkit::s3::{Double, Fault, FaultRule};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{
    Authority, Browser, ChildProgram, FileTree, Setup, StoreAccess as _, Transport, assert_same, noise,
    output, program,
};

const BIG: usize = 24 << 20;

fn tree() -> (FileTree, Vec<u8>) {
    let (tree, big) = (FileTree::new(), noise(1, BIG));
    tree.file("big.bin", &big);
    tree.file("small.txt", "small");
    for number in 0..20 {
        tree.file(format!("folder/{number}.bin"), noise(100 + number, 150_000 + 1000 * number as usize));
    }
    (tree, big)
}

#[test]
fn curl_makes_one_receipt_of_each_download_in_every_way() {
    needs!("curl");
    let ((tree, big), authority, folder) = (tree(), Authority::new(), TempDir::new().unwrap());
    for transport in Transport::ALL {
        println!("{transport:?}");
        let server = transport.serve(Setup::of(tree.root()), &authority);
        let to = folder.path().join("to");
        // It closes right behind the last byte: several times, since this is a race that must not
        // be there.
        for number in 0..5 {
            for (path, want) in [("/big.bin", &big[..]), ("/small.txt", b"small")] {
                let mut curl = transport.curl(&authority);
                curl.args(["-A", &format!("curl {number}"), "-o"]).arg(&to);
                output(curl.arg(transport.url(&server, path)));
                assert_same(&fs::read(&to).unwrap(), want, path);
            }
        }
        // Several at the same time, on one connection if there can be one. (This curl asks nothing
        // a second time on one that it began by prior knowledge: its own framing layer fails.)
        if transport == Transport::Http2 {
            server.close().assert_completed(10);
            continue;
        }
        let mut curl = transport.curl(&authority);
        curl.args(["-A", "curl many", "--parallel"]);
        for number in 0..20 {
            curl.arg("-o").arg(folder.path().join(number.to_string()));
            curl.arg(transport.url(&server, &format!("/folder/{number}.bin")));
        }
        output(&mut curl);
        for number in 0..20 {
            let got = fs::read(folder.path().join(number.to_string())).unwrap();
            assert_same(&got, &noise(100 + number, 150_000 + 1000 * number as usize), "one of many");
        }
        let ledger = server.close();
        ledger.assert_completed(30);
        assert_eq!(ledger.counts()["download.started"], 30);
    }
}

#[test]
fn curl_that_was_killed_and_goes_on_makes_one_receipt_in_every_way() {
    needs!("curl");
    let ((tree, big), authority, folder) = (tree(), Authority::new(), TempDir::new().unwrap());
    for transport in Transport::LAYERED {
        println!("{transport:?}");
        let server = transport.serve(Setup::of(tree.root()), &authority);
        let (to, url) = (folder.path().join("to"), transport.url(&server, "/big.bin"));
        for cut in [1, 70_000, 5_000_001] {
            let agent = format!("curl {cut}");
            let mut begun = transport.curl(&authority);
            begun.args(["-A", &agent, "--no-buffer"]).arg(&url).stdout(Stdio::piped());
            let mut child = begun.spawn().unwrap();
            let mut first = vec![0; cut];
            child.stdout.take().unwrap().read_exact(&mut first).unwrap();
            child.kill().unwrap();
            child.wait().unwrap();
            fs::write(&to, first).unwrap();
            output(transport.curl(&authority).args(["-A", &agent, "-C", "-", "-o"]).arg(&to).arg(&url));
            assert_same(&fs::read(&to).unwrap(), &big, &format!("resumed at {cut}"));
        }
        let downloads = server.close().assert_completed(3);
        assert!(downloads.iter().all(|download| download["generation"] == 1), "{downloads:#?}");
    }
}

#[test]
fn wget_and_aria2c_download_and_resume_within_tls() {
    needs!("aria2c", "wget");
    let ((tree, big), authority, folder) = (tree(), Authority::new(), TempDir::new().unwrap());
    let server = Transport::Tls.serve(Setup::of(tree.root()), &authority);
    let url = Transport::Tls.url(&server, "/big.bin");
    let to = folder.path().join("to");
    let wget = || {
        let mut wget = program("wget");
        wget.args(["--no-config", "--no-proxy", "--no-verbose", "--tries=1", "--no-hsts"]);
        wget.arg("--ca-certificate").arg(authority.root()).arg("-O").arg(&to);
        wget
    };
    output(wget().arg(&url));
    assert_same(&fs::read(&to).unwrap(), &big, "wget");
    fs::write(&to, &big[..5_000_001]).unwrap();
    output(wget().arg("-c").arg(&url));
    assert_same(&fs::read(&to).unwrap(), &big, "wget -c");

    let mut aria2c = program("aria2c");
    aria2c.args(["--no-conf", "--quiet", "--file-allocation=none", "-x8", "-s8", "-k1M"]);
    aria2c.arg(format!("--ca-certificate={}", authority.root().display()));
    output(aria2c.arg("-d").arg(folder.path()).args(["-o", "aria"]).arg(&url));
    assert_same(&fs::read(folder.path().join("aria")).unwrap(), &big, "aria2c");
}

const SIZE: usize = 6_000_000;

/// A transfer of one large file and of these small ones.
fn put(double: &Double, id: &str, small: &[(&str, &str)]) -> Vec<u8> {
    let big = noise(5, SIZE);
    let mut files: Vec<Value> = Vec::new();
    let small = small.iter().map(|(name, text)| (*name, text.as_bytes()));
    for (name, bytes) in [("f", &big[..])].into_iter().chain(small) {
        double.put(&format!("p/{id}/{name}"), bytes.to_vec());
        let crc32 = format!("{:08x}", crc32fast::hash(bytes));
        files.push(json!({"name": name, "key": name, "size": bytes.len(), "crc32": crc32}));
    }
    let manifest: Value = json!({"version": 1, "id": id, "created": "2026-11-01T09:30:00Z", "files": files});
    double.put(&format!("p/{id}/manifest.json"), manifest.to_string().into_bytes());
    big
}

/// What the store says from the file's second segment on.
fn deny(double: &Double, id: &str) {
    double.play([FaultRule { skip: 1, ..FaultRule::get(Fault::Denied).key(&format!("p/{id}/f")) }]);
}

#[test]
fn archives_that_their_source_cuts_are_seen_as_failed_in_every_way() {
    needs!("curl", "python3");
    let (authority, folder) = (Authority::new(), TempDir::new().unwrap());
    for transport in Transport::ALL {
        println!("{transport:?}");
        let double = Double::start().unwrap();
        for id in ["a", "b"] {
            put(&double, id, &[]);
        }
        let server = transport.serve(double.access().serve("p"), &authority);
        for (id, path) in [("a", "/t/a/?zip"), ("b", "/t/b/f")] {
            double.calm();
            deny(&double, id);
            let to = folder.path().join("to");
            let mut curl = transport.curl(&authority);
            let ended = ChildProgram::start(curl.arg("-o").arg(&to).arg(transport.url(&server, path)))
                .finish()
                .status;
            // PARTIAL_FILE, RECV_ERROR, HTTP2_STREAM.
            let codes =
                if matches!(transport, Transport::Plain | Transport::Tls) { &[18, 56][..] } else { &[92] };
            assert!(ended.code().is_some_and(|code| codes.contains(&code)), "{path}: {ended}");
            assert!(fs::read(&to).unwrap_or_default().len() < SIZE, "all of {path} came");
            let line = server.log_line(&["\"outcome\":\"failed\"", "AccessDenied"]);
            assert!(line.contains("reason"), "{line}");
            let _ = fs::remove_file(&to);
        }
        if transport == Transport::Tls {
            put(&double, "c", &[]);
            double.calm();
            deny(&double, "c");
            let script = "import ssl, sys, urllib.request, http.client\n\
                context = ssl.create_default_context(cafile=sys.argv[2])\n\
                try:\n    urllib.request.urlopen(sys.argv[1], context=context).read()\n\
                except (http.client.IncompleteRead, OSError) as error:\n    print('failed', type(error).__name__)\n\
                else:\n    print('whole')\n";
            let mut python = program("python3");
            python.args(["-c", script, &transport.url(&server, "/t/c/?zip")]).arg(authority.root());
            assert!(output(&mut python).starts_with("failed"), "Python took it for whole");
        }
        assert_eq!(server.close().counts().get("download.completed").copied().unwrap_or(0), 0);
    }
}

/// What a page makes of bodies: says by what it fetches next whether they came whole, and by which
/// protocol.
const PAGE: &str = "<!doctype html><script>
async function load() {
    const answer = await fetch('./?zip')
    if (!answer.ok) return fetch('odd.txt')
    const archive = await answer.arrayBuffer()
    const file = await (await fetch('f')).arrayBuffer()
    const protocol = performance.getEntriesByName(new URL('f', location).href)[0].nextHopProtocol
    const whole = file.byteLength === 6000000 && archive.byteLength > file.byteLength && protocol === 'h2'
    await fetch(whole ? 'whole.txt' : 'odd.txt')
}
load().catch(() => fetch('failed.txt'))
</script>";

#[test]
fn chromium_gets_files_and_archives_over_http_2_and_sees_when_they_are_cut() {
    needs!("chromium");
    let (authority, double) = (Authority::new(), Double::start().unwrap());
    let small = [("page.html", PAGE), ("whole.txt", "1"), ("failed.txt", "2"), ("odd.txt", "3")];
    for id in ["a", "b"] {
        put(&double, id, &small);
    }
    let server = Transport::TlsHttp2.serve(double.access().serve("p"), &authority);
    let browse = |path: &str| Browser::open(Transport::TlsHttp2.url(&server, path));
    let _browser = browse("/t/a/page.html");
    server.delivery("/t/a/whole.txt", "completed");
    deny(&double, "b");
    let _browser = browse("/t/b/page.html");
    server.delivery("/t/b/failed.txt", "completed");
    assert!(server.deliveries("/t/b/whole.txt").is_empty());
}
