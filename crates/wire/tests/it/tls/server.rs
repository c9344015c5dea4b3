//! A server within TLS, and connections to it.

use std::sync::Arc;
use std::time::Duration;

use outflow_wire::rustls::ClientConfig;
use outflow_wire::{ServerOptions, TlsOptions};

use crate::support::{HttpClient, Identity, Running, serve_tls, text};

pub(super) const SHORT: Duration = Duration::from_millis(300);

/// A server within TLS that answers with its requests' paths, and the client's side of its
/// certificate.
pub(super) fn paths(options: &TlsOptions) -> (Running, Identity) {
    let identity = Identity::new();
    let server = serve_tls(ServerOptions::default(), identity.tls(options), |request| async move {
        Ok(text(request.uri().path().to_owned()))
    });
    (server, identity)
}

pub(super) fn connect(server: &Running, config: &Arc<ClientConfig>) -> HttpClient {
    server.client().secure("localhost", config).expect("a handshake")
}
