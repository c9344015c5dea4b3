//! Changes of many deliveries, written in one transaction: load what they touch, apply them one
//! after the other in memory, store the result with one statement for each table.
//!
//! ```text
//! apply   the states of a download, and how changes move it from one to the next
//! load    what the changes touch
//! store   what came out
//! ```

mod apply;
mod load;
mod store;

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

use jiff::Timestamp;

#[cfg(test)]
pub(crate) use load::STATEMENTS as LOAD_STATEMENTS;
#[cfg(test)]
pub(crate) use store::STATEMENTS as STORE_STATEMENTS;
pub(crate) use store::day_number;

use super::counts::FileCount;
use super::delivery::{DeliveryRows, TrackedDelivery};
use super::queue::{DeliveryChange, TakenChanges};
use crate::db::connection::Conn;
use crate::db::context::NodeContext;
use crate::db::download_row::{DownloadRow, now};
use crate::db::event_row::NewEvent;
use crate::db::sequence::Sequence;
use crate::model::ranges::Fragments;
use crate::model::{ContentKey, Download, EventKind};

/// Maximum number of acknowledged ranges of a download. Beyond it, a range that does not touch an
/// existing one is dropped, and the recipient has to fetch it again.
///
/// Bound: ledger.
const MAX_FRAGMENTS: usize = 131_072;
/// Maximum number of an archive's files whose names are kept.
///
/// Bound: ledger.
const MAX_PARTS: u64 = 10_000;
/// Maximum number of bytes behind the last acknowledged one that a recipient may have read when the
/// connection broke. TCP delays the acknowledgement of up to two segments (RFC 1122, 4.2.3.2) of at
/// most 64 KiB; a recipient that resumes further behind has jumped.
///
/// Bound: ledger.
const MAX_UNACKED: u64 = 128 << 10;
/// Maximum number of bytes behind the last checkpoint that a recipient may have read when the
/// server crashed.
///
/// Bound: ledger.
const MAX_UNCHECKPOINTED: u64 = 80 << 20;
/// Maximum number of unconfirmed tails of a download: the latest are kept.
///
/// Bound: ledger.
const MAX_TAILS: usize = 64;

/// The result of a batch, once it is committed.
#[derive(Default)]
pub(crate) struct CommittedBatch {
    /// The rows of deliveries that are under way.
    pub(crate) begun: Vec<(Arc<TrackedDelivery>, DeliveryRows)>,
    /// For each delivery with a checkpoint, the acknowledged ranges that are written.
    pub(crate) checkpoints: Vec<(Arc<TrackedDelivery>, Vec<Range<u64>>)>,
    /// Downloads that have changed, as they are now.
    pub(crate) changed: Vec<Download>,
    /// Links that have new receipts, and how many they have in all.
    pub(crate) links: Vec<(String, u32)>,
    /// Whether there are events to send.
    pub(crate) has_sends: bool,
    /// Contents whose files are written.
    pub(crate) contents: Vec<[u8; 16]>,
    /// The kinds of its events.
    pub(crate) events: Vec<EventKind>,
}

/// A download that the batch may change.
struct BatchedDownload {
    row: DownloadRow,
    /// Whether the database has its row.
    exists: bool,
    /// Whether its row has to be written.
    changed: bool,
    /// The acknowledged ranges that were loaded.
    loaded: Vec<Range<u64>>,
    /// What they have become.
    fragments: Fragments,
    /// Its other deliveries under way, as far as they matter.
    active: HashSet<ActiveDelivery>,
    tails: Vec<UnconfirmedTail>,
    /// Whether an event of this batch about it has a place of its own in the order of events.
    has_event: bool,
}

/// A delivery under way.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum ActiveDelivery {
    /// It has a row with this id.
    Recorded(String),
    /// It began in this batch: its [`TrackedDelivery::number`].
    New(u64),
}

/// The end of a delivery that was cut short by its recipient, by the server, or by a crash: bytes
/// from `reached` to `end` may have arrived without an acknowledgement.
#[derive(Clone, Debug)]
struct UnconfirmedTail {
    id: String,
    reached: u64,
    end: u64,
}

/// A delivery that was cut short in this batch.
struct CutDelivery {
    tail: UnconfirmedTail,
    /// Index of its download.
    download: usize,
    first: u64,
    sent: u64,
}

/// One recipient and one content.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct DownloadKey<'a> {
    recipient: &'a str,
    content: [u8; 16],
}

/// The downloads with the same key: one recipient obtaining one content again and again.
#[derive(Default)]
struct Generations {
    /// Index of the one that is not complete.
    incomplete: Option<usize>,
    /// Number of the last one.
    last: u32,
}

/// A batch on its way to the database.
pub(crate) struct Batch<'a> {
    context: &'a NodeContext,
    known_contents: &'a HashSet<[u8; 16]>,
    changes: &'a [DeliveryChange],
    counts: &'a [(ContentKey, FileCount)],
    downloads: Vec<BatchedDownload>,
    /// Index by id.
    by_id: HashMap<String, usize>,
    by_key: HashMap<DownloadKey<'a>, Generations>,
    /// Index of the download of each delivery that began in this batch, by its number.
    begun: HashMap<u64, usize>,
    /// Deliveries under way whose rows are to be written, by their numbers.
    under_way: HashMap<u64, &'a Arc<TrackedDelivery>>,
    /// Ids of the rows of deliveries that are to be deleted.
    deleted_deliveries: Vec<String>,
    /// Deliveries that were cut short.
    cut: Vec<CutDelivery>,
    /// Ids of downloads that are complete now, and whose tails are of no use.
    completed: Vec<String>,
    sequence: Option<Sequence>,
    events: Vec<NewEvent>,
    /// The kinds of all events, those that rows of downloads tell included.
    kinds: Vec<EventKind>,
    /// By link: new receipts, and the maximum number of receipts.
    receipts: HashMap<String, (u32, Option<u32>)>,
    /// The files of archives, as JSON.
    contents: HashMap<[u8; 16], String>,
    checkpoints: Vec<(Arc<TrackedDelivery>, Vec<Range<u64>>)>,
}

impl<'a> Batch<'a> {
    pub(crate) fn new(
        context: &'a NodeContext,
        known_contents: &'a HashSet<[u8; 16]>,
        taken: &'a TakenChanges,
    ) -> Batch<'a> {
        Batch {
            context,
            known_contents,
            changes: &taken.changes,
            counts: &taken.counts,
            downloads: Vec::new(),
            by_id: HashMap::new(),
            by_key: HashMap::new(),
            begun: HashMap::new(),
            under_way: HashMap::new(),
            deleted_deliveries: Vec::new(),
            cut: Vec::new(),
            completed: Vec::new(),
            sequence: None,
            events: Vec::new(),
            kinds: Vec::new(),
            receipts: HashMap::new(),
            contents: HashMap::new(),
            checkpoints: Vec::new(),
        }
    }

    /// Loads, applies and stores, in a transaction that the caller has begun and commits as batch
    /// `number` of this process.
    pub(crate) async fn run(mut self, conn: &mut Conn, number: i64) -> Result<CommittedBatch, sqlx::Error> {
        self.load(conn).await?;
        // After the locks of rows, and before the ids of new downloads.
        self.sequence = Some(Sequence::lock(conn).await?);
        for change in self.changes {
            self.apply(change);
        }
        self.store(conn, number).await
    }

    fn key(delivery: &TrackedDelivery) -> DownloadKey<'_> {
        DownloadKey { recipient: &delivery.info.recipient.id, content: delivery.info.content.key.0 }
    }

    /// How `delivery` is known among those under way.
    fn active(delivery: &TrackedDelivery) -> ActiveDelivery {
        match &delivery.rows().delivery {
            Some(row) => ActiveDelivery::Recorded(row.to_string()),
            None => ActiveDelivery::New(delivery.number),
        }
    }

    /// Index of the download of `delivery`.
    fn download_of(&self, delivery: &TrackedDelivery) -> Option<usize> {
        if let Some(index) = self.begun.get(&delivery.number) {
            return Some(*index);
        }
        let rows = delivery.rows();
        self.by_id.get(&**rows.download.as_ref()?).copied()
    }

    /// The next place in the order of events.
    fn next_sequence(&mut self) -> i64 {
        self.sequence.as_mut().expect("it is locked before changes are applied").take()
    }

    fn now() -> Timestamp {
        now()
    }
}
