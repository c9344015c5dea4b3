//! This process and its options, which every transaction needs.

use std::sync::Arc;

use super::presence::Presence;
use crate::model::{LedgerMetrics, LedgerOptions};

/// This process among those that share the ledger.
pub(crate) struct NodeContext {
    pub(crate) presence: Arc<Presence>,
    pub(crate) options: LedgerOptions,
    pub(crate) metrics: Arc<LedgerMetrics>,
}

impl NodeContext {
    pub(crate) fn new(presence: Arc<Presence>, options: LedgerOptions) -> NodeContext {
        NodeContext { presence, metrics: options.metrics.set(), options }
    }
}
