//! Questions about downloads, events and the ledger itself, and what is answered.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{ContentKey, Event, Kind, State};

/// Which downloads: all that fit each condition that is set, newest first.
#[derive(Clone, Debug, Default)]
pub struct DownloadQuery {
    /// Of this content.
    pub content: Option<ContentKey>,
    /// Of this recipient.
    pub recipient: Option<String>,
    /// Begun by this link.
    pub link: Option<String>,
    /// Of this transfer.
    pub transfer: Option<String>,
    /// Whose address begins so.
    pub path: Option<String>,
    /// Whose address is this one.
    pub address: Option<String>,
    /// In one of these states; empty: in any.
    pub states: Vec<State>,
    /// Begun before this download: the id of the last one of the page before.
    pub before: Option<String>,
    /// How many at most; 0: 100. No answer has more than 10,000.
    pub limit: usize,
}

/// Which events: all that fit each condition that is set, in the order of their commitment.
#[derive(Clone, Debug, Default)]
pub struct EventQuery {
    /// Of one of these kinds; empty: of any.
    pub kinds: Vec<Kind>,
    /// About this download.
    pub download: Option<String>,
    /// Behind this [`Event::seq`].
    pub after: Option<i64>,
    /// How many at most; 0: 100. No answer has more than 10,000.
    pub limit: usize,
    /// The last ones instead of the first; they are in the order of their commitment all the same.
    pub last: bool,
}

/// An event and what became of it.
#[derive(Clone, Debug, Serialize)]
pub struct EventDetail {
    /// The event.
    pub event: Event,
    /// To whom it goes or went.
    pub sends: Vec<EventSend>,
}

/// An event on its way to an endpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EventSend {
    /// [`crate::Endpoint::id`].
    pub endpoint: String,
    /// Where it stands.
    pub state: SendState,
    /// How many attempts there were.
    pub attempts: u32,
    /// The last ten of them, oldest first.
    pub log: Vec<SendAttempt>,
    /// When it is tried next.
    pub next: Option<Timestamp>,
}

/// Where a send stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SendState {
    /// It is tried, or tried again, when it is due.
    Waiting,
    /// It has been told.
    Delivered,
    /// It is not tried any more, but by a replay.
    GivenUp,
}

/// One attempt to tell an event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SendAttempt {
    /// When it began.
    pub at: Timestamp,
    /// What became of it: "200 OK", "connection refused".
    pub note: String,
    /// How long it took, in milliseconds.
    pub ms: u64,
}

/// What is told once more.
#[derive(Clone, Debug)]
pub struct Replay {
    /// Which events.
    pub events: ReplayEvents,
    /// To this endpoint, whatever its filter says; `None`: to all of [`crate::Options::endpoints`] whose filter fits.
    pub endpoint: Option<String>,
}

/// Which events are told once more.
#[derive(Clone, Debug)]
pub enum ReplayEvents {
    /// The one of this id.
    One(String),
    /// All that happened since.
    Since(Timestamp),
}

/// One file of what is downloaded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FileState {
    /// Its name in the archive.
    pub name: String,
    /// Its size in bytes.
    pub size: u64,
    /// Whether all of it has arrived.
    pub done: bool,
}

/// How the ledger is.
#[derive(Clone, Debug, PartialEq)]
pub struct Status {
    /// Changes that wait in memory for the database, those that deliveries under way have reserved included.
    pub waiting: usize,
    /// How many may: [`crate::Options::backlog`].
    pub bound: usize,
    /// Since when the database cannot be written, and why. `None`: it can.
    pub trouble: Option<Trouble>,
}

/// What keeps the ledger from writing.
#[derive(Clone, Debug, PartialEq)]
pub struct Trouble {
    /// Since when.
    pub since: Timestamp,
    /// Why, and what to do.
    pub reason: String,
}

/// A download under way, as it stands: told at most four times a second, and when it has ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Its id.
    pub download: String,
    /// [`crate::Download::content`].
    pub content: String,
    /// [`crate::Download::path`].
    pub path: String,
    /// [`crate::Download::transfer`].
    pub transfer: Option<String>,
    /// [`crate::Download::link`].
    pub link: Option<String>,
    /// [`crate::Download::recipient`].
    pub recipient: String,
    /// Where it stands.
    pub state: State,
    /// Different bytes of the content that were acknowledged; by this node's deliveries to the second, by others to the
    /// last checkpoint.
    pub acked: u64,
    /// Bytes that this node's deliveries under way have handed to the kernel.
    pub sent: u64,
    /// Length of the content in bytes.
    pub total: u64,
    /// Acknowledged bytes a second, over the last seconds.
    pub rate: u64,
    /// Seconds that the rest will take at this rate. `None`: nobody knows.
    pub eta: Option<u64>,
    /// Files of an archive that have arrived whole, by the last checkpoint.
    pub files_done: Option<u64>,
    /// Files of an archive.
    pub files: Option<u64>,
}

/// What a listener hears.
#[derive(Clone, Debug, PartialEq)]
pub enum Report {
    /// How a download stands.
    Progress(Arc<Progress>),
    /// Something was not heard, on another node or from it: how downloads stand is to be asked anew.
    Missed,
}

/// There is no room for further changes: the database has not taken any for too long.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{waiting} changes wait for the database, which is as many as may: no further download is let in")]
pub struct Full {
    /// How many wait.
    pub waiting: usize,
}

/// A bound of answers.
pub(crate) const LIMIT: usize = 10_000;

/// What a `limit` of a query means.
pub(crate) fn limit(asked: usize) -> i64 {
    let limit = if asked == 0 { 100 } else { asked.min(LIMIT) };
    i64::try_from(limit).expect("at most 10,000")
}

/// Bytes in `ranges`, which do not overlap.
pub(crate) fn bytes(ranges: &[Range<u64>]) -> u64 {
    ranges.iter().map(|range| range.end - range.start).sum()
}

/// How long a link's use is believed without asking the database again.
pub(crate) const LINK_AGE: Duration = Duration::from_secs(1);
