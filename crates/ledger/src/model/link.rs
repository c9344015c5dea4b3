//! How links are used.

use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

/// The link of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkUse {
    /// Its id.
    pub id: String,
    /// Number of receipts after which it is exhausted.
    pub max_downloads: Option<u32>,
}

/// How a link has been used.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LinkState {
    /// Receipts of downloads with it.
    pub receipts: u32,
    /// Since when it is void.
    pub revoked: Option<Timestamp>,
}

/// How long a link's state is used without another query.
///
/// Bound: ledger.
pub(crate) const LINK_CACHE_AGE: Duration = Duration::from_secs(1);
