//! What the ledger guarantees, on both databases.
#![allow(
    clippy::unwrap_used,
    clippy::single_range_in_vec_init,
    reason = "tests; a list of ranges may have one"
)]

mod common;
mod counting;
mod kills;
mod links;
mod nodes;
mod notifying;
mod told;
mod trouble;
