//! Folders as archives: which layout, planned how often, resumed how.

use std::sync::Arc;

use outflow_catalog::RootOptions;
use outflow_server::DownloadOptions;

use crate::help::{Reply, Site, settings};

const FILES: [(&str, &str); 4] =
    [("a.txt", "hello"), ("sub/b.txt", "world"), ("sub/deep/c", ""), ("z", "zzz")];

fn assert_is_zip_of(reply: &Reply, names: &[&str]) {
    assert_eq!(reply.status, 200);
    assert_eq!(reply.header("content-length"), reply.body.len().to_string());
    assert_eq!(reply.archive().into_iter().map(|(name, _)| name).collect::<Vec<_>>(), names);
}

#[tokio::test]
async fn a_folder_is_an_archive_of_its_name() {
    let site = Site::new(&FILES);
    std::fs::create_dir(site.at("empty")).unwrap();
    std::fs::write(site.at(".hidden"), "h").unwrap();
    let reply = site.get("/?zip").await;
    assert_eq!(reply.header("content-type"), "application/zip");
    assert_eq!(reply.header("content-disposition"), "attachment; filename=\"served.zip\"");
    assert_eq!(reply.header("accept-ranges"), "bytes");
    assert_eq!(reply.header("last-modified"), "");
    assert_is_zip_of(&reply, &["a.txt", "empty/", "sub/b.txt", "sub/deep/c", "z"]);
    let sub = site.get("/sub/?zip").await;
    assert_eq!(sub.header("content-disposition"), "attachment; filename=\"sub.zip\"");
    assert_is_zip_of(&sub, &["b.txt", "deep/c"]);
    assert_eq!(site.get("/missing/?zip").await.status, 404);
    assert_eq!(site.get("/a.txt/?zip").await.status, 404);
    assert_eq!(site.get("/a.txt?zip").await.status, 400);
}

#[tokio::test]
async fn the_better_layout_comes_with_the_crcs_and_the_old_one_can_be_continued() {
    let site = Site::new(&FILES);
    let first = site.get("/?zip").await;
    assert_is_zip_of(&first, &["a.txt", "sub/b.txt", "sub/deep/c", "z"]);
    // Its bytes have flowed, so the CRCs are known.
    let second = site.ask("HEAD", "/?zip", &[]).await;
    let (old, new) = (first.header("etag"), second.header("etag"));
    assert_ne!(old, new);
    assert_ne!(first.header("content-length"), second.header("content-length"));

    let rest = site.ask("GET", "/?zip", &[("range", "bytes=100-"), ("if-range", old)]).await;
    assert_eq!((rest.status.as_u16(), rest.header("etag")), (206, old));
    assert_eq!(rest.body, first.body.slice(100..));
    let matched = site.ask("GET", "/?zip", &[("if-match", old)]).await;
    assert_eq!((matched.status.as_u16(), matched.body), (200, first.body.clone()));
    let same = site.ask("GET", "/?zip", &[("if-none-match", old)]).await;
    assert_eq!(same.status, 304);

    let better = site.get("/?zip").await;
    assert_eq!(better.header("etag"), new);
    assert_is_zip_of(&better, &["a.txt", "sub/b.txt", "sub/deep/c", "z"]);
    let rest = site.ask("GET", "/?zip", &[("range", "bytes=7-"), ("if-range", new)]).await;
    assert_eq!((rest.status.as_u16(), rest.body), (206, better.body.slice(7..)));
    let other = site.ask("GET", "/?zip", &[("range", "bytes=7-"), ("if-range", "\"other\"")]).await;
    assert_eq!((other.status.as_u16(), other.body), (200, better.body));
}

#[tokio::test]
async fn a_bare_range_continues_what_this_client_began_even_after_a_restart() {
    let cache = tempfile::tempdir().unwrap();
    let settings = DownloadOptions { cache: Some(cache.path().join("cache")), ..settings() };
    let mut site = Site::with(&FILES, RootOptions::default(), &settings);
    let first = site.get("/?zip").await;
    for restarted in [false, true] {
        if restarted {
            site.restart(&settings);
        }
        let rest = site.ask("GET", "/?zip", &[("range", "bytes=100-")]).await;
        assert_eq!(
            (rest.status.as_u16(), rest.body),
            (206, first.body.slice(100..)),
            "restarted: {restarted}"
        );
        let best = site.ask("HEAD", "/?zip", &[]).await;
        assert_ne!(best.header("etag"), first.header("etag"), "restarted: {restarted}");
    }

    // Others begin with the better layout, and this client as if it never had another one.
    std::fs::remove_file(cache.path().join("cache/layouts-v1")).unwrap();
    site.restart(&settings);
    let better = site.get("/?zip").await;
    assert_ne!(better.header("etag"), first.header("etag"));
    let rest = site.ask("GET", "/?zip", &[("range", "bytes=100-")]).await;
    assert_eq!(rest.body, better.body.slice(100..));

    // Without the CRCs the better layout cannot be made: the client is told to begin anew.
    std::fs::remove_file(cache.path().join("cache/crc32-v1")).unwrap();
    site.restart(&settings);
    for _ in 0..2 {
        assert_unknown(&site.ask("GET", "/?zip", &[("range", "bytes=100-")]).await, "CRC-32s are forgotten");
    }
    // Somebody else makes them known again.
    site.send(from_another("/?zip")).await;
    let rest = site.ask("GET", "/?zip", &[("range", "bytes=100-")]).await;
    assert_eq!((rest.status.as_u16(), rest.body), (206, better.body.slice(100..)));
}

#[tokio::test]
async fn a_bare_range_from_an_address_that_began_with_both_layouts_is_refused() {
    let cache = tempfile::tempdir().unwrap();
    let settings = DownloadOptions { cache: Some(cache.path().to_owned()), ..settings() };
    let mut site = Site::with(&FILES, RootOptions::default(), &settings);
    let bare = [("range", "bytes=100-")];
    // Two who share an address: the one began before the CRC-32s were known, the other one after.
    let one = site.get("/?zip").await;
    assert_eq!(site.ask("GET", "/?zip", &bare).await.body, one.body.slice(100..));
    let other = site.get("/?zip").await;
    assert_ne!(one.header("etag"), other.header("etag"));
    for restarted in [false, true] {
        if restarted {
            site.restart(&settings);
        }
        assert_unknown(&site.ask("GET", "/?zip", &bare).await, "both began");
        // Beginning and looking clear nothing up.
        site.get("/?zip").await;
        site.ask("HEAD", "/?zip", &[]).await;
        assert_eq!(site.ask("GET", "/?zip", &[("range", "bytes=0-9")]).await.status, 206);
        assert_unknown(&site.ask("GET", "/?zip", &bare).await, "one began again");
        for begun in [&one, &other] {
            let tagged = [("range", "bytes=100-"), ("if-range", begun.header("etag"))];
            let rest = site.ask("GET", "/?zip", &tagged).await;
            assert_eq!((rest.status.as_u16(), rest.body), (206, begun.body.slice(100..)));
        }
    }
    // What another address began is not concerned.
    site.send(from_another("/?zip")).await;
    let mut rest = from_another("/?zip");
    rest.headers_mut().insert("range", http::HeaderValue::from_static("bytes=100-"));
    let rest = site.send(rest).await;
    assert_eq!((rest.status.as_u16(), rest.body), (206, other.body.slice(100..)));
}

/// A request from another address than [`Site::ask`] uses.
fn from_another(address: &str) -> http::Request<http_body_util::Full<bytes::Bytes>> {
    let mut other = crate::help::request("GET", address, &[], bytes::Bytes::new());
    other.extensions_mut().insert(outflow_wire::PeerAddr(([10, 0, 0, 2], 5000).into()));
    other
}

#[track_caller]
fn assert_unknown(reply: &Reply, when: &str) {
    assert_eq!((reply.status.as_u16(), reply.header("content-range")), (428, ""), "{when}");
    assert_eq!(reply.header("content-type"), "application/problem+json", "{when}");
    assert!(reply.json()["detail"].as_str().unwrap().contains("Download it again"), "{when}");
}

#[tokio::test]
async fn a_bare_range_that_goes_on_in_an_unknown_layout_is_refused() {
    let mut site = Site::new(&FILES);
    let old = site.get("/?zip").await;
    // Nothing is known any more. However often it is tried, nothing is joined to what the client
    // has.
    site.restart(&settings());
    for range in ["bytes=100-", "bytes=100-199", "bytes=5-5", "bytes=0-0,100-", "bytes=100000-"] {
        assert_unknown(&site.ask("GET", "/?zip", &[("range", range)]).await, range);
    }
    // A range is nothing to HEAD, and that this one has a tag leaves nothing to remember.
    let condition = [("range", "bytes=100-"), ("if-none-match", "\"other\"")];
    let head = site.ask("HEAD", "/?zip", &condition).await;
    assert_eq!((head.status.as_u16(), head.header("etag")), (200, old.header("etag")));
    assert_unknown(&site.ask("GET", "/?zip", &[("range", "bytes=100-")]).await, "after HEAD");
    let tagged = site.ask("GET", "/?zip", &[("range", "bytes=100-"), ("if-range", old.header("etag"))]).await;
    assert_eq!((tagged.status.as_u16(), tagged.body), (206, old.body.slice(100..)));
    // It begins anew.
    let begun = site.get("/?zip").await;
    let rest = site.ask("GET", "/?zip", &[("range", "bytes=100-")]).await;
    assert_eq!((rest.status.as_u16(), rest.body), (206, begun.body.slice(100..)));
}

#[tokio::test]
async fn a_range_that_presumes_nothing_is_a_beginning() {
    for (range, begin) in [("bytes=0-9", 0..10), ("bytes=-10", 0..0)] {
        let site = Site::new(&FILES);
        let part = site.ask("GET", "/?zip", &[("range", range)]).await;
        assert_eq!(part.status, 206, "{range}");
        // The first download makes the CRC-32s known.
        let tag = part.header("etag").to_owned();
        let whole = site.ask("GET", "/?zip", &[("if-match", &tag)]).await;
        assert_ne!(site.ask("HEAD", "/?zip", &[]).await.header("etag"), tag, "{range}");
        let begin = if begin.is_empty() { whole.body.len() - 10..whole.body.len() } else { begin };
        assert_eq!(part.body, whole.body.slice(begin), "{range}");
        let next = site.ask("GET", "/?zip", &[("range", "bytes=10-")]).await;
        assert_eq!((next.status.as_u16(), next.body), (206, whole.body.slice(10..)), "{range}");
    }
}

#[tokio::test]
async fn a_bare_range_fits_what_head_told() {
    let site = Site::new(&FILES);
    for layout in ["streamed", "stored"] {
        let head = site.ask("HEAD", "/?zip", &[]).await;
        for range in ["bytes=100-", "bytes=50-60"] {
            let part = site.ask("GET", "/?zip", &[("range", range)]).await;
            assert_eq!((part.status.as_u16(), part.header("etag")), (206, head.header("etag")), "{layout}");
            let total = part.header("content-range").rsplit('/').next().unwrap();
            assert_eq!(total, head.header("content-length"), "{layout}");
        }
        // All bytes flow, for somebody else.
        assert_is_zip_of(&site.send(from_another("/?zip")).await, &["a.txt", "sub/b.txt", "sub/deep/c", "z"]);
    }
}

#[tokio::test]
async fn crcs_survive_a_restart_and_a_lost_cache_folder_is_no_failure() {
    let cache = tempfile::tempdir().unwrap();
    let mut settings = DownloadOptions { cache: Some(cache.path().to_owned()), ..settings() };
    let mut site = Site::with(&FILES, RootOptions::default(), &settings);
    let streamed = site.get("/?zip").await;
    site.restart(&settings);
    let stored = site.get("/?zip").await;
    assert_ne!(stored.header("etag"), streamed.header("etag"));
    settings.cache = Some(site.at("a.txt").join("below-a-file"));
    site.restart(&settings);
    assert_eq!(site.get("/?zip").await.header("etag"), streamed.header("etag"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sixteen_at_once_walk_once() {
    let settings = DownloadOptions { plan_fresh: std::time::Duration::from_secs(3600), ..settings() };
    let site = Arc::new(Site::with(&FILES, RootOptions::default(), &settings));
    let asking: Vec<_> = (0..16)
        .map(|_| {
            let site = Arc::clone(&site);
            tokio::spawn(async move { site.ask("HEAD", "/?zip", &[]).await.header("etag").to_owned() })
        })
        .collect();
    let mut tags = Vec::new();
    for asked in asking {
        tags.push(asked.await.unwrap());
    }
    tags.dedup();
    assert_eq!((tags.len(), site.service.walks()), (1, 1));
    site.get("/?zip").await;
    site.get("/?zip&file=a.txt").await;
    assert_eq!(site.service.walks(), 2);
}

#[tokio::test]
async fn a_request_that_names_a_plan_walks_no_more() {
    let site = Site::new(&FILES);
    let first = site.get("/?zip").await;
    let walks = site.service.walks();
    for at in 0..10 {
        let range = format!("bytes={at}-{at}");
        let part = site.ask("GET", "/?zip", &[("range", &range), ("if-range", first.header("etag"))]).await;
        assert_eq!((part.status.as_u16(), part.body.as_ref()), (206, &first.body[at..=at]));
    }
    assert_eq!(site.service.walks(), walks);
}

#[tokio::test]
async fn a_change_makes_another_archive() {
    let site = Site::new(&FILES);
    let before = site.ask("HEAD", "/?zip", &[]).await;
    std::fs::write(site.at("z"), "other length").unwrap();
    let after = site.ask("HEAD", "/?zip", &[]).await;
    assert_ne!(before.header("etag"), after.header("etag"));
    let resumed =
        site.ask("GET", "/?zip", &[("range", "bytes=5-"), ("if-range", before.header("etag"))]).await;
    // The plan of before may be continued as long as it is kept, but never with other bytes.
    assert!(matches!(resumed.status.as_u16(), 200 | 206));
    let now = site.get("/?zip").await;
    assert_is_zip_of(&now, &["a.txt", "sub/b.txt", "sub/deep/c", "z"]);
}

#[tokio::test]
async fn a_file_changed_after_planning_cuts_the_archive_and_the_next_one_is_right() {
    use http_body_util::BodyExt as _;
    use tower_service::Service as _;
    let settings = DownloadOptions { plan_fresh: std::time::Duration::from_secs(3600), ..settings() };
    let site = Site::with(&FILES, RootOptions::default(), &settings);
    site.ask("HEAD", "/?zip", &[]).await;
    std::fs::write(site.at("z"), "other length").unwrap();
    let request = crate::help::request("GET", "/?zip", &[], bytes::Bytes::new());
    let response = site.service.clone().call(request).await.unwrap();
    assert!(response.into_body().collect().await.is_err());
    assert_is_zip_of(&site.get("/?zip").await, &["a.txt", "sub/b.txt", "sub/deep/c", "z"]);
}

#[tokio::test]
async fn every_slice_of_both_layouts_is_the_slice_of_the_whole() {
    let site = Site::new(&[("a", "0123456789"), ("b/c", &"x".repeat(70_000)), ("d", "")]);
    for _layout in 0..2 {
        let whole = site.get("/?zip").await;
        let etag = whole.header("etag").to_owned();
        let len = whole.body.len();
        for at in (0..len).step_by(len / 50) {
            let range = format!("bytes={at}-{}", at + 3000);
            let part = site.ask("GET", "/?zip", &[("range", &range), ("if-range", &etag)]).await;
            assert_eq!(part.status, 206);
            assert_eq!(part.body, whole.body.slice(at..(at + 3001).min(len)), "{range}");
        }
    }
}

#[tokio::test]
async fn a_range_into_an_unread_archive_computes_what_it_needs() {
    let files = [("a", "0123456789"), ("b", "abcdefghij")];
    let whole = Site::new(&files);
    let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_700_000_000);
    let same_times = |site: &Site| {
        for (name, _) in files {
            std::fs::File::options().write(true).open(site.at(name)).unwrap().set_modified(time).unwrap();
        }
    };
    same_times(&whole);
    let all = whole.get("/?zip").await;
    let site = Site::new(&files);
    same_times(&site);
    site.ask("HEAD", "/?zip", &[]).await;
    let tail = site.ask("GET", "/?zip", &[("range", "bytes=40-")]).await;
    assert_eq!((tail.status.as_u16(), tail.body), (206, all.body.slice(40..)));
}

#[tokio::test]
async fn links_in_circles_and_out_of_the_folder_are_left_out() {
    use std::os::unix::fs::symlink;
    let site = Site::new(&FILES);
    symlink("..", site.at("sub/up")).unwrap();
    symlink(".", site.at("here")).unwrap();
    symlink("/etc", site.at("etc")).unwrap();
    symlink("a.txt", site.at("link.txt")).unwrap();
    symlink("sub/deep", site.at("link-to-deep")).unwrap();
    let reply = site.get("/?zip").await;
    // A link that goes in circles is a folder without anything in it.
    assert_is_zip_of(
        &reply,
        &["a.txt", "here/", "link-to-deep/c", "link.txt", "sub/b.txt", "sub/deep/c", "sub/up/", "z"],
    );
}
