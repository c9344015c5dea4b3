//! The ledger: receipts, events, progress, webhooks, crashes.
//!
//! ```text
//! counting       what counts as delivered: all of it, acknowledged, once
//! counted        what is recorded, and what is only counted
//! clients        one receipt for each download with curl, wget and aria2c
//! webhooks       who receives events, and how often
//! receiver       the receiver in `examples/`, from a link to its last event
//! progress       `?events`: the progress of downloads as it happens
//! progress_many  many listeners: their cost, their ends, events of other nodes
//! nodes          two servers with one ledger
//! ledger_faults  ledgers that cannot be opened, written or reached
//! crashes        servers killed at any moment
//! ```

mod clients;
mod counted;
mod counting;
mod crashes;
mod ledger_faults;
mod nodes;
mod progress;
mod progress_many;
mod receiver;
mod webhooks;
