//! Progress of downloads under way.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::download::DownloadState;

/// The progress of a download.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DownloadProgress {
    /// The download's id.
    pub download: String,
    /// [`Download::content`](crate::Download::content).
    pub content: String,
    /// [`Download::path`](crate::Download::path).
    pub path: String,
    /// [`Download::transfer`](crate::Download::transfer).
    pub transfer: Option<String>,
    /// [`Download::link`](crate::Download::link).
    pub link: Option<String>,
    /// [`Download::recipient`](crate::Download::recipient).
    pub recipient: String,
    /// Where it stands.
    pub state: DownloadState,
    /// Bytes of the content that were acknowledged at least once. Deliveries of this node count up
    /// to now, those of other nodes up to their last checkpoint.
    pub acked: u64,
    /// Bytes that deliveries under way on this node have handed to the kernel.
    pub sent: u64,
    /// Length of the content in bytes.
    pub total: u64,
    /// Acknowledged bytes a second, over the last seconds.
    pub rate: u64,
    /// Seconds that the rest takes at this rate. `None` if nothing arrives.
    pub eta: Option<u64>,
    /// Files of an archive that have arrived whole, as of the last checkpoint.
    pub files_done: Option<u64>,
    /// Files of an archive.
    pub files: Option<u64>,
}

/// A message to subscribers of progress.
#[derive(Clone, Debug, PartialEq)]
pub enum ProgressReport {
    /// The progress of one download.
    Progress(Arc<DownloadProgress>),
    /// Reports of another node were lost. Query the current progress instead.
    Missed,
}
