//! Transfers: their addresses, what is told of them, and what happens when a manifest is not as it
//! should be.

use std::time::Duration;

use outflow_catalog::{Manifest, ManifestFile};
use outflow_server::DownloadOptions;

use crate::help::settings;
use crate::shop::{Shop, in_seconds, manifest};

#[tokio::test]
async fn a_transfer_has_all_addresses_of_a_folder() {
    let shop = Shop::new();
    shop.publish(&manifest("abc", &["a.txt", "sub/b.txt", "sub/deep/c", "z"]));

    let redirect = shop.get("/t/abc?json").await;
    assert_eq!((redirect.status.as_u16(), redirect.header("location")), (308, "/t/abc/?json"));
    let redirect = shop.get("/t/abc/sub?zip").await;
    assert_eq!((redirect.status.as_u16(), redirect.header("location")), (308, "/t/abc/sub/?zip"));

    let json = shop.get("/t/abc/?json").await.json();
    assert_eq!((json["path"].as_str(), json["archive"].as_str()), (Some("/t/abc/"), Some("/t/abc/?zip")));
    assert_eq!((json["id"].as_str(), json["name"].as_str()), (Some("abc"), Some("abc")));
    assert_eq!((json["files"].as_u64(), json["bytes"].as_u64()), (Some(4), Some(25)));
    assert_eq!(json["created"].as_str(), Some("2023-11-14T22:13:20Z"));
    assert!(json["title"].is_null() && json["message"].is_null() && json["expires"].is_null());
    let names: Vec<_> = json["entries"].as_array().unwrap().iter().map(|entry| &entry["name"]).collect();
    assert_eq!(names, ["a.txt", "sub", "z"]);
    assert!(json["entries"][1].get("modified").is_none(), "the time of a folder is unknown");
    let below = shop.get("/t/abc/sub/?json").await.json();
    assert_eq!((below["path"].as_str(), below.get("id")), (Some("/t/abc/sub/"), None));
    assert_eq!(below["entries"][1]["href"].as_str(), Some("deep/"));

    let file = shop.head("/t/abc/sub/b.txt").await;
    assert_eq!((file.status.as_u16(), file.header("content-length")), (200, "9"));
    assert_eq!(file.header("content-type"), "text/plain; charset=utf-8");
    assert_eq!(file.header("last-modified"), "Tue, 14 Nov 2023 22:13:20 GMT");
    assert_eq!(below["entries"][0]["etag"].as_str(), Some(file.header("etag")));
    let saved = shop.head("/t/abc/z?download").await;
    assert_eq!(saved.header("content-disposition"), "attachment; filename=\"z\"");
    let same = shop.ask("GET", "/t/abc/sub/b.txt", &[("if-none-match", file.header("etag"))]).await;
    assert_eq!(same.status, 304);

    for (target, status) in [
        ("/t/abc/no", 404),
        ("/t/abc/sub/b.txt/", 404),
        ("/t/abc/a.txt/x", 404),
        ("/t/abc//", 404),
        ("/t/abc/../abc/z", 400),
        ("/t/abc/a.txt?zip", 400),
        ("/t/abc/manifest.json", 404),
        ("/t/abc/files/a.txt", 404),
        ("/t/abc/?zip&file=no", 404),
    ] {
        assert_eq!(shop.get(target).await.status, status, "{target}");
    }
    let allow = shop.ask("OPTIONS", "/t/abc/?zip", &[]).await;
    assert_eq!((allow.status.as_u16(), allow.header("allow")), (204, "GET, HEAD, OPTIONS, POST"));
    assert_eq!(shop.ask("DELETE", "/t/abc/z", &[]).await.status, 405);
}

#[tokio::test]
async fn an_archive_is_stored_at_once_if_the_manifest_has_the_crcs() {
    let shop = Shop::new();
    let mut made = manifest("abc", &["a.txt", "sub/b.txt", "z"]);
    made.title = Some("Holiday / photos".to_owned());
    shop.publish(&made);
    let stored = |names: &[&str]| {
        let each = names.iter().map(|name| 30 + 9 + 46 + 9 + 2 * name.len() + name.len());
        (each.sum::<usize>() + 22).to_string()
    };
    let whole = shop.head("/t/abc/?zip").await;
    assert_eq!(whole.header("content-length"), stored(&["a.txt", "sub/b.txt", "z"]));
    assert!(whole.header("content-disposition").starts_with("attachment; filename=\"Holiday _ photos.zip\""));
    let some = shop.post("/t/abc/?zip", "file=z&file=sub%2F").await;
    assert_eq!((some.status.as_u16(), some.header("location")), (303, "/t/abc/?zip&file=sub/&file=z"));
    let some = shop.head("/t/abc/?zip&file=sub/&file=z").await;
    assert_eq!(some.header("content-length"), stored(&["sub/b.txt", "z"]));
    let all = shop.post("/t/abc/?zip", "file=z&file=sub&file=a.txt").await;
    assert_eq!(all.header("location"), "/t/abc/?zip");
    // Names begin below the folder; the bytes are those of the whole name here.
    let part = shop.head("/t/abc/sub/?zip").await.header("content-length").parse::<usize>().unwrap();
    assert_eq!(part, stored(&["b.txt"]).parse::<usize>().unwrap() + "sub/".len());

    // The same on another node, and another as soon as a file is another.
    let other = Shop::new();
    other.publish(&made);
    assert_eq!(other.head("/t/abc/?zip").await.header("etag"), whole.header("etag"));
    let file = shop.head("/t/abc/z").await;
    assert_eq!(other.head("/t/abc/z").await.header("etag"), file.header("etag"));
    made.files[2].crc32 = Some(7);
    other.publish(&made);
    assert_ne!(other.head("/t/abc/?zip").await.header("etag"), whole.header("etag"));
    assert_ne!(other.head("/t/abc/z").await.header("etag"), file.header("etag"));

    // Without a CRC-32 it is the streamed layout: 5 bytes of framing and a descriptor more.
    made.files[2].crc32 = None;
    other.publish(&made);
    let streamed = stored(&["a.txt", "sub/b.txt", "z"]).parse::<usize>().unwrap() + 3 * (5 + 16);
    assert_eq!(other.head("/t/abc/?zip").await.header("content-length"), streamed.to_string());
}

#[tokio::test]
async fn what_a_file_is_like_is_told_by_the_manifest() {
    let shop = Shop::new();
    let mut made = manifest("abc", &["a", "b", "c", "d"]);
    made.files[0].media_type = Some("image/png".to_owned());
    made.files[0].etag = Some("\"x\"".to_owned());
    made.files[1].modified = None;
    (made.files[2].crc32, made.files[2].etag) = (None, Some("W/\"x\"".to_owned()));
    (made.files[3].crc32, made.files[3].modified) = (None, None);
    shop.publish(&made);
    let heads = [shop.head("/t/abc/a").await, shop.head("/t/abc/b").await];
    assert_eq!(heads[0].header("content-type"), "image/png");
    assert_eq!(heads[0].header("etag").len(), 34);
    assert_eq!(heads[1].header("content-type"), "application/octet-stream");
    assert_eq!(heads[1].header("last-modified"), "");
    // A weak tag of the store says nothing of bytes; nor is there a tag where nothing is known.
    assert_eq!(shop.head("/t/abc/c").await.header("etag"), "\"1-17979cfe362a0000\"");
    assert_eq!(shop.head("/t/abc/d").await.header("etag"), "");
}

#[tokio::test]
async fn a_client_that_does_not_know_an_address_finds_nothing() {
    let shop = Shop::new();
    shop.publish(&manifest("secret-id", &["a"]));
    shop.put("no-manifest/a", "a");
    for target in
        ["/t/other", "/t/other/", "/t/no-manifest/", "/t/", "/t", "/x", "/t/a.b/", "/t/%2e%2e/", "/t/"]
    {
        let reply = shop.page(target).await;
        assert_eq!(reply.status, 404, "{target}");
        assert!(!reply.text().contains("To the folder"), "{target}");
    }
    assert_eq!(shop.get(&format!("/t/{}/", "x".repeat(65))).await.status, 404);
    let top = shop.page("/").await;
    assert_eq!((top.status.as_u16(), top.header("content-type")), (200, "text/html; charset=utf-8"));
    assert!(top.text().contains("Outflow") && !top.text().contains("secret-id"));
    assert_eq!(shop.ask("OPTIONS", "*", &[]).await.status, 204);
    assert_eq!(shop.ask("POST", "/", &[]).await.status, 405);
}

#[tokio::test]
async fn an_expired_transfer_is_gone_from_that_moment_on() {
    let shop = Shop::new();
    let mut made = manifest("abc", &["a"]);
    made.expires = Some(in_seconds(2));
    shop.publish(&made);
    assert_eq!(shop.head("/t/abc/a").await.status, 200);
    shop.await_head("/t/abc/a", 200, 410).await;
    for target in ["/t/abc", "/t/abc/", "/t/abc/a", "/t/abc/?zip", "/t/abc/no"] {
        let gone = shop.get(target).await;
        assert_eq!(gone.status, 410, "{target}");
        assert!(gone.json()["detail"].as_str().unwrap().contains("publish it again"), "{}", gone.text());
    }
}

#[tokio::test]
async fn a_broken_manifest_is_a_502_that_gives_nothing_away() {
    let shop = Shop::new();
    let wrong =
        r#"{"version":1,"id":"b","created":"2026-01-01T00:00:00Z","files":[{"name":"../private","size":1}]}"#;
    for (id, json) in [("a", "{"), ("b", wrong), ("c", ""), ("d", r#"{"version":2}"#), ("e", "\u{0}\u{ff}")] {
        shop.put(&format!("{id}/manifest.json"), json);
        for target in [format!("/t/{id}/"), format!("/t/{id}/x"), format!("/t/{id}")] {
            let reply = shop.get(&target).await;
            assert_eq!(reply.status, 502, "{target}");
            let text = reply.text();
            assert!(text.contains("manifest is damaged"), "{text}");
            assert!(!text.contains("private") && !text.contains("store"), "{text}");
        }
    }
    // Mended, it is served.
    shop.publish(&manifest("b", &["fine"]));
    assert_eq!(shop.head("/t/b/fine").await.status, 200);
}

#[tokio::test]
async fn hostile_words_are_shown_and_do_nothing() {
    let shop = Shop::new();
    let mut made = manifest("abc", &["<img src=x onerror=alert(1)>", "a\u{202e}gpj.exe", "\"'&.txt"]);
    made.title = Some("<script>alert(1)</script>\u{202e}".to_owned());
    made.message = Some("first & <b>bold</b>\r\n\r\nthird\n\"><script src=//x></script>".to_owned());
    made.expires = Some(in_seconds(3_600));
    shop.publish(&made);
    let page = shop.page("/t/abc/").await;
    let text = page.text();
    assert_eq!(page.status, 200);
    assert!(!text.contains("<script") && !text.contains("<img") && !text.contains("<b>"), "{text}");
    assert!(text.contains(">a\u{fffd}gpj.exe</a>"), "{text}");
    assert!(text.contains("&lt;script&gt;alert(1)&lt;/script&gt;\u{fffd}</h1>"), "{text}");
    assert!(text.contains("first &amp; &lt;b&gt;bold&lt;/b&gt;<br><br>third<br>"), "{text}");
    assert!(text.contains("3 files, ") && text.contains("available until "), "{text}");
    assert!(page.header("content-security-policy").contains("default-src 'none'"));
    let json = shop.get("/t/abc/?json").await.json();
    assert_eq!(json["title"].as_str(), made.title.as_deref());
    assert_eq!(json["message"].as_str(), made.message.as_deref());
    // A message belongs to the top.
    assert!(!shop.page("/t/abc/?zip&file=no").await.text().contains("bold"));
}

#[tokio::test]
async fn names_of_a_manifest_are_names_and_nothing_else() {
    let shop = Shop::new();
    let long = "n".repeat(255);
    let odd = [
        "...",
        "a?b#c",
        "CON",
        "é/😀",
        " ",
        "-",
        "%2e%2e",
        ".hidden",
        "a:b*c|d",
        &long,
        "x/../y".trim_start_matches("x/../"),
    ];
    shop.publish(&manifest("abc", &odd));
    let json = shop.get("/t/abc/?json").await.json();
    let entries = json["entries"].as_array().unwrap();
    assert_eq!(entries.len(), odd.len());
    for entry in entries.iter().filter(|entry| entry["type"] == "file") {
        let target = format!("/t/abc/{}", entry["href"].as_str().unwrap());
        let head = shop.head(&target).await;
        assert_eq!(
            (head.status.as_u16(), head.header("etag")),
            (200, entry["etag"].as_str().unwrap()),
            "{target}"
        );
    }
    assert_eq!(shop.head("/t/abc/%C3%A9/%F0%9F%98%80").await.status, 200);
    assert_eq!(shop.head("/t/abc/?zip").await.status, 200);
}

#[tokio::test]
async fn a_hundred_thousand_files_are_listed_and_laid_out() {
    let shop = Shop::with(&DownloadOptions { manifest_fresh: Duration::from_secs(60), ..settings() });
    let mut made = manifest("big", &[]);
    made.files = (0..100_000)
        .map(|number| ManifestFile {
            name: format!("folder {:02}/file {number:06}.bin", number % 50),
            key: format!("files/{number}"),
            size: 1_000 + number % 1_000,
            modified: Some(1_700_000_000_000_000_000),
            crc32: Some(number as u32),
            etag: Some(format!("\"{number:032x}\"")),
            ..ManifestFile::default()
        })
        .collect();
    shop.put(&Manifest::key_of("big"), made.to_json());
    let began = std::time::Instant::now();
    let json = shop.get("/t/big/?json").await.json();
    assert_eq!((json["files"].as_u64(), json["bytes"].as_u64()), (Some(100_000), Some(made.bytes())));
    assert_eq!(json["entries"].as_array().unwrap().len(), 50);
    let one = shop.get("/t/big/folder%2007/?json").await.json();
    assert_eq!(one["entries"].as_array().unwrap().len(), 2_000);
    let head = shop.head("/t/big/?zip").await;
    // Names of 25 bytes, all in one ZIP64 directory.
    let entries = 100_000 * (30 + 25 + 9 + 46 + 25 + 9);
    assert_eq!(head.header("content-length"), (entries + made.bytes() + 22 + 76).to_string());
    assert_eq!(shop.head("/t/big/folder%2007/file%20000007.bin").await.header("content-length"), "1007");
    assert!(shop.page("/t/big/").await.text().contains("100,000 files"));
    assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());

    // It is kept: the store is not asked again.
    std::fs::remove_file(shop.at("big/manifest.json")).unwrap();
    assert_eq!(shop.head("/t/big/?zip").await.header("etag"), head.header("etag"));
}

#[tokio::test]
async fn a_manifest_is_looked_at_again_and_nothing_is_known_for_long() {
    let shop = Shop::with(&DownloadOptions { manifest_fresh: Duration::from_secs(1), ..settings() });
    assert_eq!(shop.get("/t/abc/").await.status, 404);
    shop.publish(&manifest("abc", &["a"]));
    // That there was nothing is believed for a moment.
    assert_eq!(shop.get("/t/abc/").await.status, 404);
    shop.await_head("/t/abc/a", 404, 200).await;
    shop.publish(&manifest("abc", &["b"]));
    assert_eq!(shop.head("/t/abc/a").await.status, 200);
    shop.await_head("/t/abc/a", 200, 404).await;
    assert_eq!(shop.head("/t/abc/b").await.status, 200);
    std::fs::remove_file(shop.at("abc/manifest.json")).unwrap();
    shop.await_head("/t/abc/b", 200, 404).await;
}

#[tokio::test]
async fn a_store_that_fails_is_not_the_end_of_what_is_known() {
    let shop = Shop::new();
    shop.publish(&manifest("abc", &["a"]));
    assert_eq!(shop.head("/t/abc/a").await.status, 200);
    // The manifest cannot be read any more, which is not the same as being gone.
    std::fs::remove_file(shop.at("abc/manifest.json")).unwrap();
    std::fs::create_dir(shop.at("abc/manifest.json")).unwrap();
    std::fs::rename(shop.at("abc"), shop.at("kept")).unwrap();
    std::os::unix::fs::symlink("abc", shop.at("abc")).unwrap();
    let known = shop.head("/t/abc/a").await;
    let unknown = shop.head("/t/kept/a").await;
    assert_eq!(
        (known.status.as_u16(), unknown.status.is_server_error() || unknown.status == 404),
        (200, true)
    );
}
