//! Events.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

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
