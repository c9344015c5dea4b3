//! Selections: named in the address, or picked in a form.

use std::fmt::Write as _;

use crate::help::{Reply, Site};

pub(crate) fn names(reply: &Reply) -> Vec<String> {
    assert_eq!(reply.status, 200, "{}", String::from_utf8_lossy(&reply.body));
    reply.archive().into_iter().map(|(name, _)| name).collect()
}

#[tokio::test]
async fn files_and_folders_are_selected_by_name() {
    let site = Site::new(&[("a b", "1"), ("b", "2"), ("sub/c", "3"), ("sub/d/e", "4"), ("sub-x", "5")]);
    for (query, expected) in [
        ("file=b", &["b"][..]),
        ("file=sub/&file=a+b", &["a b", "sub/c", "sub/d/e"]),
        ("file=sub/d/e&file=b", &["b", "sub/d/e"]),
        ("file=sub/&file=sub/c", &["sub/c", "sub/d/e"]),
        ("file=b&file=b", &["b"]),
    ] {
        let reply = site.get(&format!("/?zip&{query}")).await;
        assert_eq!(names(&reply), expected, "{query}");
        assert_eq!(reply.header("content-disposition"), "attachment; filename=\"served.zip\"");
    }
    assert_eq!(names(&site.get("/sub/?zip&file=d/e").await), ["d/e"]);
}

#[tokio::test]
async fn what_is_missing_is_named() {
    let site = Site::new(&[("a", "1"), (".hidden", "2")]);
    std::fs::write(site.outside("secret"), "s").unwrap();
    std::os::unix::fs::symlink("../secret", site.at("out")).unwrap();
    let reply = site.get("/?zip&file=a&file=b&file=c%0Ad&file=.hidden&file=out").await;
    assert_eq!(reply.status, 404);
    assert_eq!(reply.json()["missing"], serde_json::json!([".hidden", "b", "c\\nd", "out"]));
    assert_eq!(reply.json()["count"], 4);
    for query in
        ["file=", "file=..", "file=../secret", "file=a/../../secret", "file=/etc/passwd", "pick=x", "pick="]
    {
        assert_eq!(site.get(&format!("/?zip&{query}")).await.status, 400, "{query}");
    }
}

#[tokio::test]
async fn a_short_selection_in_a_form_becomes_a_readable_address() {
    let site = Site::new(&[("a b", "1"), ("c", "2"), ("sub/d", "3"), ("rest", "4")]);
    std::fs::write(site.at_raw(b"inv\xff"), "5").unwrap();
    let reply = site.post("/?zip", "file=sub%2F&file=a+b&raw=inv%25FF").await;
    assert_eq!(
        (reply.status.as_u16(), reply.header("location")),
        (303, "/?zip&file=a%20b&file=inv%FF&file=sub/")
    );
    assert_eq!(names(&site.get(reply.header("location")).await), ["a b", "inv\u{fffd}", "sub/d"]);
}

#[tokio::test]
async fn selecting_everything_is_the_whole_archive() {
    let site = Site::new(&[("a", "1"), ("sub/b", "2")]);
    assert_eq!(site.post("/?zip", "file=a&file=sub%2F").await.header("location"), "/?zip");
    assert_eq!(site.post("/sub/?zip", "file=b").await.header("location"), "/sub/?zip");
}

#[tokio::test]
async fn forms_are_checked() {
    let site = Site::new(&[("a", "1")]);
    assert_eq!(site.post("/?zip", "").await.status, 400);
    assert_eq!(site.post("/?zip", "other=1").await.status, 400);
    assert_eq!(site.post("/?zip", "file=%zz").await.status, 400);
    assert_eq!(site.post("/?zip", "file=..").await.status, 400);
    let missing = site.post("/?zip", "file=a&file=gone").await;
    assert_eq!((missing.status.as_u16(), &missing.json()["missing"]), (404, &serde_json::json!(["gone"])));
    assert_eq!(site.post("/none/?zip", "file=a").await.status, 404);
    assert_eq!(site.post("/?zip", vec![b'x'; (8 << 20) + 1]).await.status, 413);
    assert_eq!(site.ask("POST", "/?zip", &[]).await.status, 415);
    let announced =
        [("content-type", "application/x-www-form-urlencoded"), ("content-length", "99999999999")];
    assert_eq!(site.ask("POST", "/?zip", &announced).await.status, 413);
}

#[tokio::test]
async fn ten_thousand_long_names_fit_an_address_that_resumes() {
    let site = Site::new(&[]);
    let long = "n".repeat(190);
    let mut form = String::new();
    for number in 0..12_000 {
        let name = format!("{number:05} {long}é.x");
        std::fs::write(site.at(&name), "").unwrap();
        if number < 10_000 {
            write!(form, "&file={}", name.replace(' ', "+").replace('é', "%C3%A9")).unwrap();
        }
    }
    let reply = site.post("/?zip", form).await;
    assert_eq!(reply.status, 303);
    let address = reply.header("location").to_owned();
    assert!(address.len() < 60_000, "{} bytes", address.len());
    let whole = site.get(&address).await;
    assert_eq!(names(&whole).len(), 10_000);

    // Another file does not disturb it, and a part of it is a part of the same archive.
    std::fs::write(site.at("new"), "").unwrap();
    let part =
        site.ask("GET", &address, &[("range", "bytes=1000-1999"), ("if-range", whole.header("etag"))]).await;
    assert_eq!((part.status.as_u16(), part.body), (206, whole.body.slice(1000..2000)));

    std::fs::remove_file(site.at(&format!("00037 {long}é.x"))).unwrap();
    let gone = site.get(&address).await;
    assert_eq!(gone.status, 404);
    assert_eq!(
        gone.json()["detail"],
        "1 of the 10000 selected files is no longer there. Select again in the folder."
    );
}

#[tokio::test]
async fn a_selection_whose_address_no_head_could_hold_is_refused() {
    let site = Site::new(&[("sub/other", "")]);
    let mut form = String::new();
    for number in 0..20_000 {
        std::fs::write(site.at(&format!("sub/{number}")), "").unwrap();
        write!(form, "&file={number}").unwrap();
    }
    let refused = site.post("/sub/?zip", form.clone()).await;
    assert_eq!((refused.status.as_u16(), refused.header("location")), (413, ""));
    assert_eq!(
        refused.json()["detail"],
        "Too many files are selected for one address. Select their folder instead."
    );
    // Their folder is no problem, nor are all files of it, which are the same.
    assert_eq!(site.post("/?zip", "file=sub/").await.status, 303);
    let all = site.post("/sub/?zip", form.clone() + "&file=other").await;
    assert_eq!((all.status.as_u16(), all.header("location")), (303, "/sub/?zip"));
    // What is given an address fits.
    let fewer = form.split('&').take(16_000).collect::<Vec<_>>().join("&");
    let fewer = site.post("/sub/?zip", fewer).await;
    assert_eq!(fewer.status, 303);
    assert!(fewer.header("location").len() < 60_000, "{}", fewer.header("location").len());
}
