//! What all HTTP clients of stores have in common: timeouts, retries, connections.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use object_store::{BackoffConfig, ClientOptions, ObjectStore, RetryConfig};

use crate::client::connector::Connector;
use crate::client::failure::kind_of;
use crate::client::kind::{Backend, ConnectionUse};
use crate::error::StoreErrorKind;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// A store whose two clients differ in their read_timeout.
pub(crate) fn pair<T: ObjectStore>(
    build: impl Fn(RetryConfig) -> object_store::Result<Arc<T>>,
) -> object_store::Result<Backend> {
    let calls = build(patient())?;
    Ok(Backend { segments: build(once())?, ..Backend::new(calls) })
}

pub(crate) fn options(allow_http: bool, usage: ConnectionUse) -> ClientOptions {
    // All of TLS here is rustls with ring. If the program has chosen already, that is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    ClientOptions::new()
        .with_user_agent(HeaderValue::from_static(concat!("outflow/", env!("CARGO_PKG_VERSION"))))
        .with_allow_http(allow_http)
        // A bound for a whole request would cut whatever is large.
        .with_timeout_disabled()
        .with_read_timeout(usage.read_timeout)
        .with_connect_timeout(CONNECT_TIMEOUT)
        .with_pool_idle_timeout(IDLE_TIMEOUT)
        .with_pool_max_idle_per_host(usage.connections)
}

pub(crate) fn connector(options: ClientOptions) -> Result<Connector, StoreErrorKind> {
    Connector::new(&options).map_err(|_| {
        StoreErrorKind::Misconfigured(
            "TLS cannot be set up: no root certificates were found; install ca-certificates, or name a file of them \
             with SSL_CERT_FILE"
                .to_owned(),
        )
    })
}

/// Whether an endpoint is reached without TLS.
pub(crate) fn is_plain(endpoint: Option<&str>) -> bool {
    endpoint.is_some_and(|endpoint| endpoint.starts_with("http://"))
}

/// Retries for small calls.
pub(crate) fn patient() -> RetryConfig {
    let backoff = BackoffConfig {
        init_backoff: Duration::from_millis(100),
        max_backoff: Duration::from_secs(3),
        base: 3.0,
    };
    RetryConfig { backoff, max_retries: 3, retry_timeout: Duration::from_secs(20) }
}

/// No retries: for segments.
pub(crate) fn once() -> RetryConfig {
    RetryConfig { max_retries: 0, ..patient() }
}

pub(crate) fn misconfigured(what: &str, variables: &str, error: &object_store::Error) -> StoreErrorKind {
    let reason = match kind_of(error) {
        StoreErrorKind::Unavailable(text) | StoreErrorKind::Misconfigured(text) => text,
        other => other.to_string(),
    };
    StoreErrorKind::Misconfigured(format!("{what} cannot be used as configured (see {variables}): {reason}"))
}
