//! Who asks for a tunnel, and what they may.

use std::sync::Arc;

use http::header::ORIGIN;
use http::request::Parts;
use outflow_wire::PeerAddr;

use super::allow::Allow;
use super::capability::Capability;
use crate::server::rejection::Refusal;
use crate::server::settings::Settings;

/// Whoever a tunnel belongs to.
#[derive(Clone, Debug)]
pub(in crate::server) struct Owner {
    /// For the log; tunnels are counted by it, and only who has the same comes back to one.
    pub(in crate::server) name: Arc<str>,
    pub(in crate::server) allow: Allow,
    pub(in crate::server) listen: Allow,
    pub(in crate::server) tunnels: Option<usize>,
}

impl Owner {
    /// By the token that a request has, or as anybody if everybody is let in.
    pub(in crate::server) fn of(settings: &Settings, head: &Parts, is_proxy: bool) -> Result<Owner, Refusal> {
        if let Some(user) = settings.users.find(&head.headers) {
            return Ok(Owner {
                name: format!("user {}", user.name).into(),
                allow: user.allow.clone().unwrap_or_else(|| settings.allow.clone()),
                listen: if user.listen.is_empty() { settings.listen.clone() } else { user.listen.clone() },
                tunnels: user.tunnels,
            });
        }
        if !settings.open {
            return Err(Refusal::unknown(is_proxy));
        }
        // A browser does what any page tells it, and says which page that is (RFC 6455, 10.2).
        if let Some(origin) = head.headers.get(ORIGIN)
            && !settings.origins.iter().any(|listed| origin == listed.as_str())
        {
            return Err(Refusal::denied("pages of this origin may not open tunnels here"));
        }
        let peer = head.extensions.get::<PeerAddr>();
        let name = peer.map_or_else(|| "anybody".to_owned(), |peer| peer.0.ip().to_canonical().to_string());
        Ok(Owner {
            name: name.into(),
            allow: settings.allow.clone(),
            listen: settings.listen.clone(),
            tunnels: None,
        })
    }

    /// Whoever has a capability. What it is for still has to be allowed.
    pub(in crate::server) fn of_capability(settings: &Settings, capability: &Capability) -> Owner {
        Owner {
            name: format!("capability {}", capability.nonce).into(),
            allow: settings.allow.clone(),
            listen: Allow::default(),
            tunnels: None,
        }
    }
}
