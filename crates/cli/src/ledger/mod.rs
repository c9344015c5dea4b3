//! Commands that query the ledger.
//!
//! ```text
//! access           which ledger, and how it is opened
//! downloads        `outflow downloads`: list and show
//! events           `outflow events`: list, show, replay, enable
//! webhook_secret   `outflow webhook-secret`
//! ```

pub(crate) mod access;
pub(crate) mod downloads;
pub(crate) mod events;
pub(crate) mod webhook_secret;
