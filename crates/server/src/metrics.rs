//! What is counted of downloads, archives and files.

use outflow_metrics::{Counter, CounterBy, Gauge, labels, metrics};

labels! {
    /// How a delivery ended.
    pub enum DeliveryEnding: "outcome" {
        /// All bytes were acknowledged, and the client showed that it has them.
        Confirmed = "confirmed",
        /// All bytes were acknowledged by the client's TCP.
        Acked = "acked",
        /// All bytes were handed to the kernel; whether they arrived is unknown.
        Sent = "sent",
        /// The client left, or the server stopped.
        Aborted = "aborted",
        /// The content could not be sent: a file has changed, or a store failed.
        Failed = "failed",
    }
}

metrics! {
    /// What a service of downloads does.
    pub struct DownloadMetrics {
        /// Deliveries under way. Without a ledger and an access log, none is watched and counted.
        delivering: Gauge = "outflow_deliveries_open",
        /// Deliveries that ended, by outcome.
        deliveries: CounterBy<DeliveryEnding> = "outflow_deliveries_total",
        /// Bytes of bodies that clients had acknowledged when their deliveries ended.
        delivered: Counter = "outflow_delivered_bytes_total",
        /// Folders that were walked to plan archives.
        walks: Counter = "outflow_archive_walks_total",
        /// Requests for archives that an earlier plan answered.
        plans_reused: Counter = "outflow_archive_plans_reused_total",
        /// Requests that wait for a permit to walk or list a folder.
        walks_waiting: Gauge = "outflow_walks_waiting",
        /// Large pages and forms that were refused because too many were under way.
        pages_refused: Counter = "outflow_large_pages_refused_total",
        /// Small local files that are kept open.
        files_kept: Gauge = "outflow_open_files_kept",
        /// Requests that a file that was kept open answered.
        kept_hits: Counter = "outflow_open_files_hits_total",
        /// Files that were opened because they were not kept, or no longer there.
        kept_misses: Counter = "outflow_open_files_misses_total",
    }
}
