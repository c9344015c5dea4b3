//! TLS on a listener: how connections are accepted, and what is said about them.

use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use rustls::server::ResolvesServerCert;
use tokio::sync::Semaphore;

mod handshake;
mod session;

pub(crate) use handshake::Protocol;
pub(crate) use session::{Reader, Session};

/// The protocol that proves to a certificate authority who answers here (RFC 8737).
pub const ACME_TLS: &[u8] = b"acme-tls/1";

/// How TLS connections begin.
#[derive(Clone, Debug)]
pub struct TlsOptions {
    /// Whether HTTP/2 is offered (ALPN `h2`), beside HTTP/1.1.
    pub http2: bool,
    /// Whether [`ACME_TLS`] is offered: for certificates that prove a domain. Such connections end behind their handshake.
    pub acme: bool,
    /// How long a connection may take from its beginning to the end of its handshake.
    pub handshake_timeout: Duration,
    /// Handshakes under way at the same time. Further ones wait, within their time.
    pub max_handshakes: usize,
}

impl Default for TlsOptions {
    fn default() -> TlsOptions {
        TlsOptions {
            http2: true,
            acme: false,
            handshake_timeout: Duration::from_secs(10),
            max_handshakes: 4096,
        }
    }
}

/// TLS as it is spoken on one listener or several: versions 1.2 and 1.3, sessions resumed by tickets.
pub struct Tls {
    config: Arc<ServerConfig>,
    handshake_timeout: Duration,
    handshakes: Semaphore,
}

/// In the extensions of a request that came within TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Secure {
    /// The host that the client asked for (SNI, RFC 6066), in lower case.
    pub host: Option<Arc<str>>,
}

impl Tls {
    /// `certificates` are asked for one at each full handshake, so that what they give may change at any time.
    ///
    /// # Errors
    /// When the random numbers that the tickets' keys need cannot be had.
    pub fn new(
        certificates: Arc<dyn ResolvesServerCert>,
        options: &TlsOptions,
    ) -> Result<Tls, rustls::Error> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(certificates);
        config.ticketer = rustls::crypto::ring::Ticketer::new()?;
        config.alpn_protocols = [(options.http2, &b"h2"[..]), (true, b"http/1.1"), (options.acme, ACME_TLS)]
            .into_iter()
            .filter(|(offered, _)| *offered)
            .map(|(_, name)| name.to_vec())
            .collect();
        Ok(Tls {
            config: Arc::new(config),
            handshake_timeout: options.handshake_timeout,
            handshakes: Semaphore::new(options.max_handshakes.clamp(1, Semaphore::MAX_PERMITS)),
        })
    }
}
