//! The bytes of transfers: files, ranges, archives and selections out of a store.

use crate::help::Reply;
use crate::shop::{Shop, manifest};

const NAMES: [&str; 5] = ["a.txt", "sub/b ü.txt", "sub/deep/c", "sub/deep/d", "z"];

/// The reply is a sound archive with these files, whose bytes are these.
fn assert_is_zip_of(reply: &Reply, files: &[(&str, &str)]) {
    assert_eq!(reply.status, 200);
    assert_eq!(reply.header("content-length"), reply.body.len().to_string());
    let found = reply.archive();
    let found: Vec<(&str, &str)> = found.iter().map(|(name, text)| (&**name, &**text)).collect();
    assert_eq!(found, files);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_address_of_a_transfer_has_its_bytes() {
    let shop = Shop::new();
    shop.publish(&manifest("known", &NAMES));
    let mut unknown = manifest("unknown", &NAMES);
    unknown.files.iter_mut().for_each(|file| file.crc32 = None);
    shop.publish(&unknown);
    for id in ["known", "unknown"] {
        let at = |path: &str| format!("/t/{id}/{path}");
        for name in NAMES {
            let file = shop.get(&at(&name.replace(' ', "%20").replace('ü', "%C3%BC"))).await;
            assert_eq!((file.status.as_u16(), &*file.body), (200, name.as_bytes()));
        }
        let part = shop.ask("GET", &at("sub/deep/c"), &[("range", "bytes=4-7")]).await;
        assert_eq!((part.status.as_u16(), part.text()), (206, "deep"));
        assert_eq!(part.header("content-range"), "bytes 4-7/10");
        let end = shop.ask("GET", &at("sub/deep/c"), &[("range", "bytes=-3")]).await;
        assert_eq!((end.status.as_u16(), end.text()), (206, "p/c"));

        let whole = shop.get(&at("?zip")).await;
        assert_is_zip_of(&whole, &NAMES.map(|name| (name, name)));
        let below = shop.get(&at("sub/?zip")).await;
        assert_is_zip_of(&below, &[("b ü.txt", NAMES[1]), ("deep/c", NAMES[2]), ("deep/d", NAMES[3])]);
        let some = shop.get(&at("?zip&file=sub/deep/&file=z")).await;
        assert_is_zip_of(&some, &[NAMES[2], NAMES[3], NAMES[4]].map(|name| (name, name)));

        // From every byte on, as a client that resumes does; what comes first is fetched for the
        // CRC-32s alone.
        let tag = whole.header("etag");
        for from in 0..whole.body.len() {
            let range = format!("bytes={from}-");
            let rest = shop.ask("GET", &at("?zip"), &[("range", &range), ("if-range", tag)]).await;
            assert_eq!((rest.status.as_u16(), &rest.body), (206, &whole.body.slice(from..)), "{range}");
        }
    }
}
