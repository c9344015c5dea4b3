//! The door of the ledger.
//!
//! ```text
//! ledger   the calls: report deliveries, query, write
//! thread   the ledger's thread: what runs on it, how it starts and stops
//! ```

pub(crate) mod ledger;
mod thread;
