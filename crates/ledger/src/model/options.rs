//! How a ledger is kept.

use std::time::Duration;

use super::endpoint::Endpoint;

/// How long something is kept, and how much memory it may have.
#[derive(Clone, Debug)]
pub struct Options {
    /// For how long closed downloads and events are kept; `None`: for ever. Downloads that are not complete are kept as
    /// long after their last change.
    pub keep: Option<Duration>,
    /// Whether [`Kind::Progress`] events are made.
    pub progress: bool,
    /// How many changes may wait in memory for the database; a delivery needs up to two, and is not let in without
    /// room for them.
    pub backlog: usize,
    /// Who is told of events.
    pub endpoints: Vec<Endpoint>,
    /// Whether this process is a server: tells the endpoints, takes care of what crashed servers left, and removes what
    /// is too old. Programs that only ask do not.
    pub tell: bool,
    /// For how long a server on PostgreSQL may be silent until it counts as crashed. One on SQLite has crashed if it
    /// does not hold the file any more.
    pub lapse: Duration,
    /// How long the end of a delivery waits for others, with which it is written together.
    pub gather: Duration,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            keep: Some(Duration::from_secs(90 * 24 * 3600)),
            progress: false,
            backlog: 100_000,
            endpoints: Vec::new(),
            tell: false,
            lapse: Duration::from_secs(30),
            gather: Duration::from_millis(10),
        }
    }
}
