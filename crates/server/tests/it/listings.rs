//! Folders: pages for people, JSON for programs, problems for both.

use crate::help::Site;

const BROWSER: (&str, &str) = ("accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8");

#[tokio::test]
async fn a_page_is_escaped_and_leads_to_everything() {
    let site = Site::new(&[("sub/x", "x"), ("a \"quoted\" <b>&.txt", "12345"), ("new\nline", "")]);
    std::fs::write(site.at_raw(b"inv\xff"), "").unwrap();
    let reply = site.ask("GET", "/", &[BROWSER]).await;
    assert_eq!(reply.header("content-type"), "text/html; charset=utf-8");
    assert_eq!(reply.header("vary"), "Accept");
    assert_eq!(reply.header("cache-control"), "no-cache");
    let page = reply.text();
    for part in [
        "<a href=\"sub/\">sub/</a>",
        "<a href=\"a%20%22quoted%22%20%3Cb%3E%26.txt\">a &quot;quoted&quot; &lt;b&gt;&amp;.txt</a>",
        "name=\"file\" value=\"a &quot;quoted&quot; &lt;b&gt;&amp;.txt\"",
        "name=\"file\" value=\"sub/\"",
        "name=\"raw\" value=\"new%0Aline\"",
        "name=\"raw\" value=\"inv%FF\"",
        "<a href=\"?zip\">Download all as ZIP</a>",
        "5 B",
    ] {
        assert!(page.contains(part), "{part} in {page}");
    }
    assert!(!page.contains("<b>"), "{page}");
    assert!(page.find("sub/").unwrap() < page.find("quoted").unwrap(), "folders first");
    let sub = site.ask("GET", "/sub/", &[BROWSER]).await;
    assert!(sub.text().contains("<a href=\"../\">served</a>"), "{}", sub.text());
}

#[tokio::test]
async fn json_has_what_a_program_needs() {
    let site = Site::new(&[("sub/x", "x"), ("a b.txt", "12345"), (".hidden", "")]);
    let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_700_000_000);
    std::fs::File::options().write(true).open(site.at("a b.txt")).unwrap().set_modified(time).unwrap();
    for reply in [site.get("/?json").await, site.ask("GET", "/", &[("accept", "application/json")]).await] {
        assert_eq!(reply.header("content-type"), "application/json");
        let json = reply.json();
        assert_eq!(json["name"], "served");
        assert_eq!(json["path"], "/");
        assert_eq!(json["archive"], "/?zip");
        let file = &json["entries"][0];
        assert_eq!(
            *file,
            serde_json::json!({
                "name": "a b.txt", "href": "a%20b.txt", "type": "file", "size": 5,
                "modified": "2023-11-14T22:13:20Z", "etag": site.get("/a%20b.txt").await.header("etag"),
            })
        );
        assert_eq!(json["entries"][1]["href"], "sub/");
        assert_eq!(json["entries"][1]["type"], "folder");
        assert_eq!(json["entries"].as_array().unwrap().len(), 2);
    }
    assert_eq!(site.get("/sub/?json").await.json()["path"], "/sub/");
}

#[tokio::test]
async fn a_folder_without_its_slash_is_elsewhere() {
    let site = Site::new(&[("s p/x", "x")]);
    let reply = site.get("/s%20p?zip&file=a").await;
    // An archive's address ends in a slash: what is asked of a folder stays.
    assert_eq!(reply.status, 308);
    assert_eq!(reply.header("location"), "/s%20p/?zip&file=a");
    assert_eq!(site.get("/s%20p").await.header("location"), "/s%20p/");
}

#[tokio::test]
async fn problems_are_pages_for_people_and_details_for_programs() {
    let site = Site::new(&[]);
    let page = site.ask("GET", "/missing", &[BROWSER]).await;
    assert_eq!((page.status.as_u16(), page.header("content-type")), (404, "text/html; charset=utf-8"));
    assert!(page.text().contains("<h1>Not Found</h1>") && page.text().contains("Error 404"));
    let details = site.get("/missing").await;
    assert_eq!(
        details.json(),
        serde_json::json!({
            "type": "about:blank", "title": "Not Found", "status": 404,
            "detail": "There is nothing at this address.",
        })
    );
    assert_eq!(details.header("vary"), "Accept");
    let head = site.ask("HEAD", "/missing", &[]).await;
    assert_eq!((head.header("content-length"), head.body.len()), (details.header("content-length"), 0));
}

#[tokio::test]
async fn an_empty_folder_says_so() {
    let site = Site::new(&[]);
    assert!(site.get("/").await.text().contains("This folder is empty."));
}

#[tokio::test]
async fn large_pages_under_way_make_others_wait_and_then_come() {
    use tower_service::Service as _;
    let site = Site::new(&[]);
    for number in 0..9_000 {
        std::fs::write(site.at(&format!("{number:0200}")), "").unwrap();
    }
    let page = site.get("/").await;
    assert_eq!(page.status, 200);
    // As many as the common room has place for, none of them taken by their clients.
    let mut under_way = Vec::new();
    let refused = loop {
        let request = crate::help::request("GET", "/", &[], bytes::Bytes::new());
        let response = site.service.clone().call(request).await.unwrap();
        if response.status() != 200 {
            break response;
        }
        under_way.push(response);
        assert!(under_way.len() * page.body.len() <= 64 << 20);
    };
    assert_eq!((refused.status().as_u16(), &refused.headers()["retry-after"]), (503, &"5".parse().unwrap()));
    assert_eq!(site.get("/missing").await.status, 404);
    drop(under_way);
    assert_eq!(site.get("/").await.status, 200);
}
