//! How a client requests tunnels.

use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;

use super::proxy::ProxyEnvironment;
use crate::carry::TunnelTimeouts;
use crate::frame::LegFraming;

/// The protocol in which a tunnel is requested, which also frames its bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UpgradeProtocol {
    /// `connect-tcp`: capsules (draft-ietf-httpbis-connect-tcp).
    #[default]
    ConnectTcp,
    /// WebSocket: binary frames, for proxies that pass nothing else.
    WebSocket,
    /// Purr 0.1.2: raw bytes, for its servers.
    Purr,
}

impl UpgradeProtocol {
    pub(super) fn framing(self) -> LegFraming {
        match self {
            UpgradeProtocol::ConnectTcp => LegFraming::Capsules,
            UpgradeProtocol::WebSocket => LegFraming::WebSocket,
            UpgradeProtocol::Purr => LegFraming::Raw,
        }
    }
}

/// How a client requests tunnels.
#[derive(Clone)]
pub struct TunnelClientOptions {
    /// The protocol of the request.
    pub protocol: UpgradeProtocol,
    /// Sent as `Authorization: Bearer`. Without it, the user and password of the URL are sent, if
    /// it has any.
    pub token: Option<String>,
    /// TLS settings, with the certificate authorities to trust. `None`: those of the system.
    pub tls: Option<Arc<ClientConfig>>,
    /// The proxy to use. By default the environment decides.
    pub proxies: ProxyEnvironment,
    /// Requests tunnels that survive the loss of their legs. Only `connect-tcp` supports it.
    pub resume: bool,
    /// When tunnels are given up. By default an idle tunnel is not: that is the server's decision.
    pub timeouts: TunnelTimeouts,
    /// For each address of the server's or the proxy's name, and for a TLS handshake. 10 seconds.
    pub connect_timeout: Duration,
    /// For the response, before which the server connects to the target. 30 seconds.
    pub response_timeout: Duration,
}

impl Default for TunnelClientOptions {
    fn default() -> TunnelClientOptions {
        TunnelClientOptions {
            protocol: UpgradeProtocol::default(),
            token: None,
            tls: None,
            proxies: ProxyEnvironment::from_environment(),
            resume: true,
            timeouts: TunnelTimeouts { idle: None, ..TunnelTimeouts::default() },
            connect_timeout: Duration::from_secs(10),
            response_timeout: Duration::from_secs(30),
        }
    }
}
