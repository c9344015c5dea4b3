//! Commands that query the ledger.
//!
//! ```text
//! access      which ledger, and how it is opened
//! downloads   `outflow download`: list and show
//! counts      deliveries that are counted and not recorded
//! events      `outflow event`: list, show, replay
//! endpoints   `outflow endpoint`: enable, and secrets of webhooks
//! ```

pub(crate) mod access;
pub(crate) mod counts;
pub(crate) mod downloads;
pub(crate) mod endpoints;
pub(crate) mod events;
