//! Addresses that try to leave the folder, or that name what is not a file.

use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;

use outflow_catalog::RootOptions;

use crate::help::{Site, settings};

#[tokio::test]
async fn bad_addresses_get_the_right_status() {
    let site = Site::new(&[("a.txt", "a"), ("sub/b.txt", "b"), (".hidden", "h"), ("sub/.git/config", "c")]);
    std::fs::write(site.outside("secret"), "s").unwrap();
    for (address, status) in [
        ("/a.txt", 200),
        ("/sub/b.txt", 200),
        ("/sub/", 200),
        ("/sub", 308),
        ("/missing", 404),
        ("/a.txt/", 404),
        ("/a.txt/x", 404),
        ("/sub/missing/x", 404),
        ("/.hidden", 404),
        ("/sub/.git/config", 404),
        ("/..", 400),
        ("/../secret", 400),
        ("/sub/../a.txt", 400),
        ("/./a.txt", 400),
        ("/%2e%2e/secret", 400),
        ("/%2E%2e%2fsecret", 400),
        ("/sub%2fb.txt", 400),
        ("/a.txt%00", 400),
        ("/..%5csecret", 400),
        ("/a%5c", 400),
        ("/%252e%252e/secret", 404),
        ("/%zz", 400),
        ("/a.txt%", 400),
        ("//", 404),
        ("//a.txt", 404),
        ("/sub//b.txt", 404),
        ("/sub//", 404),
    ] {
        let reply = site.get(address).await;
        assert_eq!(reply.status, status, "{address}");
        if status >= 400 {
            assert_eq!(reply.header("content-type"), "application/problem+json", "{address}");
            assert_eq!(reply.json()["status"], status, "{address}");
        }
        assert_eq!(site.ask("HEAD", address, &[]).await.status, status, "HEAD {address}");
    }
    let long = format!("/{}", "x".repeat(256));
    assert_eq!(site.get(&long).await.status, 404);
    let deep = "/d".repeat(10_000);
    assert_eq!(site.get(&deep).await.status, 404);
}

#[tokio::test]
async fn a_file_whose_name_looks_like_an_escape_is_reached_by_encoding_it_again() {
    let site = Site::new(&[("%2e", "percent")]);
    assert_eq!(site.get("/%252e").await.text(), "percent");
    assert_eq!(site.get("/%2e").await.status, 400);
}

#[tokio::test]
async fn links_inside_work_and_links_out_are_refused() {
    let site = Site::new(&[("a.txt", "a"), ("sub/b.txt", "b")]);
    std::fs::write(site.outside("secret"), "s").unwrap();
    symlink("a.txt", site.at("inside")).unwrap();
    symlink("..", site.at("sub/up")).unwrap();
    symlink(site.at("a.txt"), site.at("absolute")).unwrap();
    symlink("../secret", site.at("out")).unwrap();
    symlink(site.outside("secret"), site.at("absolute-out")).unwrap();
    symlink(site.outside(""), site.at("folder-out")).unwrap();
    symlink("/proc/self/root", site.at("magic")).unwrap();
    symlink("loop", site.at("loop")).unwrap();
    symlink("gone", site.at("dangling")).unwrap();
    for (address, status) in [
        ("/inside", 200),
        ("/absolute", 200),
        ("/sub/up/a.txt", 200),
        ("/sub/up/sub/up/sub/b.txt", 200),
        ("/out", 403),
        ("/absolute-out", 403),
        ("/folder-out/secret", 403),
        ("/folder-out/", 403),
        ("/magic/etc/passwd", 403),
        ("/loop", 403),
        ("/dangling", 404),
    ] {
        assert_eq!(site.get(address).await.status, status, "{address}");
    }
}

#[tokio::test]
async fn links_out_work_when_they_are_allowed() {
    let options = RootOptions { follow_symlinks: true, hidden: false };
    let site = Site::with(&[("a.txt", "a")], options, &settings());
    std::fs::write(site.outside("secret"), "s").unwrap();
    symlink("../secret", site.at("out")).unwrap();
    assert_eq!(site.get("/out").await.text(), "s");
    assert_eq!(site.get("/../secret").await.status, 400);
    assert_eq!(site.get("/%2e%2e/secret").await.status, 400);
}

#[tokio::test]
async fn sockets_fifos_and_devices_are_refused_without_being_touched() {
    let site = Site::new(&[]);
    let _socket = UnixListener::bind(site.at("socket")).unwrap();
    let status = std::process::Command::new("mkfifo").arg(site.at("fifo")).status().unwrap();
    assert!(status.success());
    symlink("/dev/zero", site.at("device")).unwrap();
    for address in ["/socket", "/fifo", "/device"] {
        assert_eq!(site.get(address).await.status, 403, "{address}");
    }
    assert_eq!(site.get("/?json").await.json()["entries"], serde_json::json!([]));
    assert_eq!(site.get("/?zip").await.status, 200);
}

#[tokio::test]
async fn strange_names_are_served() {
    let site = Site::new(&[]);
    let mut names: Vec<Vec<u8>> = [
        &b"a b"[..],
        b"\"quotes'\"",
        b"new\nline",
        b"\x01\x1b[2J",
        b"inv\xff\xfe",
        b"#?&=;%",
        b"a:b",
        b"-rf",
    ]
    .iter()
    .map(|name| name.to_vec())
    .collect();
    names.push("😀 éñ".as_bytes().to_vec());
    names.push(vec![b'n'; 255]);
    for name in &names {
        std::fs::write(site.at_raw(name), name).unwrap();
    }
    let listing = site.get("/?json").await.json();
    let entries = listing["entries"].as_array().unwrap();
    assert_eq!(entries.len(), names.len());
    names.sort();
    for (entry, name) in entries.iter().zip(&names) {
        assert_eq!(entry["name"], String::from_utf8_lossy(name).as_ref());
        let reply = site.get(&format!("/{}", entry["href"].as_str().unwrap())).await;
        assert_eq!((reply.status.as_u16(), reply.body.as_ref()), (200, name.as_slice()), "{name:?}");
    }
}

#[tokio::test]
async fn methods_are_answered_or_refused_with_allow() {
    let site = Site::new(&[("a", "a")]);
    for (method, target, status, allow) in [
        ("OPTIONS", "/", 204, "GET, HEAD, OPTIONS"),
        ("OPTIONS", "/?zip", 204, "GET, HEAD, OPTIONS, POST"),
        ("OPTIONS", "/a", 204, "GET, HEAD, OPTIONS"),
        ("OPTIONS", "*", 204, "GET, HEAD, OPTIONS, POST"),
        ("DELETE", "/a", 405, "GET, HEAD, OPTIONS"),
        ("PUT", "/b", 405, "GET, HEAD, OPTIONS"),
        ("POST", "/", 405, "GET, HEAD, OPTIONS"),
        ("POST", "/a?zip", 405, "GET, HEAD, OPTIONS"),
        ("BREW", "/?zip", 405, "GET, HEAD, OPTIONS, POST"),
    ] {
        let reply = site.ask(method, target, &[]).await;
        assert_eq!((reply.status.as_u16(), reply.header("allow")), (status, allow), "{method} {target}");
    }
}

#[tokio::test]
async fn a_single_file_is_served_alone() {
    let site = Site::new(&[("one.txt", "1"), ("two.txt", "2")]);
    let root = outflow_catalog::Root::new(&site.at("one.txt"), RootOptions::default()).unwrap();
    let mut alone = site;
    alone.service = outflow_server::DownloadService::folder(root, &settings());
    assert_eq!(alone.get("/one.txt").await.text(), "1");
    assert_eq!(alone.get("/two.txt").await.status, 404);
    assert_eq!(alone.get("/?json").await.json()["entries"].as_array().unwrap().len(), 1);
    assert_eq!(
        alone.get("/?zip").await.header("content-disposition"),
        "attachment; filename=\"one.txt.zip\""
    );
}
