//! What the engine counts.

use outflow_metrics::{Counter, CounterBy, labels, metrics};

labels! {
    /// The path that the bytes of a body took.
    pub enum SendPath: "path" {
        /// The kernel moved them from a file to a socket.
        Sendfile = "sendfile",
        /// The kernel moved them to a socket from a feed's descriptor, such as another socket.
        Splice = "splice",
        /// They passed through this program's memory.
        Copy = "copy",
    }
}

metrics! {
    /// Running totals of the engine.
    pub struct ServerCounters {
        /// Connections that were accepted.
        connections: Counter = "outflow_connections_total",
        /// Requests whose head was complete and well-formed.
        requests: Counter = "outflow_requests_total",
        /// Requests that the engine refused: malformed, too large, too slow.
        refused: Counter = "outflow_requests_refused_total",
        /// Bytes of bodies that were handed to the kernel, by the path that they took.
        body: CounterBy<SendPath> = "outflow_sent_body_bytes_total",
    }
}
