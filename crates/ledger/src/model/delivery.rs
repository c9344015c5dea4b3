//! One delivery: its recipient, its link, and how it ended.

use std::net::IpAddr;
use std::ops::Range;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::content::ContentInfo;
use super::link::LinkUse;

/// A delivery before its first byte.
#[derive(Clone)]
pub struct NewDelivery {
    /// The content that is sent.
    pub content: Arc<ContentInfo>,
    /// The recipient of the content.
    pub recipient: Recipient,
    /// The link of the request.
    pub link: Option<LinkUse>,
    /// The client's address.
    pub client: Option<IpAddr>,
    /// The client's `User-Agent`, without control characters, at most 256 bytes.
    pub user_agent: Option<String>,
    /// Where the acknowledgements come from.
    pub assurance: Assurance,
}

/// The person or program that obtains a content.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Recipient {
    /// The recipient that the link names. Without a link, client address and `User-Agent`, hashed
    /// or as they are.
    pub id: String,
    /// True without a link: several people may share this identity, and one person may have
    /// several.
    pub weak: bool,
}

/// How near to the recipient the acknowledgements come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Assurance {
    /// From the host at which the client's connection ends.
    Peer,
    /// From a trusted proxy. What the proxy has passed on is unknown.
    Proxy,
}

/// How a delivery ended.
#[derive(Clone, Debug)]
pub struct DeliveryEnd {
    /// Ranges of the content that the peer acknowledged, disjoint, in any order.
    pub acked: Vec<Range<u64>>,
    /// Bytes of the body that were handed to the kernel.
    pub sent: u64,
    /// Whether it completed, and if not, why.
    pub outcome: DeliveryOutcome,
    /// What the kernel measured of the connection.
    pub transport: Option<TransportSummary>,
}

/// Whether a delivery completed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeliveryOutcome {
    /// Every byte of it was acknowledged.
    Completed {
        /// Whether an orderly close or another request followed.
        confirmed: bool,
    },
    /// The client disconnected, or the server stopped. Holds the reason.
    Aborted(String),
    /// The content could not be sent. Holds the reason.
    Failed(String),
}

/// What limited a delivery, as the kernel measured it (`TCP_INFO`).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct TransportSummary {
    /// Round trip in milliseconds.
    pub rtt_ms: f64,
    /// Share of the busy time in which the client's window was the limit, 0 to 1.
    pub limited_by_client: f64,
    /// Share of the busy time in which the network was the limit.
    pub limited_by_network: f64,
    /// Share of the busy time in which this server was the limit.
    pub limited_by_server: f64,
    /// Bytes that were sent more than once.
    pub retransmitted: u64,
    /// The last estimate of the rate, in bytes a second.
    pub rate: u64,
}
