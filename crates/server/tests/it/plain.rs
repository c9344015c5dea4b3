//! A store's objects as plain folders.

use std::sync::Arc;

use bytes::Bytes;
use outflow_catalog::{PlainStore, StoreOptions, open_store};
use outflow_server::DownloadService;
use tempfile::TempDir;
use tower_service::Service as _;

use crate::help::{Reply, request, settings};

struct Plain {
    _temp: TempDir,
    service: DownloadService,
}

impl Plain {
    fn new(files: &[&str], hidden: bool) -> Plain {
        let temp = tempfile::tempdir().unwrap();
        for name in files {
            let path = temp.path().join("bucket").join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, name).unwrap();
        }
        let address = format!("file://{}", temp.path().join("bucket").display());
        let store = open_store(&address, &StoreOptions::default()).unwrap();
        let service = DownloadService::collection(Arc::new(PlainStore::new(store, hidden)), &settings());
        Plain { _temp: temp, service }
    }

    async fn ask(&self, method: &str, target: &str) -> Reply {
        let request = request(method, target, &[], Bytes::new());
        Reply::of(self.service.clone().call(request).await.unwrap()).await
    }
}

#[tokio::test]
async fn objects_are_files_and_their_prefixes_folders() {
    let plain = Plain::new(&["a.txt", "sub/b", "sub/deep/c", ".secret", "sub/.git/x"], false);
    let json = plain.ask("GET", "/?json").await.json();
    assert_eq!(json["name"].as_str(), Some("bucket"));
    let names: Vec<_> = json["entries"].as_array().unwrap().iter().map(|entry| &entry["name"]).collect();
    assert_eq!(names, ["a.txt", "sub"]);
    assert!(json.get("id").is_none());
    let file = plain.ask("HEAD", "/a.txt").await;
    assert_eq!((file.status.as_u16(), file.header("content-length")), (200, "5"));
    assert_eq!(json["entries"][0]["etag"].as_str(), Some(file.header("etag")));
    let folder = plain.ask("GET", "/sub").await;
    assert_eq!((folder.status.as_u16(), folder.header("location")), (308, "/sub/"));
    for (target, status) in [
        ("/no", 404),
        ("/no/", 404),
        ("/.secret", 404),
        ("/sub/.git/x", 404),
        ("/sub/b/", 404),
        ("/a%0Ab", 404),
    ] {
        assert_eq!(plain.ask("GET", target).await.status, status, "{target}");
    }
    // Nothing is known of CRC-32s: all are streamed.
    let entries = |names: &[&str], bytes: usize| {
        let each = names.iter().map(|name| 30 + 9 + 46 + 9 + 5 + 16 + 2 * name.len());
        (each.sum::<usize>() + bytes + 22).to_string()
    };
    let whole = plain.ask("HEAD", "/?zip").await;
    let all = ["a.txt", "sub/b", "sub/deep/c"];
    assert_eq!(whole.header("content-length"), entries(&all, 5 + 5 + 10));
    assert_eq!(plain.ask("HEAD", "/sub/?zip").await.header("content-length"), entries(&["b", "deep/c"], 15));
    let some = plain.ask("HEAD", "/?zip&file=a.txt&file=sub/deep").await;
    assert_eq!(some.header("content-length"), entries(&["a.txt", "sub/deep/c"], 15));
    assert_eq!(plain.ask("HEAD", "/?zip&file=a.txt&file=no").await.status, 404);

    let shown = Plain::new(&["a.txt", ".secret"], true);
    assert_eq!(shown.ask("HEAD", "/.secret").await.status, 200);
}

/// An origin of files that knows nothing of folders.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_origin_that_cannot_list_serves_files_only() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}/base", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    let Ok(byte) = stream.read_u8().await else { return };
                    head.push(byte);
                }
                let status = if head.starts_with(b"PROPFIND") {
                    "405 Method Not Allowed\r\ncontent-length: 0"
                } else if head.windows(6).any(|part| part == b"/a.txt") {
                    "200 OK\r\ncontent-length: 7\r\netag: \"1\"\r\nlast-modified: Tue, 14 Nov 2023 22:13:20 GMT"
                } else {
                    "404 Not Found\r\ncontent-length: 0"
                };
                let answer = format!("HTTP/1.1 {status}\r\nconnection: close\r\n\r\n");
                let _ = stream.write_all(answer.as_bytes()).await;
            });
        }
    });
    let open = move || open_store(&address, &StoreOptions::default()).unwrap();
    let store = tokio::task::spawn_blocking(open).await.unwrap();
    let service = DownloadService::collection(Arc::new(PlainStore::new(store, false)), &settings());
    let plain = Plain { _temp: tempfile::tempdir().unwrap(), service };
    let file = plain.ask("HEAD", "/a.txt").await;
    assert_eq!((file.status.as_u16(), file.header("content-length")), (200, "7"));
    assert_eq!(file.header("etag").len(), 34);
    assert_eq!(plain.ask("GET", "/no").await.status, 404);
    for target in ["/", "/?zip", "/folder/"] {
        let reply = plain.ask("GET", target).await;
        assert_eq!(reply.status, 501, "{target}");
        assert!(reply.text().contains("cannot list"), "{}", reply.text());
    }
}
