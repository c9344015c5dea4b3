//! Who makes a request, and what they may use.

use outflow_texts::text;
use std::sync::Arc;

use http::header::ORIGIN;
use http::request::Parts;
use outflow_wire::PeerAddr;

use super::allow::AllowList;
use super::capability::Capability;
use crate::server::rejection::Rejection;
use crate::server::settings::TunnelSettings;

/// The owner of a tunnel.
#[derive(Clone, Debug)]
pub(in crate::server) struct Principal {
    /// Names the owner in the log, in quotas and in sessions: only the same owner can resume a
    /// tunnel.
    pub(in crate::server) name: Arc<str>,
    pub(in crate::server) allow: AllowList,
    pub(in crate::server) listen: AllowList,
    pub(in crate::server) tunnels: Option<usize>,
}

impl Principal {
    /// The user with the token of a request, or the client's address if the settings admit clients
    /// without a token.
    pub(in crate::server) fn authenticate(
        settings: &TunnelSettings,
        head: &Parts,
        is_proxy: bool,
    ) -> Result<Principal, Rejection> {
        if let Some(user) = settings.users.find(&head.headers) {
            return Ok(Principal {
                name: format!("user {}", user.name).into(),
                allow: user.allow.clone().unwrap_or_else(|| settings.allow.clone()),
                listen: if user.listen.is_empty() { settings.listen.clone() } else { user.listen.clone() },
                tunnels: user.tunnels,
            });
        }
        if !settings.open {
            return Err(Rejection::unauthorized(is_proxy));
        }
        // A browser connects for any page, and names that page's origin (RFC 6455, 10.2).
        if let Some(origin) = head.headers.get(ORIGIN)
            && !settings.origins.iter().any(|listed| origin == listed.as_str())
        {
            return Err(Rejection::denied(text!(tunnel_origin_denied)));
        }
        let peer = head.extensions.get::<PeerAddr>();
        let name = peer.map_or_else(|| "anybody".to_owned(), |peer| peer.0.ip().to_canonical().to_string());
        Ok(Principal {
            name: name.into(),
            allow: settings.allow.clone(),
            listen: settings.listen.clone(),
            tunnels: None,
        })
    }

    /// The holder of a capability. Its target must be allowed as well.
    pub(in crate::server) fn of_capability(settings: &TunnelSettings, capability: &Capability) -> Principal {
        Principal {
            name: format!("capability {}", capability.nonce).into(),
            allow: settings.allow.clone(),
            listen: AllowList::default(),
            tunnels: None,
        }
    }
}
