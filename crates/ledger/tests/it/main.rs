//! What the ledger promises, over both engines.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;
mod counting;
#[path = "../support/postgres.rs"]
mod postgres;
