//! Deliveries: to whom, by which link, and how they ended.

use std::net::IpAddr;
use std::ops::Range;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::content::ContentInfo;
use super::link::LinkUse;

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

/// Who obtains a content.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Recipient {
    /// Whom the link was made for; without a link, client address and `User-Agent`, hashed or as they are.
    pub id: String,
    /// True without a link: several people may share this identity, and one person may have several.
    pub weak: bool,
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
