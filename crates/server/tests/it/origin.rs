//! What a store is asked for, and how a server does without it for a while: an origin that counts.

use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::{Duration, Instant};

use bytes::Bytes;
use outflow_catalog::{StoreOptions, open_store};
use outflow_server::{DownloadOptions, DownloadService};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tower_service::Service as _;

use crate::help::{Reply, request, settings};
use crate::shop::{await_status, manifest};

/// An HTTP origin with the manifest of the transfer `abc`.
#[derive(Default)]
struct Origin {
    manifest: Mutex<Vec<u8>>,
    /// Requests that came, and how many of them named a tag.
    asked: AtomicUsize,
    revalidated: AtomicUsize,
    /// It refuses to answer.
    broken: AtomicBool,
    /// It answers while this is free: a crowd holds it until all have come.
    open: tokio::sync::Mutex<()>,
}

impl Origin {
    async fn start(self: Arc<Self>) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(Arc::clone(&self).answer(stream));
            }
        });
        address
    }

    async fn answer(self: Arc<Self>, mut stream: TcpStream) {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let Ok(byte) = stream.read_u8().await else { return };
            head.push(byte);
        }
        self.asked.fetch_add(1, Ordering::SeqCst);
        let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
        drop(self.open.lock().await);
        let manifest = self.manifest.lock().unwrap().clone();
        let tag = format!("\"{}\"", crc32fast::hash(&manifest));
        let answer = if self.broken.load(Ordering::SeqCst) {
            "HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".into()
        } else if !head.starts_with("get /abc/manifest.json ") {
            "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".into()
        } else if head.contains(&format!("if-none-match: {tag}")) {
            self.revalidated.fetch_add(1, Ordering::SeqCst);
            format!("HTTP/1.1 304 Not Modified\r\netag: {tag}\r\nconnection: close\r\n\r\n")
        } else {
            format!(
                "HTTP/1.1 200 OK\r\netag: {tag}\r\nlast-modified: Tue, 14 Nov 2023 22:13:20 GMT\r\n\
                 content-length: {}\r\nconnection: close\r\n\r\n{}",
                manifest.len(),
                String::from_utf8(manifest).unwrap()
            )
        };
        let _ = stream.write_all(answer.as_bytes()).await;
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

async fn serve(origin: &Arc<Origin>, settings: DownloadOptions) -> DownloadService {
    *origin.manifest.lock().unwrap() = manifest("abc", &["a", "b"]).to_json();
    let address = Arc::clone(origin).start().await;
    let open = move || {
        DownloadService::transfers(open_store(&address, &StoreOptions::default()).unwrap(), &settings)
    };
    tokio::task::spawn_blocking(open).await.unwrap()
}

async fn head(service: &DownloadService, target: &str) -> u16 {
    let asked = request("HEAD", target, &[], Bytes::new());
    Reply::of(service.clone().call(asked).await.unwrap()).await.status.as_u16()
}

/// Twenty requests at the same time: the origin answers none before all have begun.
async fn crowd(origin: &Origin, service: &DownloadService, target: &'static str) -> Vec<u16> {
    let closed = origin.open.lock().await;
    let begun = Arc::new(tokio::sync::Semaphore::new(0));
    let asking = (0..20).map(|_| {
        let (service, begun) = (service.clone(), Arc::clone(&begun));
        tokio::spawn(async move {
            let mut asking = pin!(head(&service, target));
            let first = std::future::poll_fn(|cx| Poll::Ready(asking.as_mut().poll(cx))).await;
            begun.add_permits(1);
            match first {
                Poll::Ready(status) => status,
                Poll::Pending => asking.await,
            }
        })
    });
    let asking: Vec<_> = asking.collect();
    let _all = begun.acquire_many(20).await.unwrap();
    drop(closed);
    let mut answers = Vec::new();
    for asked in asking {
        answers.push(asked.await.unwrap());
    }
    answers
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_is_one_request_to_the_store() {
    let origin = Arc::new(Origin::default());
    let fresh = Duration::from_millis(1_500);
    let service = serve(&origin, DownloadOptions { manifest_fresh: fresh, ..settings() }).await;
    assert_eq!(crowd(&origin, &service, "/t/abc/a").await, [200; 20]);
    assert_eq!(crowd(&origin, &service, "/t/abc/?zip").await, [200; 20]);
    assert_eq!(origin.asked(), 1);
    assert_eq!(crowd(&origin, &service, "/t/none/").await, [404; 20]);
    assert_eq!(origin.asked(), 2);
    // Until it is not fresh any more: then one of a crowd asks.
    let begun = Instant::now();
    while origin.asked() == 2 {
        assert_eq!(crowd(&origin, &service, "/t/abc/b").await, [200; 20]);
        assert!(begun.elapsed() < Duration::from_secs(60), "it is fresh for ever");
    }
    assert_eq!((origin.asked(), origin.revalidated.load(Ordering::SeqCst)), (3, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_confirmed_lately_outlives_a_failure_for_a_while() {
    let origin = Arc::new(Origin::default());
    let stale = Duration::from_secs(2);
    let settings = DownloadOptions { manifest_fresh: Duration::ZERO, manifest_stale: stale, ..settings() };
    let service = serve(&origin, settings).await;
    assert_eq!(head(&service, "/t/abc/a").await, 200);
    origin.broken.store(true, Ordering::SeqCst);
    assert_eq!(head(&service, "/t/abc/a").await, 200);
    assert_eq!(head(&service, "/t/other/a").await, 502);
    await_status(200, 502, async || head(&service, "/t/abc/a").await).await;
    origin.broken.store(false, Ordering::SeqCst);
    assert_eq!(head(&service, "/t/abc/a").await, 200);
    // A manifest that can be read and makes no sense is an answer: the one from before is not used.
    *origin.manifest.lock().unwrap() = Vec::new();
    assert_eq!(head(&service, "/t/abc/a").await, 502);
}
