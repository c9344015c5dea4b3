//! How a ledger is run.

use std::time::Duration;

use outflow_metrics::MetricRegistry;

use super::endpoint::Endpoint;

/// How long records are kept, how much memory is used, and whether this process is a server.
#[derive(Clone, Debug)]
pub struct LedgerOptions {
    /// How long completed downloads and events are kept; `None`: for ever. Other downloads are kept
    /// as long after their last change.
    ///
    /// Bound: ledger. 90 days
    pub retention: Option<Duration>,
    /// Whether [`EventKind::Progress`](crate::EventKind::Progress) events are emitted.
    pub progress_events: bool,
    /// Length in bytes from which a delivery of a file is recorded although nobody asks for it:
    /// [`Ledger::is_worth_recording`](crate::Ledger::is_worth_recording).
    pub min_size: u64,
    /// Maximum number of changes that wait in memory for the database. A delivery needs up to two,
    /// and is rejected when there is no capacity for them.
    ///
    /// Bound: ledger. 100,000
    pub backlog: usize,
    /// The receivers of events.
    pub endpoints: Vec<Endpoint>,
    /// Whether this process is a server: it notifies the endpoints, takes over what crashed servers
    /// left, and removes old records. Programs that only query leave this off.
    pub server: bool,
    /// How long a server on PostgreSQL may be silent before it counts as crashed. A server on
    /// SQLite has crashed when it no longer holds the lock beside the file.
    pub crash_timeout: Duration,
    /// Minimum time between two commits: the end of a delivery that comes alone is committed at
    /// once, and those that come sooner than this after a commit are committed together.
    pub commit_delay: Duration,
    /// How long the beginning of a delivery waits for its end, to be one row with it: of a content
    /// up to 1 MiB, without a link, while no one subscribes to progress.
    pub begin_delay: Duration,
    /// Where the ledger counts. Several with the same registry are counted together.
    pub metrics: MetricRegistry,
}

impl Default for LedgerOptions {
    fn default() -> LedgerOptions {
        LedgerOptions {
            retention: Some(Duration::from_secs(90 * 24 * 3600)),
            progress_events: false,
            min_size: 1 << 20,
            backlog: 100_000,
            endpoints: Vec::new(),
            server: false,
            crash_timeout: Duration::from_secs(30),
            commit_delay: Duration::from_millis(50),
            begin_delay: Duration::from_millis(2500),
            metrics: MetricRegistry::default(),
        }
    }
}
