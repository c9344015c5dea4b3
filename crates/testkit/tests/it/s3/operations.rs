//! What a client of S3 reads.

use futures_util::TryStreamExt as _;
use http::{HeaderMap, HeaderValue, Method};
use object_store::path::Path;
use object_store::signer::Signer as _;
use object_store::{
    ClientOptions, Error, GetOptions, GetRange, ObjectStore as _, ObjectStoreExt as _, PutMode,
};
use outflow_testkit::s3::{Double, StoredObject, pattern};

use super::raw::ask_for;
use super::{builder, client, web};

fn path(text: &str) -> Path {
    Path::parse(text).unwrap()
}

async fn get(double: &Double, key: &str, options: GetOptions) -> Result<Vec<u8>, Error> {
    Ok(client(double).get_opts(&path(key), options).await?.bytes().await?.to_vec())
}

#[tokio::test]
async fn ranges_and_conditions() {
    let double = Double::start().unwrap();
    // Far more than there is memory for.
    double.put("big", StoredObject::pattern(3, 100 << 30).media_type("video/mp4"));
    let store = client(&double);
    let meta = store.head(&path("big")).await.unwrap();
    assert_eq!(meta.size, 100 << 30);
    let etag = meta.e_tag.unwrap();
    let far = (100 << 30) - 1000;
    for (range, expected) in [
        (GetRange::Bounded(5..1005), pattern(3, 5, 1000)),
        (GetRange::Bounded(far..far + 500), pattern(3, far, 500)),
        (GetRange::Offset(far), pattern(3, far, 1000)),
        (GetRange::Suffix(10), pattern(3, far + 990, 10)),
    ] {
        let options =
            GetOptions { range: Some(range), if_match: Some(etag.clone()), ..GetOptions::default() };
        assert!(get(&double, "big", options).await.unwrap() == expected);
    }
    let range = Some(GetRange::Bounded(0..1));
    let other = Some("\"other\"".to_owned());
    let options = GetOptions { range: range.clone(), if_match: other.clone(), ..GetOptions::default() };
    assert!(matches!(get(&double, "big", options).await, Err(Error::Precondition { .. })));
    let options = GetOptions { if_none_match: Some(etag), ..GetOptions::default() };
    let same = get(&double, "big", options).await;
    assert!(matches!(same, Err(Error::NotModified { .. })), "{same:?}");
    let options = GetOptions { range, if_none_match: other, ..GetOptions::default() };
    assert_eq!(get(&double, "big", options).await.unwrap(), pattern(3, 0, 1));
    assert!(matches!(store.head(&path("none")).await, Err(Error::NotFound { .. })));
    let beyond = GetOptions { range: Some(GetRange::Offset(100 << 30)), ..GetOptions::default() };
    assert!(get(&double, "big", beyond).await.is_err());
    assert_eq!(double.stats().most_active, 1);
}

#[tokio::test]
async fn versions() {
    let double = Double::builder().versioned().start().unwrap();
    let store = client(&double);
    let first = store.put(&path("a"), "first".into()).await.unwrap().version.unwrap();
    let second = store.put(&path("a"), "second".into()).await.unwrap().version.unwrap();
    let at = |version: &str| GetOptions { version: Some(version.to_owned()), ..GetOptions::default() };
    assert_eq!(get(&double, "a", at(&first)).await.unwrap(), b"first");
    assert_eq!(get(&double, "a", at(&second)).await.unwrap(), b"second");
    assert!(matches!(get(&double, "a", at("v9")).await, Err(Error::NotFound { .. })));
}

#[tokio::test]
async fn listings_have_pages() {
    let double = Double::start().unwrap();
    let mut keys: Vec<String> = (0..2500).map(|number| format!("t/{number:04}/a b+ü&.txt")).collect();
    keys.push("t/manifest.json".to_owned());
    for key in &keys {
        double.put(key, key.clone().into_bytes());
    }
    let store = client(&double);
    let found: Vec<_> = store.list(Some(&path("t"))).try_collect().await.unwrap();
    assert_eq!(found.iter().map(|meta| meta.location.to_string()).collect::<Vec<_>>(), keys);
    assert!(found.iter().all(|meta| meta.size == meta.location.as_ref().len() as u64));
    let level = store.list_with_delimiter(Some(&path("t"))).await.unwrap();
    assert_eq!((level.objects.len(), level.common_prefixes.len()), (1, 2500));
    assert_eq!(level.common_prefixes[17], path("t/0017"));
    let after: Vec<_> = store.list_with_offset(None, &path("t/2498/z")).try_collect().await.unwrap();
    assert_eq!(after.len(), 2);
    assert!(store.delete(&path("t/manifest.json")).await.is_ok());
    assert_eq!(double.keys("t/m").len(), 0);
}

#[tokio::test]
async fn signatures_are_checked() {
    let double = Double::start().unwrap();
    double.put("a b/ü", "some bytes");
    let store = client(&double);
    assert_eq!(store.get(&path("a b/ü")).await.unwrap().bytes().await.unwrap(), "some bytes");
    let wrong = builder(&double, ClientOptions::new()).with_secret_access_key("wrong").build().unwrap();
    assert!(matches!(wrong.get(&path("a b/ü")).await, Err(Error::PermissionDenied { .. })));
    let stranger = builder(&double, ClientOptions::new()).with_access_key_id("wrong").build().unwrap();
    assert!(stranger.get(&path("a b/ü")).await.is_err());

    let url =
        store.signed_url(Method::GET, &path("a b/ü"), std::time::Duration::from_secs(60)).await.unwrap();
    let target = format!("{}?{}", url.path(), url.query().unwrap());
    let close = "Connection: close\r\n";
    let host = format!("{close}X-Ignored: {}\r\n", double.addr());
    // The helper's Host is not the one that was signed.
    assert_eq!(ask_for(&double, "GET", &target, &host).status(), "403");
    let signed = web().get(url.clone()).send().await.unwrap();
    assert_eq!(signed.status(), 200);
    assert_eq!(signed.bytes().await.unwrap(), "some bytes");
    assert_eq!(web().head(url).send().await.unwrap().status(), 403);
    assert_eq!(ask_for(&double, "GET", url_without_query(&target), close).status(), "403");

    let open = Double::builder().anonymous().start().unwrap();
    open.put("a", "some bytes");
    assert_eq!(ask_for(&open, "GET", "/outflow/a", close).body, b"some bytes");
}

fn url_without_query(target: &str) -> &str {
    target.split('?').next().unwrap()
}

#[tokio::test]
async fn checksums_come_when_they_are_asked_for() {
    let double = Double::builder().anonymous().start().unwrap();
    double.put("full", StoredObject::new("some bytes").with_crc32().unwrap());
    double.put("composite", StoredObject::pattern(1, 1000).with_composite_crc32(300).unwrap());
    double.put("none", "some bytes");
    let client = web();
    let ask = async |method: Method, key: &str, fields: &[(&'static str, &str)]| {
        let fields = fields.iter().map(|(name, value)| {
            (http::HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())
        });
        let request = client.request(method, format!("{}/outflow/{key}", double.endpoint()));
        let response = request.headers(HeaderMap::from_iter(fields)).send().await.unwrap();
        let field = |name: &str| response.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
        (
            field("x-amz-checksum-crc32"),
            field("x-amz-checksum-type"),
            response.text().await.unwrap_or_default(),
        )
    };
    let mode = ("x-amz-checksum-mode", "ENABLED");
    for method in [Method::GET, Method::HEAD] {
        let (crc32, kind, _) = ask(method.clone(), "full", &[mode]).await;
        assert_eq!(kind.as_deref(), Some("FULL_OBJECT"));
        assert_eq!(crc32.as_deref(), Some("n1l/VQ=="), "as Python computes it");
        let (crc32, kind, _) = ask(method.clone(), "composite", &[mode]).await;
        assert_eq!(kind.as_deref(), Some("COMPOSITE"));
        assert!(crc32.unwrap().ends_with("==-4"));
        assert_eq!(ask(method.clone(), "none", &[mode]).await.0, None);
        assert_eq!(ask(method, "full", &[]).await.0, None);
    }
    assert_eq!(ask(Method::GET, "full", &[mode, ("range", "bytes=0-3")]).await.0, None);

    let wanted = ("x-amz-object-attributes", "ObjectParts,Checksum,ObjectSize,ETag");
    let most = ("x-amz-max-parts", "3");
    let (_, _, page) = ask(Method::GET, "composite?attributes", &[wanted, most]).await;
    for part in [
        "<PartsCount>4</PartsCount>",
        "<IsTruncated>true</IsTruncated>",
        "<Size>300</Size>",
        "<NextPartNumberMarker>3</NextPartNumberMarker>",
        "<ObjectSize>1000</ObjectSize>",
        "<ChecksumType>COMPOSITE</ChecksumType>",
    ] {
        assert!(page.contains(part), "{part}: {page}");
    }
    let marker = ("x-amz-part-number-marker", "3");
    let (_, _, page) = ask(Method::GET, "composite?attributes", &[wanted, most, marker]).await;
    assert!(page.contains("<PartNumber>4</PartNumber>") && page.contains("<Size>100</Size>"), "{page}");
    assert!(page.contains("<IsTruncated>false</IsTruncated>"), "{page}");
}

#[tokio::test]
async fn puts_have_conditions() {
    let double = Double::start().unwrap();
    let store = client(&double);
    let create = || PutMode::Create.into();
    assert!(store.put_opts(&path("a"), "one".into(), create()).await.is_ok());
    assert!(matches!(
        store.put_opts(&path("a"), "two".into(), create()).await,
        Err(Error::AlreadyExists { .. })
    ));
    assert_eq!(double.bytes("a").unwrap(), "one");
}
