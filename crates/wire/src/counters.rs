//! What the engine counts.

use http::StatusCode;
use outflow_metrics::{Counter, CounterBy, Gauge, labels, metrics};

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

labels! {
    /// The first digit of a response's status.
    pub enum StatusClass: "status" {
        /// A protocol is switched (101); interim responses are not counted.
        Switching = "1xx",
        /// Success.
        Success = "2xx",
        /// Redirects, and 304.
        Redirection = "3xx",
        /// The client's fault.
        ClientError = "4xx",
        /// The server's fault, and statuses that HTTP does not define.
        ServerError = "5xx",
    }
}

labels! {
    /// How a TLS handshake ended.
    pub enum HandshakeOutcome: "outcome" {
        /// The client may send requests.
        Completed = "completed",
        /// It failed, or was not finished in time.
        Failed = "failed",
        /// The client sent HTTP without TLS.
        NotTls = "not_tls",
        /// It proved a domain to a certificate authority, or the server stopped before it began.
        Closed = "closed",
    }
}

metrics! {
    /// Running totals of the engine.
    pub struct ServerCounters {
        /// Connections that were accepted.
        connections: Counter = "outflow_connections_total",
        /// Connections that are open, also those that upgrades have taken over.
        open: Gauge = "outflow_connections_open",
        /// Limit of open connections; further ones wait in the kernel.
        limit: Gauge = "outflow_connections_limit",
        /// Times that accepting waited because the limit of open connections was reached.
        limit_reached: Counter = "outflow_connections_limit_reached_total",
        /// Connections that the system could not accept, for want of descriptors or memory.
        accept_failed: Counter = "outflow_connections_accept_failed_total",
        /// TLS handshakes that ended, by outcome.
        handshakes: CounterBy<HandshakeOutcome> = "outflow_tls_handshakes_total",
        /// Connections that turned out to be HTTP/2.
        http2: Counter = "outflow_http2_connections_total",
        /// HTTP/2 streams that are being answered.
        streams: Gauge = "outflow_http2_streams_open",
        /// HTTP/2 streams that ended before their answer was complete, most of them reset by
        /// clients.
        streams_reset: Counter = "outflow_http2_streams_reset_total",
        /// Requests whose head was complete and well-formed.
        requests: Counter = "outflow_requests_total",
        /// Requests that the engine refused: malformed, too large, too slow.
        refused: Counter = "outflow_requests_refused_total",
        /// Final responses that began to leave, by class of status.
        responses: CounterBy<StatusClass> = "outflow_responses_total",
        /// Bytes of bodies that were handed to the kernel, by the path that they took.
        body: CounterBy<SendPath> = "outflow_sent_body_bytes_total",
    }
}

impl From<StatusCode> for StatusClass {
    fn from(status: StatusCode) -> StatusClass {
        match status.as_u16() / 100 {
            1 => StatusClass::Switching,
            2 => StatusClass::Success,
            3 => StatusClass::Redirection,
            4 => StatusClass::ClientError,
            _ => StatusClass::ServerError,
        }
    }
}

impl ServerCounters {
    /// A final response begins to leave.
    pub(crate) fn responded(&self, status: StatusCode) {
        self.responses.of(status.into()).inc();
    }
}
