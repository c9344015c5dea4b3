//! The outbox: events on their way to endpoints, which workers claim, send and settle.

use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;

use crate::model::{LedgerError, LedgerEvent};

/// The furthest time from now at which a send or a lease can be due. A later one was written before
/// the clock was set back, and is due at once; otherwise it would wait for years.
///
/// Bound: webhooks.
pub(super) const MAX_DUE: Duration = Duration::from_secs(27 * 3600);

/// The sends that wait. There is one for each event and each endpoint that receives it, made in the
/// transaction that makes the event.
#[async_trait]
pub(crate) trait Outbox: Send + Sync + 'static {
    /// Claims up to `limit` due sends of `endpoint` for `lease`, earliest first. No other worker
    /// gets them in that time. A send whose claim is not settled is due again when its lease has
    /// expired. A send that is due later than [`MAX_DUE`] from now is due now.
    async fn claim(
        &self,
        endpoint: &str,
        limit: usize,
        lease: Duration,
    ) -> Result<Vec<ClaimedSend>, LedgerError>;

    /// Records the result of an attempt. Has no effect if another worker has claimed the send
    /// since.
    async fn settle(&self, claimed: &ClaimedSend, attempt: &Attempt) -> Result<(), LedgerError>;

    /// When the next send of `endpoint` can be claimed, including those that are claimed now and
    /// may never be settled. May be in the past.
    async fn next_due(&self, endpoint: &str) -> Result<Option<Timestamp>, LedgerError>;

    /// The state of an endpoint.
    async fn endpoint(&self, endpoint: &str) -> Result<EndpointState, LedgerError>;

    /// Changes the state of an endpoint in one transaction, and returns the new state. The change
    /// says what happened, so that nodes do not overwrite each other's changes. The one that
    /// disables an enabled endpoint inserts the `endpoint.disabled` event in the same transaction.
    async fn change_endpoint(
        &self,
        endpoint: &str,
        change: &EndpointChange,
    ) -> Result<EndpointState, LedgerError>;

    /// Returns when events may have been committed since the last call, on this node or another.
    async fn woken(&self);
}

/// A send that this worker has claimed.
#[derive(Clone, Debug)]
pub(crate) struct ClaimedSend {
    /// The id of the endpoint.
    pub(super) endpoint: String,
    pub(super) event: LedgerEvent,
    /// Number of earlier attempts.
    pub(super) attempts: u32,
    /// When the first attempt was due.
    pub(super) since: Timestamp,
    /// Identifies the claim.
    pub(super) token: String,
}

/// The result of one attempt.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Attempt {
    /// Whether it succeeded, and whether another attempt follows.
    pub(super) verdict: AttemptVerdict,
    /// For `outflow event show`: "200 OK", "connection refused", "exit status 1".
    pub(super) note: String,
    /// When it began.
    pub(super) at: Timestamp,
    /// How long it took.
    pub(super) took: Duration,
}

/// What follows from an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AttemptVerdict {
    /// The endpoint has accepted the event.
    Delivered,
    /// The next attempt is due then.
    Retry(Timestamp),
    /// There is no further attempt, except by a replay.
    GivenUp,
    /// The attempt does not count, because the endpoint is disabled or throttled. The next one is
    /// due then.
    Postponed(Timestamp),
}

/// A change of an endpoint's state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum EndpointChange {
    /// An attempt has failed at this time. [`EndpointState::failing_since`] keeps the earliest one.
    Failed(Timestamp),
    /// An attempt has succeeded.
    Succeeded,
    /// Disables the endpoint, unless it is disabled. Holds when and why.
    Disable(Timestamp, String),
    /// Enables the endpoint as if it had never failed.
    Enable,
}

/// The state of an endpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct EndpointState {
    /// Since when every attempt has failed.
    pub(super) failing_since: Option<Timestamp>,
    /// Since when it is disabled, and why.
    pub(super) disabled: Option<(Timestamp, String)>,
}
