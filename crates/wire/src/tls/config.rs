//! Versions, certificates, tickets and limits of TLS.

use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use rustls::server::ResolvesServerCert;
use tokio::sync::Semaphore;

/// The protocol by which a certificate authority validates a domain (RFC 8737).
pub const ACME_TLS: &[u8] = b"acme-tls/1";

/// How TLS connections begin.
#[derive(Clone, Debug)]
pub struct TlsOptions {
    /// Whether HTTP/2 is offered (ALPN `h2`), beside HTTP/1.1.
    pub http2: bool,
    /// Whether [`ACME_TLS`] is offered, for certificates that prove a domain. Such connections end
    /// after their handshake.
    pub acme: bool,
    /// How long a connection may take from its beginning to the end of its handshake.
    ///
    /// Bound: TLS and certificates. 10 s
    pub handshake_timeout: Duration,
    /// Maximum number of handshakes under way at the same time. Further ones wait, within their
    /// time.
    ///
    /// Bound: TLS and certificates. 4,096
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

/// TLS for one listening socket or several: versions 1.2 and 1.3, sessions resumed by tickets.
pub struct Tls {
    pub(super) config: Arc<ServerConfig>,
    pub(super) handshake_timeout: Duration,
    pub(super) handshakes: Semaphore,
}

impl Tls {
    /// TLS with the certificates of a resolver, which is called at each full handshake: they may
    /// change at any time.
    ///
    /// # Errors
    /// When the system gives no random numbers for the tickets' keys.
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
