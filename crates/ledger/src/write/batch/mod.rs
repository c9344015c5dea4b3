//! Changes of many deliveries, written in one transaction: what they touch is loaded, they are applied one after the
//! other in memory, and what came out is written, each with one statement for all of them.

mod apply;
mod load;
mod store;

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

use jiff::Timestamp;

use crate::db::context::Context;
use crate::db::download_row::Stored;
use crate::db::event::Told;
use crate::db::sql::Conn;
use crate::model::Download;
use crate::model::ranges::Fragments;
use crate::write::delivery::{Delivery, Place};
use crate::write::queue::Change;

/// More fragments a download does not get: a range that touches none of them is then not recorded. Whoever makes so
/// many holes on purpose has to fetch those bytes again.
pub(crate) const MOST_FRAGMENTS: usize = 131_072;
/// The names of an archive's files are kept up to so many.
pub(crate) const MOST_PARTS: u64 = 10_000;

/// What a batch has done, once it is committed.
#[derive(Default)]
pub(crate) struct Done {
    /// Where deliveries that began belong.
    pub(crate) begun: Vec<(Arc<Delivery>, Place)>,
    /// Of which deliveries what was written.
    pub(crate) noted: Vec<(Arc<Delivery>, Vec<Range<u64>>)>,
    /// Downloads that have changed, as they are now.
    pub(crate) changed: Vec<Download>,
    /// Receipts that links have by now.
    pub(crate) links: Vec<(String, u32)>,
    /// Whether somebody is to be told something.
    pub(crate) sends: bool,
    /// Contents whose parts are written.
    pub(crate) contents: Vec<[u8; 16]>,
}

/// A download that the batch is about.
struct Work {
    stored: Stored,
    /// Whether it has a row.
    known: bool,
    /// Whether its row is to be written.
    dirty: bool,
    /// The fragments that were loaded, and what becomes of them.
    loaded: Vec<Range<u64>>,
    now: Fragments,
    /// Other deliveries of it that are under way, as far as it matters: ids of rows, or places in memory.
    under_way: HashSet<UnderWay>,
    orphans: Vec<Orphan>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum UnderWay {
    Row(String),
    Here(usize),
}

/// What is left of a delivery of one range that was cut short, by its recipient, by us, or with its server: bytes behind
/// `reached` may have arrived and are not known to have.
#[derive(Clone, Debug)]
struct Orphan {
    id: String,
    reached: u64,
    past: u64,
}

/// How far behind the last acknowledged byte a recipient that broke a connection off may have read on: TCP holds back the
/// acknowledgement of up to two segments (RFC 1122, 4.2.3.2), which have 64 KiB each at the most. No more, because
/// whoever goes on further behind has not read on but jumped.
const HELD_BACK: u64 = 128 << 10;

/// The same when a server crashed: what may have been sent since the last checkpoint, and is in nobody's account.
const SINCE_CHECKPOINT: u64 = 80 << 20;

/// Of one download so many of them are kept, the latest.
const MOST_ORPHANS: usize = 64;

/// A delivery that was cut short in this batch.
struct Left {
    orphan: Orphan,
    work: usize,
    first: u64,
    sent: u64,
}

/// One recipient and one content.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Key<'a> {
    recipient: &'a str,
    content: [u8; 16],
}

/// The downloads of a key.
#[derive(Default)]
struct Generations {
    open: Option<usize>,
    last: u32,
}

/// A batch in the works.
pub(crate) struct Batch<'a> {
    context: &'a Context,
    known_contents: &'a HashSet<[u8; 16]>,
    changes: &'a [Change],
    works: Vec<Work>,
    by_id: HashMap<String, usize>,
    by_key: HashMap<Key<'a>, Generations>,
    /// To which download a delivery belongs that began in this batch.
    places: HashMap<usize, usize>,
    /// Rows of deliveries under way to be written or removed.
    rows: HashMap<usize, &'a Arc<Delivery>>,
    gone: Vec<String>,
    /// What is left of deliveries that were cut short.
    left: Vec<Left>,
    /// Downloads with rows whose orphans are of no use any more.
    closed: Vec<String>,
    events: Vec<Told>,
    /// Receipts by link: how many more, and how many there may be.
    receipts: HashMap<String, (u32, Option<u32>)>,
    contents: HashMap<[u8; 16], String>,
    noted: Vec<(Arc<Delivery>, Vec<Range<u64>>)>,
}

impl<'a> Batch<'a> {
    pub(crate) fn new(
        context: &'a Context,
        known_contents: &'a HashSet<[u8; 16]>,
        changes: &'a [Change],
    ) -> Batch<'a> {
        Batch {
            context,
            known_contents,
            changes,
            works: Vec::new(),
            by_id: HashMap::new(),
            by_key: HashMap::new(),
            places: HashMap::new(),
            rows: HashMap::new(),
            gone: Vec::new(),
            left: Vec::new(),
            closed: Vec::new(),
            events: Vec::new(),
            receipts: HashMap::new(),
            contents: HashMap::new(),
            noted: Vec::new(),
        }
    }

    /// Does it all, within a transaction that the caller has begun and will commit as batch `number` of this instance.
    pub(crate) async fn run(mut self, conn: &mut Conn, number: i64) -> Result<Done, sqlx::Error> {
        self.load(conn).await?;
        for change in self.changes {
            self.apply(change);
        }
        self.store(conn, number).await
    }

    fn key(delivery: &Delivery) -> Key<'_> {
        Key { recipient: &delivery.opening.recipient.id, content: delivery.opening.content.key.0 }
    }

    /// Deliveries are told apart by where they lie in memory: the changes keep them there.
    fn here(delivery: &Arc<Delivery>) -> usize {
        Arc::as_ptr(delivery).addr()
    }

    /// Who else is under way: by its row, if it has one.
    fn name(delivery: &Arc<Delivery>) -> UnderWay {
        match &delivery.place().row {
            Some(row) => UnderWay::Row(row.to_string()),
            None => UnderWay::Here(Self::here(delivery)),
        }
    }

    /// The download that `delivery` belongs to.
    fn work_of(&self, delivery: &Arc<Delivery>) -> Option<usize> {
        if let Some(work) = self.places.get(&Self::here(delivery)) {
            return Some(*work);
        }
        let place = delivery.place();
        self.by_id.get(&**place.download.as_ref()?).copied()
    }

    fn now() -> Timestamp {
        Timestamp::now()
    }
}
