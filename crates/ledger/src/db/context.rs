//! What transactions need to know beside what they write.

use std::sync::Arc;

use super::presence::Presence;
use crate::model::Options;

/// What a transaction needs to know beside the changes.
pub(crate) struct Context {
    /// This process among those that share the ledger.
    pub(crate) presence: Arc<Presence>,
    pub(crate) options: Options,
}
