//! Progress of downloads under way.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::download::State;

/// A download under way, as it stands: told at most four times a second, and when it has ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Its id.
    pub download: String,
    /// [`crate::model::Download::content`].
    pub content: String,
    /// [`crate::model::Download::path`].
    pub path: String,
    /// [`crate::model::Download::transfer`].
    pub transfer: Option<String>,
    /// [`crate::model::Download::link`].
    pub link: Option<String>,
    /// [`crate::model::Download::recipient`].
    pub recipient: String,
    /// Where it stands.
    pub state: State,
    /// Different bytes of the content that were acknowledged; by this node's deliveries to the second, by others to the
    /// last checkpoint.
    pub acked: u64,
    /// Bytes that this node's deliveries under way have handed to the kernel.
    pub sent: u64,
    /// Length of the content in bytes.
    pub total: u64,
    /// Acknowledged bytes a second, over the last seconds.
    pub rate: u64,
    /// Seconds that the rest will take at this rate. `None`: nobody knows.
    pub eta: Option<u64>,
    /// Files of an archive that have arrived whole, by the last checkpoint.
    pub files_done: Option<u64>,
    /// Files of an archive.
    pub files: Option<u64>,
}

/// What a listener hears.
#[derive(Clone, Debug, PartialEq)]
pub enum Report {
    /// How a download stands.
    Progress(Arc<Progress>),
    /// Something was not heard, on another node or from it: how downloads stand is to be asked anew.
    Missed,
}
