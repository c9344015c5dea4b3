//! What is counted of stores.

use outflow_metrics::{Counter, CounterBy, Gauge, SecondsCounter, labels, metrics};

use crate::error::StoreErrorKind;
use crate::fetch::FetchFailure;

labels! {
    /// What a store is requested to do. Requests of uploads are not among them.
    pub enum StoreRequest: "request" {
        /// A range of an object's bytes.
        Segment = "segment",
        /// What the store knows of an object.
        Head = "head",
        /// A small object, whole.
        Read = "read",
        /// A list of objects.
        List = "list",
        /// A small object is written.
        Write = "write",
        /// An object is deleted.
        Delete = "delete",
        /// The checksums of an object.
        Checksum = "checksum",
    }
}

labels! {
    /// How a request to a store ended.
    pub enum StoreOutcome: "outcome" {
        /// As expected; for a segment, with a valid head.
        Ok = "ok",
        /// There is no such object, or it has changed.
        NotFound = "not_found",
        /// The credentials were refused.
        Denied = "denied",
        /// No answer, or one that says that a later request may succeed.
        Unavailable = "unavailable",
        /// Anything else.
        Failed = "failed",
    }
}

labels! {
    /// The path of bytes that were fetched.
    pub enum FetchPath: "path" {
        /// From socket to pipe, by the kernel.
        Splice = "splice",
        /// Through this program's memory.
        Copy = "copy",
    }
}

metrics! {
    /// What stores are requested, and what their segments take.
    pub struct StoreMetrics {
        /// Requests to stores that ended. A small request includes the repetitions of its client.
        requests: CounterBy<(StoreRequest, StoreOutcome)> = "outflow_store_requests_total",
        /// Requests for segments that were repeated after a failure.
        retries: Counter = "outflow_store_retries_total",
        /// Second requests for segments, sent because the first were late.
        hedges: Counter = "outflow_store_hedges_total",
        /// Time from requests for segments to the heads of their answers, of those that succeeded.
        response_time: SecondsCounter = "outflow_store_response_seconds_total",
        /// Bytes of segments that were fetched, by the path that they took.
        fetched: CounterBy<FetchPath> = "outflow_store_fetched_bytes_total",
        /// Connections for segments that are in use.
        connections: Gauge = "outflow_store_connections_in_use",
        /// Limit of connections for segments.
        connections_limit: Gauge = "outflow_store_connections_limit",
        /// Requests for segments that wait for a connection.
        waiting: Gauge = "outflow_store_requests_waiting",
        /// Memory of segments that is reserved or in use.
        memory: Gauge = "outflow_segment_memory_bytes",
        /// Limit of the memory of segments.
        memory_limit: Gauge = "outflow_segment_memory_limit_bytes",
    }
}

impl StoreRequest {
    /// The words for it in an error: "cannot … KEY".
    pub(crate) fn verb(self) -> &'static str {
        match self {
            StoreRequest::Segment | StoreRequest::Read => "read",
            StoreRequest::Head => "look at",
            StoreRequest::List => "list",
            StoreRequest::Write => "write",
            StoreRequest::Delete => "delete",
            StoreRequest::Checksum => "ask for the checksums of",
        }
    }
}

impl StoreMetrics {
    /// Counts a small request.
    pub(crate) fn called<T>(&self, request: StoreRequest, result: &Result<T, StoreErrorKind>) {
        let outcome = match result {
            Ok(_) => StoreOutcome::Ok,
            Err(StoreErrorKind::NotFound) => StoreOutcome::NotFound,
            Err(StoreErrorKind::Denied(_)) => StoreOutcome::Denied,
            Err(StoreErrorKind::Unavailable(_)) => StoreOutcome::Unavailable,
            Err(_) => StoreOutcome::Failed,
        };
        self.requests.of((request, outcome)).inc();
    }

    /// Counts a request for a segment.
    pub(crate) fn answered<T>(&self, answer: &Result<T, FetchFailure>) {
        let outcome = match answer {
            Ok(_) => StoreOutcome::Ok,
            Err(FetchFailure::Changed(_)) => StoreOutcome::NotFound,
            Err(FetchFailure::Denied(_)) => StoreOutcome::Denied,
            Err(FetchFailure::Passing { .. } | FetchFailure::Stale) => StoreOutcome::Unavailable,
            Err(FetchFailure::Lasting(_)) => StoreOutcome::Failed,
        };
        self.requests.of((StoreRequest::Segment, outcome)).inc();
    }
}
