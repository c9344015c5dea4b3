//! What goes wrong.

/// Why the ledger did not do what it was asked to.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The database could not be used; the text says what was tried and what to do.
    #[error("{0}")]
    Database(String),
}

/// There is no room for further changes: the database has not taken any for too long.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{waiting} changes wait for the database, which is as many as may: no further download is let in")]
pub struct Full {
    /// How many wait.
    pub waiting: usize,
}
