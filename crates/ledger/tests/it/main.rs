//! What the ledger promises, over both engines.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;
mod counting;
mod kills;
mod links;
mod nodes;
#[path = "../support/postgres.rs"]
mod postgres;
mod telling;
mod trouble;
