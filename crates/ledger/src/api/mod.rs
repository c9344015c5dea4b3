//! The door of the ledger.
//!
//! ```text
//! ledger     what callers do: deliveries in, questions answered
//!   start      the ledger's thread: what runs on it, how it starts and ends
//! ```

pub(crate) mod ledger;
mod start;
