//! Ledgers to test, and deliveries to report to them.

use std::ops::Range;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use outflow_ledger::{
    ArchivePart, ArchiveParts, Assurance, ContentInfo, ContentKey, DeliveryEnd, DeliveryHandle,
    DeliveryOutcome, Download, DownloadQuery, EventKind, EventQuery, Ledger, LedgerEvent, LedgerOptions,
    LinkUse, NewDelivery, Recipient,
};

use outflow_testkit::needs;
use outflow_testkit::peers::Postgres;

/// The server that tests share, for as long as one of them needs it. It lives on a thread of its
/// own, because the kernel ends it together with the thread that has started it.
pub(crate) struct Server {
    requests: Option<Sender<Sender<String>>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    fn shared() -> Arc<Server> {
        static SHARED: Mutex<Weak<Server>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap();
        if let Some(server) = shared.upgrade() {
            return server;
        }
        let (requests, asked) = channel::<Sender<String>>();
        let thread = std::thread::spawn(move || {
            let postgres = Postgres::start();
            for (number, reply) in asked.into_iter().enumerate() {
                let _ = reply.send(postgres.database(&format!("t{number}")));
            }
        });
        let server = Arc::new(Server { requests: Some(requests), thread: Some(thread) });
        *shared = Arc::downgrade(&server);
        server
    }

    /// The address of a new, empty database.
    fn database(&self) -> String {
        let (reply, database) = channel();
        self.requests.as_ref().unwrap().send(reply).unwrap();
        database.recv().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.requests = None;
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// A database, and a folder.
pub(crate) struct Place {
    pub(crate) address: String,
    pub(crate) folder: tempfile::TempDir,
    _server: Option<Arc<Server>>,
}

impl Place {
    pub(crate) fn sqlite() -> Place {
        let folder = tempfile::tempdir().unwrap();
        Place {
            address: format!("sqlite:{}", folder.path().join("ledger.db").display()),
            folder,
            _server: None,
        }
    }

    pub(crate) fn postgres() -> Place {
        let server = Server::shared();
        Place { address: server.database(), folder: tempfile::tempdir().unwrap(), _server: Some(server) }
    }

    /// Opens a ledger that waits for less than it does by default, so that a test need not.
    pub(crate) fn open(&self, options: LedgerOptions) -> Book {
        let options = LedgerOptions {
            commit_delay: options.commit_delay.min(Duration::from_millis(10)),
            begin_delay: options.begin_delay.min(Duration::from_millis(100)),
            ..options
        };
        Book::new(Ledger::open(&self.address, options).unwrap())
    }
}

/// Runs a scenario on both databases.
pub(crate) fn both(scenario: impl Fn(&Place)) {
    scenario(&Place::sqlite());
    needs!("postgres");
    scenario(&Place::postgres());
}

/// A ledger, with the queries of tests.
pub(crate) struct Book {
    pub(crate) ledger: Ledger,
    runtime: tokio::runtime::Runtime,
}

impl Book {
    pub(crate) fn new(ledger: Ledger) -> Book {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Book { ledger, runtime }
    }

    pub(crate) fn wait<F: Future>(&self, future: F) -> F::Output {
        self.runtime.block_on(future)
    }

    pub(crate) fn downloads(&self) -> Vec<Download> {
        self.wait(self.ledger.downloads(&DownloadQuery::default())).unwrap()
    }

    /// The only one.
    pub(crate) fn download(&self) -> Download {
        let downloads = self.downloads();
        assert_eq!(downloads.len(), 1, "{downloads:#?}");
        downloads.into_iter().next().unwrap()
    }

    pub(crate) fn events(&self) -> Vec<LedgerEvent> {
        self.wait(self.ledger.events(&EventQuery { limit: 10_000, ..EventQuery::default() })).unwrap()
    }

    pub(crate) fn kinds(&self) -> Vec<EventKind> {
        self.events().into_iter().map(|event| event.kind).collect()
    }

    pub(crate) fn count(&self, kind: EventKind) -> usize {
        self.kinds().into_iter().filter(|other| *other == kind).count()
    }

    /// Begins a delivery.
    pub(crate) fn begin(&self, opening: &NewDelivery, carries: &[Range<u64>]) -> DeliveryHandle {
        let mut tracked = self.ledger.track(opening.clone()).unwrap();
        tracked.started(carries.to_vec());
        tracked
    }

    /// A delivery of `range` that arrives whole.
    pub(crate) fn deliver(&self, opening: &NewDelivery, range: Range<u64>) {
        end(self.begin(opening, std::slice::from_ref(&range)), &[range]);
    }

    /// A delivery of `range` that breaks off at `at`.
    pub(crate) fn break_off(&self, opening: &NewDelivery, range: Range<u64>, at: u64) {
        abort(self.begin(opening, std::slice::from_ref(&range)), &[range.start..at]);
    }

    /// Until all that was said is written, but for deliveries under way of which there are so many.
    pub(crate) fn settle(&self, under_way: usize) {
        until("all is written", || self.ledger.status().waiting == under_way);
    }

    pub(crate) fn close(self) {
        self.ledger.shut_down(Duration::from_secs(20));
    }
}

/// Waits for a condition.
#[track_caller]
pub(crate) fn until(what: &str, mut done: impl FnMut() -> bool) {
    outflow_testkit::until(what, || done().then_some(()));
}

pub(crate) fn end(tracked: DeliveryHandle, acked: &[Range<u64>]) {
    close(tracked, acked, DeliveryOutcome::Completed { confirmed: true });
}

pub(crate) fn abort(tracked: DeliveryHandle, acked: &[Range<u64>]) {
    close(tracked, acked, DeliveryOutcome::Aborted("the client went away".into()));
}

pub(crate) fn close(tracked: DeliveryHandle, acked: &[Range<u64>], outcome: DeliveryOutcome) {
    let sent = acked.iter().map(|range| range.end - range.start).sum();
    tracked.ended(DeliveryEnd { acked: acked.to_vec(), sent, outcome, transport: None });
}

/// A content with this number and length.
pub(crate) fn content(number: u8, length: u64) -> Arc<ContentInfo> {
    Arc::new(ContentInfo {
        key: ContentKey([number; 16]),
        etag: format!("tag-{number}"),
        length,
        name: format!("file {number}.bin"),
        path: format!("/folder/file%20{number}.bin"),
        transfer: None,
        parts: None,
    })
}

/// An archive of `files` files of `size` bytes, and a central directory of 100.
pub(crate) fn archive(number: u8, files: u64, size: u64) -> Arc<ContentInfo> {
    let parts: Arc<dyn ArchiveParts> = Arc::new(Even { files, size });
    let mut content = (*content(number, files * size + 100)).clone();
    content.parts = Some(parts);
    Arc::new(content)
}

struct Even {
    files: u64,
    size: u64,
}

impl ArchiveParts for Even {
    fn count(&self) -> u64 {
        self.files
    }

    fn within(&self, range: &Range<u64>) -> u64 {
        let first = range.start.div_ceil(self.size);
        let past = (range.end / self.size).min(self.files);
        past.saturating_sub(first)
    }

    fn part(&self, index: u64) -> ArchivePart {
        let range = index * self.size..(index + 1) * self.size;
        ArchivePart { name: format!("file {index}"), size: self.size, range }
    }
}

/// `recipient` obtains `content`, without a link.
pub(crate) fn opening(content: &Arc<ContentInfo>, recipient: &str) -> NewDelivery {
    NewDelivery {
        content: Arc::clone(content),
        recipient: Recipient { id: recipient.into(), weak: true },
        link: None,
        client: Some([192, 0, 2, 1].into()),
        user_agent: Some("test/1".into()),
        assurance: Assurance::Peer,
    }
}

/// The same with a link.
pub(crate) fn linked(content: &Arc<ContentInfo>, recipient: &str, link: &str, most: u32) -> NewDelivery {
    let mut opening = opening(content, recipient);
    opening.link = Some(LinkUse { id: link.into(), max_downloads: Some(most) });
    opening.recipient.weak = false;
    opening
}
