//! One request: who makes it, by which link, and its line in the log.

use std::sync::Arc;

use http::{HeaderMap, Request};
use outflow_ledger::{Assurance, LinkUse, Recipient};
use outflow_web::Client;

use crate::link::Link;
use crate::request::access_log::Line;

/// As much of a `User-Agent` as is kept, in bytes.
const USER_AGENT: usize = 256;

/// What is known of a request beyond what it asks for.
#[derive(Clone)]
pub(crate) struct Visit {
    pub(crate) line: Option<Arc<Line>>,
    pub(crate) client: Client,
    /// The link it came by, which has been checked.
    pub(crate) link: Option<Arc<Link>>,
    /// The link may begin nothing new: it has expired, or is used up.
    pub(crate) spent: Option<crate::link::LinkError>,
}

impl Visit {
    pub(crate) fn new<B>(request: &Request<B>, trusted: &[ipnet::IpNet]) -> Visit {
        let client = Client::of(request, trusted);
        Visit { line: Line::begin(request, client.address), client, link: None, spent: None }
    }

    pub(crate) fn assurance(&self) -> Assurance {
        if self.client.proxied { Assurance::Proxy } else { Assurance::Peer }
    }

    pub(crate) fn link_use(&self) -> Option<LinkUse> {
        self.link.as_ref().map(|link| LinkUse { id: link.id.clone(), max_downloads: link.max_downloads })
    }

    /// Who obtains what this request asks for. Without a link: whoever has this address and this `User-Agent`, which
    /// several people may share, and one person may change.
    pub(crate) fn recipient(&self, headers: &HeaderMap) -> Recipient {
        if let Some(link) = &self.link {
            let id = link.recipient.clone().unwrap_or_else(|| format!("link:{}", link.id));
            return Recipient { id, weak: false };
        }
        let agent = headers.get(http::header::USER_AGENT).map_or(&b""[..], |agent| agent.as_bytes());
        let agent = &blake3::hash(agent).to_hex()[..8];
        let address = self.client.address.map(|address| address.to_string()).unwrap_or_default();
        Recipient { id: format!("{address} {agent}"), weak: true }
    }
}

/// The client's `User-Agent`, made printable.
pub(crate) fn user_agent(headers: &HeaderMap) -> Option<String> {
    let agent = headers.get(http::header::USER_AGENT)?.as_bytes();
    let agent = String::from_utf8_lossy(&agent[..agent.len().min(USER_AGENT)]);
    Some(agent.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect())
}
