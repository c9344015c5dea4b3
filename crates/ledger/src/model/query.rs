//! Questions about downloads and events, and what is answered.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::content::ContentKey;
use super::download::State;
use super::event::{Event, Kind};

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
    /// [`crate::model::Endpoint::id`].
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
    /// To this endpoint, whatever its filter says; `None`: to all of [`crate::model::Options::endpoints`] whose filter fits.
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

/// A bound of answers.
pub(crate) const LIMIT: usize = 10_000;

/// What a `limit` of a query means.
pub(crate) fn limit(asked: usize) -> i64 {
    let limit = if asked == 0 { 100 } else { asked.min(LIMIT) };
    i64::try_from(limit).expect("at most 10,000")
}
