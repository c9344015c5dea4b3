//! Whether the ledger works.

use jiff::Timestamp;

/// The state of a ledger.
#[derive(Clone, Debug, PartialEq)]
pub struct LedgerStatus {
    /// Changes that wait in memory for the database, including those that deliveries under way have
    /// reserved.
    pub waiting: usize,
    /// Maximum of `waiting`: [`LedgerOptions::backlog`](crate::LedgerOptions::backlog).
    pub backlog: usize,
    /// Why the database cannot be written. `None` if it can.
    pub outage: Option<DatabaseOutage>,
}

/// A time in which the database cannot be written.
#[derive(Clone, Debug, PartialEq)]
pub struct DatabaseOutage {
    /// When it began.
    pub since: Timestamp,
    /// Why, and what to do.
    pub reason: String,
}
