//! What the ledger counts.

use outflow_metrics::{Counter, CounterBy, Gauge, Label, LabelDefinition, SecondsCounter, labels, metrics};

use super::event::EventKind;

labels! {
    /// How one attempt to notify an endpoint ended.
    pub enum WebhookOutcome: "outcome" {
        /// The endpoint accepted the event.
        Delivered = "delivered",
        /// The endpoint did not accept the event.
        Failed = "failed",
        /// The endpoint asked for fewer requests.
        Overloaded = "overloaded",
        /// The endpoint wants no more events (410).
        Gone = "gone",
    }
}

metrics! {
    /// What a ledger does in this process.
    pub struct LedgerMetrics {
        /// Changes that wait in memory for the database, including those that deliveries under
        /// way have reserved.
        waiting: Gauge = "outflow_ledger_waiting",
        /// Limit of changes that wait; beyond it, new downloads are rejected.
        limit: Gauge = "outflow_ledger_waiting_limit",
        /// Deliveries that were counted by file and day, and not recorded.
        counted: Counter = "outflow_ledger_counted_total",
        /// Downloads that were rejected because too many changes waited.
        rejected: Counter = "outflow_ledger_rejected_total",
        /// Transactions that were committed.
        commits: Counter = "outflow_ledger_commits_total",
        /// Changes of deliveries that were committed.
        changes: Counter = "outflow_ledger_changes_total",
        /// Time from the beginning of each commit to its success, failed attempts included.
        commit_time: SecondsCounter = "outflow_ledger_commit_seconds_total",
        /// Attempts to commit that conflicted with another transaction, and were repeated at once.
        conflicts: Counter = "outflow_ledger_commit_conflicts_total",
        /// Attempts to commit that failed because the database could not be written.
        failures: Counter = "outflow_ledger_commit_failures_total",
        /// Whether the database cannot be written: 1, else 0.
        outage: Gauge = "outflow_ledger_outage",
        /// Events that deliveries of this server emitted, by type; receipts are
        /// `download.completed`.
        events: CounterBy<EventKind> = "outflow_events_total",
        /// Attempts to notify endpoints that ended, by outcome.
        webhook_attempts: CounterBy<WebhookOutcome> = "outflow_webhook_attempts_total",
        /// Time that attempts to notify endpoints took.
        webhook_time: SecondsCounter = "outflow_webhook_attempt_seconds_total",
        /// Attempts to notify endpoints that are under way.
        webhook_under_way: Gauge = "outflow_webhook_attempts_under_way",
        /// Events that wait for an endpoint, in the whole database, as this server last counted
        /// them: every few seconds, up to 10,000.
        webhook_waiting: Gauge = "outflow_webhook_sends_waiting",
    }
}

impl Label for EventKind {
    const DEFINITION: LabelDefinition = LabelDefinition { name: "type", values: EventKind::NAMES };

    fn index(self) -> usize {
        self as usize
    }
}
