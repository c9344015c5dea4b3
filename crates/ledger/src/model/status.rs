//! How the ledger is.

use jiff::Timestamp;

/// How the ledger is.
#[derive(Clone, Debug, PartialEq)]
pub struct Status {
    /// Changes that wait in memory for the database, those that deliveries under way have reserved included.
    pub waiting: usize,
    /// How many may: [`crate::model::Options::backlog`].
    pub bound: usize,
    /// Since when the database cannot be written, and why. `None`: it can.
    pub trouble: Option<Trouble>,
}

/// What keeps the ledger from writing.
#[derive(Clone, Debug, PartialEq)]
pub struct Trouble {
    /// Since when.
    pub since: Timestamp,
    /// Why, and what to do.
    pub reason: String,
}
