//! What is recorded and logged of a request, however it was parsed.

use std::sync::Arc;

use outflow_ledger::{Assurance, LinkUse, Recipient};
use outflow_links::Link;
use outflow_web::RequestClient;
use outflow_wire::PlainRequest;

/// Maximum length of a recorded `User-Agent`, in bytes.
///
/// Bound: ledger.
const MAX_USER_AGENT: usize = 256;

/// What the record of a delivery takes of its request.
pub(crate) trait RequestFacts {
    fn is_get(&self) -> bool;

    fn client(&self) -> RequestClient;

    /// The link that admitted the request.
    fn link(&self) -> Option<&Arc<Link>>;

    /// The client's `User-Agent` as it was sent.
    fn agent(&self) -> Option<&[u8]>;

    fn link_use(&self) -> Option<LinkUse> {
        self.link().map(|link| LinkUse { id: link.id.clone(), max_downloads: link.max_downloads })
    }

    fn assurance(&self) -> Assurance {
        if self.client().proxied { Assurance::Proxy } else { Assurance::Peer }
    }

    /// The recipient of the download. Without a link it is the client's address and `User-Agent`,
    /// which several people may share and one person may change.
    fn recipient(&self) -> Recipient {
        if let Some(link) = self.link() {
            let id = link.recipient.clone().unwrap_or_else(|| format!("link:{}", link.id));
            return Recipient { id, weak: false };
        }
        let agent = &blake3::hash(self.agent().unwrap_or_default()).to_hex()[..8];
        let address = self.client().address.map(|address| address.to_string()).unwrap_or_default();
        Recipient { id: format!("{address} {agent}"), weak: true }
    }

    /// The client's `User-Agent`, made printable.
    fn user_agent(&self) -> Option<String> {
        let agent = self.agent()?;
        let agent = String::from_utf8_lossy(&agent[..agent.len().min(MAX_USER_AGENT)]);
        Some(agent.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect())
    }
}

/// A request that asks for nothing but an address, and its client.
pub(crate) struct PlainContext<'a> {
    pub(crate) request: &'a PlainRequest<'a>,
    pub(crate) client: RequestClient,
}

impl RequestFacts for PlainContext<'_> {
    fn is_get(&self) -> bool {
        !self.request.is_head()
    }

    fn client(&self) -> RequestClient {
        self.client
    }

    fn link(&self) -> Option<&Arc<Link>> {
        None
    }

    fn agent(&self) -> Option<&[u8]> {
        self.request.values("user-agent").next()
    }
}
