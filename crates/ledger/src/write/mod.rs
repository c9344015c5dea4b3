//! What is written to the ledger.
//!
//! ```text
//! handle      a delivery, as the server reports it
//!   delivery    what is known of it in memory
//! queue       changes of deliveries that wait, bounded, for the
//! writer      which commits them in groups, however long it takes
//!   batch       one group: loaded, applied in memory, written
//! single      the few things that are written one by one
//! ```

pub(crate) mod batch;
pub(crate) mod delivery;
pub(crate) mod handle;
pub(crate) mod queue;
pub(crate) mod single;
pub(crate) mod writer;
