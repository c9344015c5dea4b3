//! Single files: what their answers say.

use crate::help::Site;

#[tokio::test]
async fn a_file_is_described() {
    let site = Site::new(&[("page.html", "<p>hello"), ("data.bin", "0123456789")]);
    let reply = site.get("/page.html").await;
    assert_eq!(reply.status, 200);
    assert_eq!(reply.text(), "<p>hello");
    assert_eq!(reply.header("content-type"), "text/html; charset=utf-8");
    assert_eq!(reply.header("content-length"), "8");
    assert_eq!(reply.header("x-content-type-options"), "nosniff");
    assert_eq!(reply.header("accept-ranges"), "bytes");
    assert!(!reply.header("last-modified").is_empty());
    assert!(reply.header("etag").starts_with("\"8-"));
    let head = site.ask("HEAD", "/page.html", &[]).await;
    assert_eq!((head.header("content-length"), head.body.len()), ("8", 0));

    let saved = site.get("/data.bin?download").await;
    assert_eq!(saved.header("content-disposition"), "attachment; filename=\"data.bin\"");
    let part = site.ask("GET", "/data.bin", &[("range", "bytes=2-4")]).await;
    assert_eq!((part.status.as_u16(), part.text()), (206, "234"));
    let again = site.ask("GET", "/page.html", &[("if-none-match", reply.header("etag"))]).await;
    assert_eq!(again.status, 304);
}

#[tokio::test]
async fn the_tag_is_made_of_size_and_time_only() {
    let site = Site::new(&[("a", "same"), ("b", "same"), ("c", "size!")]);
    let time = std::time::UNIX_EPOCH + std::time::Duration::from_nanos(1_234_567_890_123_456_789);
    for name in ["a", "b", "c"] {
        std::fs::File::options().write(true).open(site.at(name)).unwrap().set_modified(time).unwrap();
    }
    assert_eq!(site.get("/a").await.header("etag"), "\"4-112210f47de98115\"");
    assert_eq!(site.get("/b").await.header("etag"), "\"4-112210f47de98115\"");
    assert_eq!(site.get("/c").await.header("etag"), "\"5-112210f47de98115\"");
}

#[tokio::test]
async fn a_file_that_shrinks_under_a_reader_ends_in_an_error() {
    use http_body_util::BodyExt as _;
    use tower_service::Service as _;
    let site = Site::new(&[("big", &"x".repeat(1 << 20))]);
    let request = crate::help::request("GET", "/big", &[], bytes::Bytes::new());
    let response = site.service.clone().call(request).await.unwrap();
    std::fs::File::options().write(true).open(site.at("big")).unwrap().set_len(1000).unwrap();
    assert!(response.into_body().collect().await.is_err());
}

#[tokio::test]
async fn a_file_that_is_deleted_under_a_reader_is_read_to_its_end() {
    use http_body_util::BodyExt as _;
    use tower_service::Service as _;
    let site = Site::new(&[("big", &"x".repeat(1 << 20))]);
    let request = crate::help::request("GET", "/big", &[], bytes::Bytes::new());
    let response = site.service.clone().call(request).await.unwrap();
    std::fs::remove_file(site.at("big")).unwrap();
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes().len(), 1 << 20);
}

/// Small files are kept open between requests, which must not show.
#[tokio::test]
async fn a_file_that_was_served_before_is_served_as_it_is_now() {
    let site = Site::new(&[("a", "first"), ("b", "other"), ("folder/c", "third")]);
    let old = site.get("/a").await;
    assert_eq!(old.text(), "first");
    assert_eq!(site.get("/a").await.text(), "first");

    std::fs::write(site.at("a"), "written").unwrap();
    let new = site.get("/a").await;
    assert_eq!(new.text(), "written");
    assert_ne!(new.header("etag"), old.header("etag"));

    std::fs::rename(site.at("b"), site.at("a")).unwrap();
    assert_eq!(site.get("/a").await.text(), "other");
    std::fs::remove_file(site.at("a")).unwrap();
    assert_eq!(site.get("/a").await.status, 404);
    std::fs::create_dir(site.at("a")).unwrap();
    assert_eq!(site.get("/a").await.status, 308);

    assert_eq!(site.get("/folder/c").await.text(), "third");
    assert_eq!(
        site.get("/folder/c?download").await.header("content-disposition"),
        "attachment; filename=\"c\""
    );
    assert_eq!(site.get("/folder/c").await.header("content-disposition"), "");
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join("c"), "outer").unwrap();
    std::fs::remove_dir_all(site.at("folder")).unwrap();
    std::os::unix::fs::symlink(outside.path(), site.at("folder")).unwrap();
    assert_eq!(site.get("/folder/c").await.status, 403);
}
