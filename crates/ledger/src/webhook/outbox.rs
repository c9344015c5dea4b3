//! Events on their way to endpoints: what is claimed, tried and settled. Both engines have this table; `hook` works it.

use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;

use crate::model::{Error, Event};

/// No send is ever due later than this from now. What seems to be was stamped before the clock was set back, and is due
/// at once, as is a lease that seems to end later: or it would wait for years.
pub(crate) const FURTHEST: Duration = Duration::from_secs(27 * 3600);

/// The sends that wait: one for each event and each endpoint that wants it, made in the transaction that makes the
/// event.
#[async_trait]
pub(crate) trait Outbox: Send + Sync + 'static {
    /// Takes up to `limit` sends of `endpoint` that are due, earliest first, for `lease`: nobody else gets them in
    /// that time. A claim that was never settled (its process died) is due again when its lease has ended. What is due
    /// later than [`FURTHEST`] from now is due.
    async fn claim(&self, endpoint: &str, limit: usize, lease: Duration) -> Result<Vec<Claimed>, Error>;

    /// Notes what became of a claimed send. Nothing happens if somebody else has claimed it since.
    async fn settle(&self, claimed: &Claimed, attempt: &Attempt) -> Result<(), Error>;

    /// When the next send of `endpoint` can be claimed, those included that are claimed now and may never be settled;
    /// may lie in the past.
    async fn next_due(&self, endpoint: &str) -> Result<Option<Timestamp>, Error>;

    /// What is known of an endpoint; the default for one that was never heard of.
    async fn endpoint(&self, endpoint: &str) -> Result<EndpointState, Error>;

    /// Changes what is known of an endpoint, in one transaction, and returns what is known then. Nodes do this at the
    /// same time: so it says what happened, and no node writes over what another one wrote. The one who disables it
    /// (it was not disabled, and is now) inserts the `endpoint.disabled` event in the same transaction.
    async fn change_endpoint(&self, endpoint: &str, change: &Change) -> Result<EndpointState, Error>;

    /// Ready when events may have been committed since the last call, here or on another node.
    async fn woken(&self);
}

/// A send that is ours for a while.
#[derive(Clone, Debug)]
pub(crate) struct Claimed {
    /// Which endpoint.
    pub(crate) endpoint: String,
    /// What is to be told.
    pub(crate) event: Event,
    /// Attempts that were settled before this one.
    pub(crate) attempts: u32,
    /// When the first attempt was due.
    pub(crate) since: Timestamp,
    /// Names this claim.
    pub(crate) token: String,
}

/// What became of one attempt.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Attempt {
    /// What is next.
    pub(crate) verdict: Verdict,
    /// For `outflow events show`: "200 OK", "connection refused", "exit status 1"; at most some hundred bytes.
    pub(crate) note: String,
    /// When it began.
    pub(crate) at: Timestamp,
    /// How long it took.
    pub(crate) took: Duration,
}

/// What follows an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It has been told.
    Delivered,
    /// It is tried again then.
    Again(Timestamp),
    /// It is not tried any more, but by a replay.
    GivenUp,
    /// Not counted as an attempt; due again then (the endpoint is disabled or throttled, say).
    Postponed(Timestamp),
}

/// What happened to an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// An attempt has failed: [`EndpointState::failing_since`] becomes this, unless it is set and earlier.
    Failed(Timestamp),
    /// An attempt has succeeded: it does not fail any more.
    Succeeded,
    /// It is not called any more, and why. Stays as it is if it was disabled before.
    Disable(Timestamp, String),
    /// It is called again, and has never failed.
    Enable,
}

/// What is known of an endpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct EndpointState {
    /// Since when every attempt has failed.
    pub(crate) failing_since: Option<Timestamp>,
    /// Since when it is not called any more, and why.
    pub(crate) disabled: Option<(Timestamp, String)>,
}
