//! How a client asks for tunnels.

use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;

use super::proxy::Proxies;
use crate::carry;
use crate::frame::Framing;

/// How a tunnel is asked for, and how its bytes are framed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Via {
    /// `connect-tcp`: capsules (draft-ietf-httpbis-connect-tcp).
    #[default]
    ConnectTcp,
    /// WebSocket: binary frames, for proxies that know nothing else.
    WebSocket,
    /// Purr 0.1.2: raw bytes, for its servers.
    Purr,
}

impl Via {
    pub(super) fn framing(self) -> Framing {
        match self {
            Via::ConnectTcp => Framing::Capsules,
            Via::WebSocket => Framing::WebSocket,
            Via::Purr => Framing::Raw,
        }
    }
}

/// How a client asks.
#[derive(Clone)]
pub struct Options {
    /// How tunnels are asked for.
    pub via: Via,
    /// Who asks: `Authorization: Bearer` with this. Otherwise user and password of the address are sent, if it has some.
    pub token: Option<String>,
    /// Certificates that servers' are checked with. `None`: the system's.
    pub tls: Option<Arc<ClientConfig>>,
    /// What is between. By default what the environment says.
    pub proxies: Proxies,
    /// Whether tunnels are to survive their legs, where the server lets them. Only `connect-tcp` can.
    pub resume: bool,
    /// When tunnels are given up. By default no tunnel is for being idle: that is the server's to decide.
    pub limits: carry::Limits,
    /// For each address that the server's name (or the proxy's) has, and for a TLS handshake. 10 seconds.
    pub connect_timeout: Duration,
    /// For the answer: the server connects before it. 30 seconds.
    pub answer_timeout: Duration,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            via: Via::default(),
            token: None,
            tls: None,
            proxies: Proxies::from_environment(),
            resume: true,
            limits: carry::Limits { idle: None, ..carry::Limits::default() },
            connect_timeout: Duration::from_secs(10),
            answer_timeout: Duration::from_secs(30),
        }
    }
}
