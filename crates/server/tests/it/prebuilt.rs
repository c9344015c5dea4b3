//! Prebuilt answers on the wire: byte for byte those of the ordinary path.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::{Request, Response};
use outflow_catalog::{Root, RootOptions};
use outflow_content::PrebuiltAnswer;
use outflow_ledger::{DownloadQuery, Ledger, LedgerOptions};
use outflow_server::{DownloadOptions, DownloadService};
use outflow_wire::{HttpService, PlainRequest, RequestBody, Server, ServerHandle, ServerOptions};
use tempfile::TempDir;

use crate::help::settings;

/// Sizes around everything that decides how a file is kept and sent: in memory, by descriptor, not
/// at all.
const SIZES: [usize; 7] = [0, 1, 10 * 1024, 32 * 1024, 32 * 1024 + 1, 1024 * 1024, 1024 * 1024 + 1];

/// Counts the requests that take the ordinary path.
#[derive(Clone)]
struct Counting<S> {
    service: S,
    ordinary: Arc<AtomicUsize>,
}

impl<S: HttpService> HttpService for Counting<S> {
    type Body = S::Body;

    async fn answer(&self, request: Request<RequestBody>) -> Result<Response<S::Body>, String> {
        self.ordinary.fetch_add(1, Ordering::SeqCst);
        self.service.answer(request).await
    }

    const HAS_PREBUILT: bool = S::HAS_PREBUILT;

    fn prebuilt(&self, request: &PlainRequest<'_>) -> Option<PrebuiltAnswer> {
        self.service.prebuilt(request)
    }
}

/// A served folder, until it is dropped.
struct Running {
    _folder: TempDir,
    address: SocketAddr,
    ordinary: Arc<AtomicUsize>,
    handle: ServerHandle,
}

impl Running {
    fn new(settings: &DownloadOptions) -> Running {
        let folder = tempfile::tempdir().unwrap();
        for size in SIZES {
            let bytes: Vec<u8> = (0..size).map(|at| (at % 251) as u8).collect();
            std::fs::write(folder.path().join(format!("{size} é.txt")), bytes).unwrap();
        }
        let root = Root::new(folder.path(), RootOptions::default()).unwrap();
        let ordinary = Arc::<AtomicUsize>::default();
        let service = DownloadService::folder(root, settings).on_wire();
        let service = Counting { service, ordinary: Arc::clone(&ordinary) };
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = Server::new(ServerOptions::default());
        let handle = server.handle();
        std::thread::spawn(move || server.run([listener], 1, service));
        Running { _folder: folder, address, ordinary, handle }
    }

    /// All that comes back for these requests on one connection, without the time.
    fn exchange(&self, requests: &[String]) -> Vec<u8> {
        let mut client = TcpStream::connect(self.address).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut writing = client.try_clone().unwrap();
        let (requests, mut answers) = (requests.concat(), Vec::new());
        let writer = std::thread::spawn(move || {
            writing.write_all(requests.as_bytes()).unwrap();
            writing.shutdown(std::net::Shutdown::Write).unwrap();
        });
        client.read_to_end(&mut answers).unwrap();
        writer.join().unwrap();
        let mut at = 0;
        while let Some(found) = find(&answers[at..], b"\r\ndate: ") {
            at += found + b"\r\ndate: ".len();
            answers[at..at + 29].fill(b'-');
        }
        answers
    }

    fn ordinary(&self) -> usize {
        self.ordinary.swap(0, Ordering::SeqCst)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.handle.stop();
    }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

fn requests(fields: &str) -> Vec<String> {
    let get = |size: &usize| format!("GET /{size}%20%C3%A9.txt HTTP/1.1\r\nHost: x\r\n{fields}\r\n");
    let head = |size: &usize| get(size).replacen("GET", "HEAD", 1);
    SIZES.iter().flat_map(|size| [get(size), head(size)]).collect()
}

/// A field that decides nothing for these files, but might.
const ORDINARY: &str = "If-None-Match: \"another\"\r\n";

/// The two paths, on one connection for each request, and pipelined on one for all.
fn compare(server: &Running) {
    // From here on, small files are kept.
    let first = server.exchange(&requests(ORDINARY));
    assert_eq!(server.ordinary(), 2 * SIZES.len());
    let browser = "Accept-Encoding: gzip\r\nConnection: keep-alive\r\nUser-Agent: test\r\n";
    for fields in ["", browser] {
        assert!(server.exchange(&requests(fields)) == first, "pipelined, {fields:?}");
        // The largest file is too large to be kept.
        assert_eq!(server.ordinary(), 2, "{fields:?}");
    }
    for (plain, ordinary) in requests("").iter().zip(requests(ORDINARY)) {
        let expected = server.exchange(&[ordinary]);
        assert!(expected.starts_with(b"HTTP/1.1 200 OK\r\n"), "{plain}");
        assert!(server.exchange(std::slice::from_ref(plain)) == expected, "{plain}");
    }
}

#[test]
fn prebuilt_answers_are_the_ordinary_ones_byte_for_byte() {
    compare(&Running::new(&settings()));
}

#[test]
fn prebuilt_answers_are_recorded_like_others() {
    let temp = tempfile::tempdir().unwrap();
    let address = format!("sqlite:{}", temp.path().join("ledger").display());
    let ledger = Ledger::open(&address, LedgerOptions { min_size: 0, ..LedgerOptions::default() }).unwrap();
    let server = Running::new(&DownloadOptions { ledger: Some(ledger.clone()), ..settings() });
    compare(&server);
    let agents = ["ordinary", "prebuilt"];
    let fields = agents.map(|agent| format!("User-Agent: {agent}\r\n"));
    server.exchange(&requests(&format!("{}{ORDINARY}", fields[0])));
    server.ordinary();
    server.exchange(&requests(&fields[1]));
    assert_eq!(server.ordinary(), 2, "GET and HEAD of the largest file");
    drop(server);
    ledger.shut_down(Duration::from_secs(20));

    let ledger = Ledger::open(&address, LedgerOptions { min_size: 0, ..LedgerOptions::default() }).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let all = DownloadQuery { limit: 1000, ..DownloadQuery::default() };
    let downloads = runtime.block_on(ledger.downloads(&all)).unwrap();
    let [ordinary, prebuilt] = agents.map(|agent| {
        let of_agent = downloads.iter().filter(|one| one.user_agent.as_deref() == Some(agent));
        let mut facts: Vec<_> = of_agent.map(|one| (one.name.clone(), one.state, one.acked)).collect();
        facts.sort_by(|one, other| one.0.cmp(&other.0));
        facts
    });
    assert!(ordinary.len() >= SIZES.len() - 1, "{ordinary:?}");
    assert_eq!(prebuilt, ordinary);
    ledger.shut_down(Duration::from_secs(20));
}
