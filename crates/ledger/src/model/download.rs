//! Downloads as the ledger has them.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::delivery::Assurance;

/// A download as the ledger has it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Download {
    /// Unique; `dl_…`.
    pub id: String,
    /// How many times this recipient has begun to obtain this content, from 1.
    pub generation: u32,
    /// Where it stands.
    pub state: State,
    /// [`ContentInfo::key`], in hexadecimal digits.
    pub content: String,
    /// [`ContentInfo::etag`].
    pub etag: String,
    /// [`ContentInfo::name`].
    pub name: String,
    /// [`ContentInfo::path`] of its first delivery.
    pub path: String,
    /// [`ContentInfo::transfer`].
    pub transfer: Option<String>,
    /// [`Recipient::id`].
    pub recipient: String,
    /// Whether that is a weak identity.
    pub weak: bool,
    /// The link's id.
    pub link: Option<String>,
    /// The client's address at the first delivery.
    pub client: Option<String>,
    /// The client's `User-Agent` at the first delivery.
    pub user_agent: Option<String>,
    /// Length of the content in bytes.
    pub total: u64,
    /// How many different bytes of it were acknowledged.
    pub acked: u64,
    /// How many of these were not seen to be acknowledged, because a server crashed, and are known from the
    /// position at which the recipient went on.
    pub inferred: u64,
    /// Files of an archive that have arrived whole.
    pub files_done: Option<u64>,
    /// Files of an archive.
    pub files: Option<u64>,
    /// How many deliveries have ended.
    pub deliveries: u32,
    /// The weakest of its deliveries.
    pub assurance: Assurance,
    /// Whether the delivery that completed it was confirmed, or only acknowledged.
    pub confirmed: bool,
    /// When its first delivery began.
    pub started: Timestamp,
    /// When it last changed.
    pub updated: Timestamp,
    /// When the last byte that was missing was acknowledged: it is a receipt from then on.
    pub completed: Option<Timestamp>,
}

/// Where a download stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Bytes are missing.
    Open,
    /// The last delivery was broken off by the client or the server, and bytes are missing.
    Aborted,
    /// The last delivery was cut because of the content.
    Failed,
    /// It is a receipt.
    Completed,
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
