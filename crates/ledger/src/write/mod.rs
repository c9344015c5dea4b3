//! Writing to the ledger.
//!
//! ```text
//! handle     a delivery, as the server reports it
//!   delivery   its state in memory
//! counts     deliveries that are counted instead of recorded
//! queue      changes of deliveries that wait, bounded, for the writer
//!   held       beginnings that wait for their ends
//! writer     commits changes in batches, retrying for as long as it takes
//!   batch      one transaction: load, apply in memory, store
//! direct     what is written at once: revoked links, expired transfers, replays
//! ```

pub(crate) mod batch;
pub(crate) mod counts;
pub(crate) mod delivery;
pub(crate) mod direct;
pub(crate) mod handle;
mod held;
pub(crate) mod queue;
pub(crate) mod writer;
