//! Stores: a folder always, and any other that `OUTFLOW_TEST_STORE` names (an empty prefix; the
//! environment holds its credentials).

use std::sync::Arc;

use bytes::Bytes;
use outflow_catalog::{
    Opened, SmallRead, Store, StoreErrorKind, StoreOptions, UploadError, UploadFile, Uploads, open_store,
};
use outflow_content::{UnixTime, Wait};
use tempfile::TempDir;

fn open(test: &str) -> (Option<TempDir>, Store) {
    let (folder, address) = match std::env::var("OUTFLOW_TEST_STORE") {
        Ok(address) => (None, format!("{address}/{test}-{:x}", std::process::id())),
        Err(_) => {
            let folder = TempDir::new().unwrap();
            let address = format!("file://{}", folder.path().display());
            (Some(folder), address)
        }
    };
    (folder, open_store(&address, &StoreOptions::default()).unwrap())
}

#[tokio::test]
async fn what_is_written_can_be_read_listed_and_deleted() {
    let (_folder, store) = open("rw");
    for (key, bytes) in [("t/a b%20ü.txt", "123456789"), ("t/d/e", "x"), ("t/d/f", ""), ("tt/g", "y")] {
        store.put(key, Bytes::from(bytes), "text/plain").await.unwrap();
    }
    let object = store.head("t/a b%20ü.txt").await.unwrap();
    assert_eq!((object.key.as_str(), object.size), ("t/a b%20ü.txt", 9));
    assert!(object.modified.is_some_and(|time| time.seconds() > 1_500_000_000));
    let etag = object.etag.clone().unwrap();
    assert!(etag.starts_with('"'), "{etag}");
    assert_eq!(store.compute_crc32(Arc::new(object.clone())).await.unwrap(), 0xcbf4_3926);
    if let Some(crc32) = store.crc32(&object).await.unwrap() {
        assert_eq!(crc32, 0xcbf4_3926);
    }
    let SmallRead::Read { bytes, object: read } = store.read_small(&object.key, 9, None).await.unwrap()
    else {
        panic!()
    };
    assert_eq!(bytes, "123456789");
    assert_eq!(read.etag.as_ref(), Some(&etag));
    assert!(matches!(store.read_small(&object.key, 9, Some(&etag)).await.unwrap(), SmallRead::NotModified));
    let again = store.read_small(&object.key, 9, Some("\"other\"")).await.unwrap();
    assert!(matches!(again, SmallRead::Read { .. }));
    let too_big = store.read_small(&object.key, 8, None).await.unwrap_err();
    assert!(matches!(too_big.kind, StoreErrorKind::TooBig { limit: 8 }), "{too_big}");

    let keys = |objects: &[outflow_catalog::Object]| {
        objects.iter().map(|object| object.key.clone()).collect::<Vec<_>>()
    };
    assert_eq!(keys(&store.list("", 10).await.unwrap()), ["t/a b%20ü.txt", "t/d/e", "t/d/f", "tt/g"]);
    assert_eq!(keys(&store.list("t/d", 2).await.unwrap()), ["t/d/e", "t/d/f"]);
    assert!(store.list("nothing", 2).await.unwrap().is_empty());
    let error = store.list("t", 2).await.unwrap_err();
    assert!(matches!(error.kind, StoreErrorKind::TooBig { .. }), "{error}");
    let (folders, objects) = store.list_folder("t", 10).await.unwrap();
    assert_eq!((folders, keys(&objects)), (vec!["d".to_owned()], vec!["t/a b%20ü.txt".to_owned()]));
    assert_eq!(store.list_folder("", 10).await.unwrap().0, ["t", "tt"]);

    for key in ["t/a b%20ü.txt", "t/d/e", "t/d/f", "tt/g", "tt/g"] {
        store.delete(key).await.unwrap();
    }
    assert!(store.list("", 10).await.unwrap().is_empty());
    let gone = store.head("tt/g").await.unwrap_err();
    assert!(matches!(gone.kind, StoreErrorKind::NotFound), "{gone}");
    assert!(gone.to_string().starts_with("cannot look at tt/g in "), "{gone}");
}

#[test]
fn calls_work_from_any_thread_and_runtime() {
    let (_folder, store) = open("any");
    store.wait(store.put("k", Bytes::from_static(b"v"), "text/plain")).unwrap();
    let one = tokio::runtime::Builder::new_current_thread().build().unwrap();
    assert_eq!(one.block_on(store.head("k")).unwrap().size, 1);
    // Dropped where a task runs.
    one.block_on(async move { drop(store) });
}

#[tokio::test]
async fn keys_cannot_leave_the_store() {
    let (_folder, store) = open("keys");
    for key in ["../x", "a/../x", "/x", "x/", "a//b", ".", "a\0b", "a\nb"] {
        let error = store.head(key).await.unwrap_err();
        assert!(matches!(error.kind, StoreErrorKind::Misconfigured(_)), "{key:?}: {error}");
        assert!(!error.to_string().contains('\n'), "{error}");
    }
}

#[test]
fn an_address_that_makes_no_sense_says_so() {
    let open = |address: &str| open_store(address, &StoreOptions::default()).unwrap_err().to_string();
    assert!(open("s3://ID:hunter2@bucket/").contains("environment"));
    assert!(!open("s3://ID:hunter2@bucket/").contains("hunter2"));
    let missing = open("file:///no/such/folder");
    assert!(missing.contains("cannot open the store file:///no/such/folder"), "{missing}");
}

#[tokio::test]
async fn a_file_that_changes_is_not_uploaded() {
    let (_folder, store) = open("upload");
    let files = TempDir::new().unwrap();
    let uploads = Arc::new(Uploads::new(2));
    for size in [1000, 40 << 20] {
        let path = files.path().join("file");
        std::fs::write(&path, vec![7; size]).unwrap();
        let root = crate::root(files.path());
        let Opened::File(file) = root.open(&crate::path("file"), Wait::Yes).unwrap() else { panic!() };
        let upload = UploadFile::new(file.to_open_file(), file.size());
        let uploaded = store.upload("same", &upload, "text/plain", &uploads).await.unwrap();
        assert_eq!(uploaded.size, size as u64);
        assert_eq!(
            store.compute_crc32(Arc::new(store.head("same").await.unwrap())).await.unwrap(),
            uploaded.crc32
        );
        std::fs::write(&path, vec![8; size + 1]).unwrap();
        let error = store.upload("changed", &upload, "text/plain", &uploads).await.unwrap_err();
        assert!(matches!(error, UploadError::File(_)), "{error}");
        assert!(error.to_string().starts_with("file was changed"), "{error}");
        assert!(matches!(store.head("changed").await.unwrap_err().kind, StoreErrorKind::NotFound));
    }
}

/// An origin that answers by path, whatever is asked.
fn origin() -> String {
    use std::io::{BufRead as _, BufReader, Write as _};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            let first = lines.next().unwrap().unwrap();
            let mut words = first.split(' ');
            let (method, path) = (words.next().unwrap(), words.next().unwrap());
            while !lines.next().unwrap().unwrap().is_empty() {}
            let (status, fields) = match path {
                "/o/weak%20one" => ("200 OK", "ETag: W/\"w\"\r\nContent-Length: 5\r\n"),
                "/o/strong" => (
                    "200 OK",
                    "ETag: \"s\"\r\nLast-Modified: Wed, 01 Jan 2020 00:00:00 GMT\r\nContent-Length: 5\r\n",
                ),
                "/o/forbidden" => ("403 Forbidden", "Content-Length: 5\r\n"),
                "/o/short" => ("200 OK", "Content-Length: 6\r\n"),
                _ if method == "PROPFIND" => ("405 Method Not Allowed", "Content-Length: 5\r\n"),
                _ => ("404 Not Found", "Content-Length: 5\r\n"),
            };
            let body = if method == "HEAD" { "" } else { "bytes" };
            let _ = write!(stream, "HTTP/1.1 {status}\r\nConnection: close\r\n{fields}\r\n{body}");
        }
    });
    format!("http://{address}/o/")
}

#[tokio::test]
async fn any_http_origin_will_do() {
    let store = open_store(&origin(), &StoreOptions::default()).unwrap();
    let weak = store.head("weak one").await.unwrap();
    assert_eq!((weak.size, weak.etag, weak.modified), (5, None, None));
    let strong = store.head("strong").await.unwrap();
    assert_eq!(strong.etag.as_deref(), Some("\"s\""));
    assert_eq!(strong.modified, Some(UnixTime::from_nanos(1_577_836_800_000_000_000)));
    assert_eq!(store.crc32(&strong).await.unwrap(), None);
    let SmallRead::Read { bytes, .. } = store.read_small("strong", 10, None).await.unwrap() else { panic!() };
    assert_eq!(bytes, "bytes");

    let error = store.head("nothing").await.unwrap_err();
    assert!(matches!(error.kind, StoreErrorKind::NotFound), "{error}");
    let error = store.head("forbidden").await.unwrap_err();
    assert!(matches!(error.kind, StoreErrorKind::Denied(_)), "{error}");
    let error = store.read_small("short", 10, None).await.unwrap_err();
    assert!(matches!(error.kind, StoreErrorKind::Unavailable(_)), "{error}");
    let error = store.list("", 10).await.unwrap_err();
    assert!(matches!(error.kind, StoreErrorKind::Unsupported(_)), "{error}");
}
