//! Queries of downloads and events, and their results.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::content::ContentKey;
use super::download::DownloadState;
use super::event::{EventKind, LedgerEvent};

/// Selects downloads: those that match each condition that is set, newest first.
#[derive(Clone, Debug, Default)]
pub struct DownloadQuery {
    /// Downloads of this content.
    pub content: Option<ContentKey>,
    /// Downloads of this recipient.
    pub recipient: Option<String>,
    /// Downloads that began with this link.
    pub link: Option<String>,
    /// Downloads of this transfer.
    pub transfer: Option<String>,
    /// Downloads whose address begins with this.
    pub path: Option<String>,
    /// Downloads whose address is exactly this.
    pub address: Option<String>,
    /// Downloads in one of these states; empty: in any.
    pub states: Vec<DownloadState>,
    /// Downloads that began before the one with this id: the last one of the previous page.
    pub before: Option<String>,
    /// Maximum number of results; 0: 100. No result has more than 10,000.
    pub limit: usize,
}

/// Selects counts: those that match each condition that is set, newest day first, by address.
#[derive(Clone, Debug, Default)]
pub struct CountQuery {
    /// Counts of files whose address begins with this.
    pub path: Option<String>,
    /// Counts of exactly this address.
    pub address: Option<String>,
    /// Maximum number of results; 0: 100. No result has more than 10,000.
    pub limit: usize,
}

/// Selects events: those that match each condition that is set, in the order of commitment.
#[derive(Clone, Debug, Default)]
pub struct EventQuery {
    /// Events of one of these kinds; empty: of any.
    pub kinds: Vec<EventKind>,
    /// Events about the download with this id.
    pub download: Option<String>,
    /// Events after this [`LedgerEvent::seq`].
    pub after: Option<i64>,
    /// Maximum number of results; 0: 100. No result has more than 10,000.
    pub limit: usize,
    /// Whether the limit keeps the last events instead of the first. The order stays the same.
    pub last: bool,
}

/// An event and its delivery to endpoints.
#[derive(Clone, Debug, Serialize)]
pub struct EventDetail {
    /// The event.
    pub event: LedgerEvent,
    /// One entry for each endpoint that receives it.
    pub sends: Vec<EventSend>,
}

/// An event on its way to one endpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EventSend {
    /// [`Endpoint::id`](crate::Endpoint::id).
    pub endpoint: String,
    /// Where it stands.
    pub state: SendState,
    /// Number of attempts.
    pub attempts: u32,
    /// The last ten attempts, oldest first.
    pub log: Vec<SendAttempt>,
    /// When the next attempt is due.
    pub next: Option<Timestamp>,
}

/// Where a send stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SendState {
    /// An attempt is under way, or will be made when it is due.
    Waiting,
    /// The endpoint has accepted it.
    Delivered,
    /// All attempts have failed. Only a replay tries again.
    GivenUp,
}

/// One attempt to send an event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SendAttempt {
    /// When it began.
    pub at: Timestamp,
    /// Its result: "200 OK", "connection refused".
    pub note: String,
    /// How long it took, in milliseconds.
    pub ms: u64,
}

/// A request to send events again.
#[derive(Clone, Debug)]
pub struct Replay {
    /// The events.
    pub events: ReplayEvents,
    /// Send to this endpoint, whatever its filter. `None`: to all of
    /// [`LedgerOptions::endpoints`](crate::LedgerOptions::endpoints) whose filter matches.
    pub endpoint: Option<String>,
}

/// The events of a replay.
#[derive(Clone, Debug)]
pub enum ReplayEvents {
    /// The event with this id.
    One(String),
    /// All events since this time.
    Since(Timestamp),
}

/// Maximum number of results of one query.
///
/// Bound: ledger.
pub(crate) const MAX_RESULTS: usize = 10_000;

/// The number of results that a `limit` of a query allows.
pub(crate) fn result_limit(requested: usize) -> i64 {
    let limit = if requested == 0 { 100 } else { requested.min(MAX_RESULTS) };
    i64::try_from(limit).expect("at most MAX_RESULTS")
}
