//! How links are used.

use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

/// The link that a request came with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkUse {
    /// Its id.
    pub id: String,
    /// After how many receipts it is exhausted.
    pub max_downloads: Option<u32>,
}

/// How a link has been used.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LinkState {
    /// Receipts of downloads by it.
    pub receipts: u32,
    /// Since when it is void.
    pub revoked: Option<Timestamp>,
}

/// How long a link's use is believed without asking the database again.
pub(crate) const LINK_AGE: Duration = Duration::from_secs(1);
