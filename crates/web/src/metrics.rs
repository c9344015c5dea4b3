//! The listener for Prometheus: the metrics of a registry, at one address, on a thread of its own.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::io;
use std::net::TcpListener;
use std::task::{Context, Poll};
use std::time::Duration;

use http::header::ALLOW;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use outflow_metrics::{MetricRegistry, TEXT_TYPE};
use outflow_wire::{RequestBody, Server, ServerOptions};
use tower_service::Service;

use crate::body::ResponseBody;
use crate::reply;

const PLAIN_TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

/// The path of the metrics, the one that Prometheus requests by default.
pub const METRICS_PATH: &str = "/metrics";

/// Maximum number of connections to the listener for metrics.
///
/// Bound: connections.
const MAX_CONNECTIONS: usize = 16;

/// Maximum size of a request head at the listener for metrics, in bytes.
///
/// Bound: requests.
const MAX_HEAD_BYTES: usize = 8 * 1024;

/// How long a client of the listener for metrics may be silent or take nothing. Idle ones would
/// keep others out.
///
/// Bound: connections.
const STALL_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a connection to the listener for metrics stays open between two scrapes.
///
/// Bound: connections.
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(75);

/// Answers `GET /metrics` on `listener`, and 404 elsewhere, until the program ends. The thread is
/// one of its own, so that busy serving threads delay no scrape.
///
/// # Errors
/// When the thread cannot be started.
pub fn serve_metrics(listener: TcpListener, registry: MetricRegistry) -> io::Result<()> {
    let server = Server::new(ServerOptions {
        head_timeout: STALL_TIMEOUT,
        keep_alive_timeout: KEEP_ALIVE_TIMEOUT,
        stall_timeout: STALL_TIMEOUT,
        max_head_bytes: MAX_HEAD_BYTES,
        max_connections: MAX_CONNECTIONS,
        // Scrapes are not among the requests that are counted.
        metrics: MetricRegistry::default(),
        ..ServerOptions::default()
    });
    let serve = move || {
        if let Err(error) = server.run_erased([listener], 1, MetricsService::new(registry)) {
            tracing::error!(%error, "metrics are no longer served");
        }
    };
    std::thread::Builder::new().name("outflow-metrics".to_owned()).spawn(serve).map(drop)
}

/// Answers with the metrics of one registry, for programs that have a listener of their own.
#[derive(Clone, Debug)]
pub struct MetricsService {
    registry: MetricRegistry,
}

impl MetricsService {
    /// A service for the metrics of `registry`.
    #[must_use]
    pub fn new(registry: MetricRegistry) -> MetricsService {
        MetricsService { registry }
    }

    fn respond(&self, method: &Method, path: &str) -> Response<ResponseBody> {
        if path != METRICS_PATH {
            let text = b"not found; the metrics are at /metrics\n".to_vec();
            return reply::small(method, StatusCode::NOT_FOUND, PLAIN_TEXT, text);
        }
        if !matches!(*method, Method::GET | Method::HEAD) {
            let text = b"metrics are read by GET\n".to_vec();
            let mut response = reply::small(method, StatusCode::METHOD_NOT_ALLOWED, PLAIN_TEXT, text);
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return response;
        }
        let text = self.registry.text().into_bytes();
        reply::small(method, StatusCode::OK, HeaderValue::from_static(TEXT_TYPE), text)
    }
}

impl Service<Request<RequestBody>> for MetricsService {
    type Response = Response<ResponseBody>;
    type Error = Infallible;
    type Future = Ready<Result<Response<ResponseBody>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<RequestBody>) -> Self::Future {
        ready(Ok(self.respond(request.method(), request.uri().path())))
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpStream;

    use super::*;

    fn exchange(request: &str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        serve_metrics(listener, MetricRegistry::of_process()).unwrap();
        client.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        answer
    }

    #[test]
    fn only_the_metrics_are_there_and_only_to_be_read() {
        let ending = "HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
        for (request, status, ends) in [
            ("GET /metrics", "200", "# EOF\n"),
            ("GET /metrics?a=b", "200", "# EOF\n"),
            ("HEAD /metrics", "200", "\r\n\r\n"),
            ("POST /metrics", "405", "metrics are read by GET\n"),
            ("GET /", "404", "the metrics are at /metrics\n"),
            ("GET /metrics/", "404", "the metrics are at /metrics\n"),
            ("GET //metrics", "404", "the metrics are at /metrics\n"),
        ] {
            let answer = exchange(&format!("{request} {ending}"));
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{request}: {answer}");
            assert!(answer.ends_with(ends), "{request}: {answer}");
            let type_line = format!("content-type: {TEXT_TYPE}\r\n");
            assert_eq!(answer.contains(&type_line), status == "200", "{request}: {answer}");
        }
    }

    #[test]
    fn a_large_request_is_refused() {
        let field = "a".repeat(MAX_HEAD_BYTES);
        let answer = exchange(&format!("GET /metrics HTTP/1.1\r\nHost: a\r\nX: {field}\r\n\r\n"));
        assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    }
}
