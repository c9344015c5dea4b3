//! TLS: handshakes, and HTTP/1 within both versions.
//!
//! ```text
//! hello        a ClientHello by hand, and the server's answer
//! handshakes   versions, suites, protocols, sessions; handshakes that break off or take their time
//! connections  HTTP/1 within TLS 1.2 and 1.3: bytes, ends, upgrades
//! ```

mod connections;
mod handshakes;
mod hello;

use std::sync::Arc;
use std::time::Duration;

use outflow_wire::rustls::ClientConfig;
use outflow_wire::{ServerOptions, TlsOptions};

use crate::support::{Client, Identity, Running, serve_tls, text};

const SHORT: Duration = Duration::from_millis(300);

/// A server within TLS that answers with its requests' paths, and the client's side of its certificate.
fn paths(options: &TlsOptions) -> (Running, Identity) {
    let identity = Identity::new();
    let server = serve_tls(ServerOptions::default(), identity.tls(options), |request| async move {
        Ok(text(request.uri().path().to_owned()))
    });
    (server, identity)
}

fn connect(server: &Running, config: &Arc<ClientConfig>) -> Client {
    server.client().secure("localhost", config).expect("a handshake")
}
