//! One recipient obtaining one content, over any number of deliveries.

use jiff::Timestamp;
use jiff::civil::Date;
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
    pub state: DownloadState,
    /// [`ContentInfo::key`](crate::ContentInfo::key), in hexadecimal digits.
    pub content: String,
    /// [`ContentInfo::etag`](crate::ContentInfo::etag).
    pub etag: String,
    /// [`ContentInfo::name`](crate::ContentInfo::name).
    pub name: String,
    /// [`ContentInfo::path`](crate::ContentInfo::path) of its first delivery.
    pub path: String,
    /// [`ContentInfo::transfer`](crate::ContentInfo::transfer).
    pub transfer: Option<String>,
    /// [`Recipient::id`](crate::Recipient::id).
    pub recipient: String,
    /// [`Recipient::weak`](crate::Recipient::weak).
    pub weak: bool,
    /// The link's id.
    pub link: Option<String>,
    /// The client's address at the first delivery.
    pub client: Option<String>,
    /// The client's `User-Agent` at the first delivery.
    pub user_agent: Option<String>,
    /// Length of the content in bytes.
    pub total: u64,
    /// Bytes of the content that were acknowledged at least once.
    pub acked: u64,
    /// The part of `acked` whose acknowledgement was lost with a crashed server, and is inferred
    /// from the position at which the recipient resumed.
    pub inferred: u64,
    /// Files of an archive that have arrived whole.
    pub files_done: Option<u64>,
    /// Files of an archive.
    pub files: Option<u64>,
    /// Deliveries that have ended.
    pub deliveries: u32,
    /// The weakest assurance of its deliveries.
    pub assurance: Assurance,
    /// Whether the delivery that completed it was confirmed, rather than only acknowledged.
    pub confirmed: bool,
    /// When its first delivery began.
    pub started: Timestamp,
    /// When it last changed.
    pub updated: Timestamp,
    /// When the last missing byte was acknowledged. From then on it is a receipt.
    pub completed: Option<Timestamp>,
}

/// Where a download stands. `write/batch/apply.rs` draws the transitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DownloadState {
    /// Bytes are missing, and a delivery may be under way.
    Open,
    /// Bytes are missing. The client or the server broke the last delivery off.
    Aborted,
    /// Bytes are missing. The content of the last delivery could not be sent.
    Failed,
    /// Every byte has been acknowledged: it is a receipt.
    Completed,
}

/// One file of a download.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FileState {
    /// Its name in the archive.
    pub name: String,
    /// Its size in bytes.
    pub size: u64,
    /// Whether all of it has arrived.
    pub done: bool,
}

/// How often one file was delivered on one day, without a record of each delivery.
///
/// A crash loses what was counted in the ten seconds before it. Who the recipients were is not
/// known, nor whether one of them came several times.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DailyCount {
    /// The day on which the deliveries were written, in UTC.
    pub day: Date,
    /// Identifies the content, like [`Download::content`]. Zeros stand for all files that found no
    /// room in the memory for counts.
    pub content: String,
    /// Address of the file.
    pub path: String,
    /// Number of deliveries that ended, whatever they carried.
    pub deliveries: u64,
    /// How many of them carried the whole file, acknowledged to its last byte.
    pub completed: u64,
    /// How many of them were aborted or failed.
    pub broken: u64,
    /// Sum of the acknowledged bytes.
    pub bytes: u64,
}
