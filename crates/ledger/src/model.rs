//! What is said of downloads: who, what, how far; and what is told of them.

use std::fmt;
use std::net::IpAddr;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// Tells one content from all others, whatever address it is asked for at.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ContentKey(pub [u8; 16]);

impl fmt::Display for ContentKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ContentKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What is downloaded.
#[derive(Clone)]
pub struct ContentInfo {
    /// Two contents of one key are the same content.
    pub key: ContentKey,
    /// Its strong entity tag, without quotes.
    pub etag: String,
    /// Length in bytes.
    pub length: u64,
    /// A file's name, or the archive's; made printable.
    pub name: String,
    /// Address at which it was asked for, without the link: path and query.
    pub path: String,
    /// The transfer that it belongs to.
    pub transfer: Option<String>,
    /// The files of an archive. `None`: it is one file.
    pub parts: Option<Arc<dyn Parts>>,
}

/// The files that an archive is made of, in the order in which they lie in it.
pub trait Parts: Send + Sync + 'static {
    /// How many there are.
    fn count(&self) -> u64;

    /// How many of them lie wholly within `range` of the archive's bytes.
    fn within(&self, range: &Range<u64>) -> u64;

    /// The file of that index, below [`Parts::count`].
    fn part(&self, index: u64) -> Part;
}

/// One file of an archive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Its name in the archive.
    pub name: String,
    /// Its size in bytes.
    pub size: u64,
    /// Where it lies in the archive, header included.
    pub range: Range<u64>,
}

/// Who obtains a content.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Recipient {
    /// Whom the link was made for; without a link, client address and `User-Agent`, hashed or as they are.
    pub id: String,
    /// True without a link: several people may share this identity, and one person may have several.
    pub weak: bool,
}

/// The link that a request came with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkUse {
    /// Its id.
    pub id: String,
    /// After how many receipts it is exhausted.
    pub max_downloads: Option<u32>,
}

/// How near to the recipient the acknowledgements come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Assurance {
    /// From whoever the client's connection ends at.
    Peer,
    /// From a trusted proxy: what lies behind it is not known.
    Proxy,
}

/// What is known of a delivery before its first byte.
#[derive(Clone)]
pub struct Opening {
    /// What is sent.
    pub content: Arc<ContentInfo>,
    /// To whom.
    pub recipient: Recipient,
    /// By which link.
    pub link: Option<LinkUse>,
    /// The client's address.
    pub client: Option<IpAddr>,
    /// The client's `User-Agent`, made printable, at most 256 bytes.
    pub user_agent: Option<String>,
    /// Who acknowledges.
    pub assurance: Assurance,
}

/// How a delivery ended.
#[derive(Clone, Debug)]
pub struct Closing {
    /// The content's bytes that the peer acknowledged: apart from each other, in any order.
    pub acked: Vec<Range<u64>>,
    /// Bytes of the body that were handed to the kernel.
    pub sent: u64,
    /// What became of it.
    pub outcome: Outcome,
    /// What the kernel said of the connection.
    pub transport: Option<Transport>,
}

/// What became of a delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Every byte of it was acknowledged; `confirmed` if an orderly close or another request followed.
    Completed {
        /// Whether the application has been heard of since.
        confirmed: bool,
    },
    /// The client went away, or the server stopped.
    Aborted(String),
    /// The content could not be sent.
    Failed(String),
}

/// What limited a delivery, by the kernel's account (`TCP_INFO`).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Transport {
    /// Round trip in milliseconds.
    pub rtt_ms: f64,
    /// Share of the busy time in which the client's window was the limit, 0 to 1.
    pub limited_by_client: f64,
    /// Share in which the network was.
    pub limited_by_network: f64,
    /// Share in which this server was.
    pub limited_by_server: f64,
    /// Bytes that were sent more than once.
    pub retransmitted: u64,
    /// The last estimate of the rate, bytes a second.
    pub rate: u64,
}

/// What events tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Kind {
    /// The first delivery of a download has begun.
    #[serde(rename = "download.started")]
    Started,
    /// Another tenth has arrived; only if asked for.
    #[serde(rename = "download.progress")]
    Progress,
    /// Every byte has arrived.
    #[serde(rename = "download.completed")]
    Completed,
    /// The last delivery under way was broken off, and bytes are missing.
    #[serde(rename = "download.aborted")]
    Aborted,
    /// The same, the content being to blame.
    #[serde(rename = "download.failed")]
    Failed,
    /// A link has had as many receipts as it may.
    #[serde(rename = "link.exhausted")]
    LinkExhausted,
    /// A transfer is not served any more.
    #[serde(rename = "transfer.expired")]
    TransferExpired,
    /// A webhook has failed for days, or said that it is gone, and is not called any more.
    #[serde(rename = "endpoint.disabled")]
    EndpointDisabled,
}

impl Kind {
    /// All of them.
    pub const ALL: [Kind; 8] = [
        Kind::Started,
        Kind::Progress,
        Kind::Completed,
        Kind::Aborted,
        Kind::Failed,
        Kind::LinkExhausted,
        Kind::TransferExpired,
        Kind::EndpointDisabled,
    ];

    /// As it is written in events and filters.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Kind::Started => "download.started",
            Kind::Progress => "download.progress",
            Kind::Completed => "download.completed",
            Kind::Aborted => "download.aborted",
            Kind::Failed => "download.failed",
            Kind::LinkExhausted => "link.exhausted",
            Kind::TransferExpired => "transfer.expired",
            Kind::EndpointDisabled => "endpoint.disabled",
        }
    }

    /// The kind of that name.
    #[must_use]
    pub fn of(name: &str) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// Something that happened, as it is told: `{"type", "timestamp", "data"}` and an id of its own for ever.
#[derive(Clone, Debug, Serialize)]
pub struct Event {
    /// Order of commitment on this ledger. Gaps mean nothing.
    #[serde(skip)]
    pub seq: i64,
    /// Unique; the same in every attempt to tell it (`webhook-id`).
    pub id: String,
    /// What it tells.
    #[serde(rename = "type")]
    pub kind: Kind,
    /// When it happened.
    pub timestamp: Timestamp,
    /// What it tells, as JSON: an object.
    pub data: Box<RawValue>,
}

/// A download as the ledger has it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Download {
    /// Unique; `dl_…`.
    pub id: String,
    /// How many times this recipient has begun to obtain this content, from 1.
    pub generation: u32,
    /// Where it stands.
    pub state: State,
    /// [`ContentInfo::key`], in hexadecimal digits.
    pub content: String,
    /// [`ContentInfo::etag`].
    pub etag: String,
    /// [`ContentInfo::name`].
    pub name: String,
    /// [`ContentInfo::path`] of its first delivery.
    pub path: String,
    /// [`ContentInfo::transfer`].
    pub transfer: Option<String>,
    /// [`Recipient::id`].
    pub recipient: String,
    /// Whether that is a weak identity.
    pub weak: bool,
    /// The link's id.
    pub link: Option<String>,
    /// The client's address at the first delivery.
    pub client: Option<String>,
    /// The client's `User-Agent` at the first delivery.
    pub user_agent: Option<String>,
    /// Length of the content in bytes.
    pub total: u64,
    /// How many different bytes of it were acknowledged.
    pub acked: u64,
    /// How many of these were not seen to be acknowledged, because a server crashed, and are known from the
    /// position at which the recipient went on.
    pub inferred: u64,
    /// Files of an archive that have arrived whole.
    pub files_done: Option<u64>,
    /// Files of an archive.
    pub files: Option<u64>,
    /// How many deliveries have ended.
    pub deliveries: u32,
    /// The weakest of its deliveries.
    pub assurance: Assurance,
    /// Whether the delivery that completed it was confirmed, or only acknowledged.
    pub confirmed: bool,
    /// When its first delivery began.
    pub started: Timestamp,
    /// When it last changed.
    pub updated: Timestamp,
    /// When the last byte that was missing was acknowledged: it is a receipt from then on.
    pub completed: Option<Timestamp>,
}

/// Where a download stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Bytes are missing.
    Open,
    /// The last delivery was broken off by the client or the server, and bytes are missing.
    Aborted,
    /// The last delivery was cut because of the content.
    Failed,
    /// It is a receipt.
    Completed,
}

/// How a link has been used.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LinkState {
    /// Receipts of downloads by it.
    pub receipts: u32,
    /// Since when it is void.
    pub revoked: Option<Timestamp>,
}

/// How long something is kept, and how much memory it may have.
#[derive(Clone, Debug)]
pub struct Options {
    /// For how long closed downloads and events are kept; `None`: for ever. Downloads that are not complete are kept as
    /// long after their last change.
    pub keep: Option<Duration>,
    /// Whether [`Kind::Progress`] events are made.
    pub progress: bool,
    /// How many changes may wait in memory for the database; a delivery needs up to two, and is not let in without
    /// room for them.
    pub backlog: usize,
    /// Who is told of events.
    pub endpoints: Vec<Endpoint>,
    /// Whether this process is a server: tells the endpoints, takes care of what crashed servers left, and removes what
    /// is too old. Programs that only ask do not.
    pub tell: bool,
    /// For how long a server on PostgreSQL may be silent until it counts as crashed. One on SQLite has crashed if it
    /// does not hold the file any more.
    pub lapse: Duration,
    /// How long the end of a delivery waits for others, with which it is written together.
    pub gather: Duration,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            keep: Some(Duration::from_secs(90 * 24 * 3600)),
            progress: false,
            backlog: 100_000,
            endpoints: Vec::new(),
            tell: false,
            lapse: Duration::from_secs(30),
            gather: Duration::from_millis(10),
        }
    }
}

/// Who is told of events.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// Tells it from the others, and is the same after a restart and on every node.
    pub id: String,
    /// Of which events it is told.
    pub filter: Filter,
    /// How it is told.
    pub target: Target,
}

/// How an endpoint is told.
#[derive(Clone, Debug)]
pub enum Target {
    /// By POST, by the rules of Standard Webhooks.
    Webhook {
        /// `https:` or `http:`.
        url: String,
        /// Signs with each: `whsec_…` for v1 (HMAC-SHA256), `whsk_…` for v1a (ed25519).
        secrets: Vec<String>,
        /// Whether it may lie in a private network.
        allow_private: bool,
    },
    /// By a program that is started for each event, which is a line of JSON on its standard input.
    Command {
        /// The program.
        program: std::path::PathBuf,
    },
}

/// Which events: all that fit each condition that is set.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Of these kinds; empty: of all.
    pub kinds: Vec<Kind>,
    /// Of downloads below this address.
    pub path: Option<String>,
    /// Of this transfer.
    pub transfer: Option<String>,
    /// Of this recipient.
    pub recipient: Option<String>,
}

impl Filter {
    /// Whether an event of `kind` about `download` (if it is about one) fits.
    #[must_use]
    pub fn fits(&self, kind: Kind, download: Option<&Download>) -> bool {
        let under = |wanted: &Option<String>, has: Option<&str>, fits: fn(&str, &str) -> bool| {
            wanted.as_deref().is_none_or(|wanted| has.is_some_and(|has| fits(has, wanted)))
        };
        (self.kinds.is_empty() || self.kinds.contains(&kind))
            && under(&self.path, download.map(|download| download.path.as_str()), |has, wanted| {
                has.starts_with(wanted)
            })
            && under(
                &self.transfer,
                download.and_then(|download| download.transfer.as_deref()),
                |has, wanted| has == wanted,
            )
            && under(&self.recipient, download.map(|download| download.recipient.as_str()), |has, wanted| {
                has == wanted
            })
    }
}
