//! Why the ledger did not do what it was asked to.

/// The ledger could not be read or written.
#[derive(Clone, Debug, thiserror::Error)]
pub enum LedgerError {
    /// The database could not be used. The text says what failed, why, and what to do.
    #[error("{0}")]
    Database(String),
}

/// The backlog is full: the database has not been written for too long.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{waiting} changes wait for the database, which is the maximum; no further download is admitted")]
pub struct BacklogFull {
    /// Number of changes that wait.
    pub waiting: usize,
}
