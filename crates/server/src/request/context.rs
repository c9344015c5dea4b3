//! The facts of a request: its head, the client, and the link that admitted it.

use std::sync::Arc;

use http::header::{CACHE_CONTROL, REFERRER_POLICY, USER_AGENT};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Response, Uri};
use outflow_ledger::{Assurance, LinkUse, Recipient};
use outflow_texts::Language;
use outflow_web::{Problem, RequestClient, ResponseBody};

use super::access_log::AccessLog;
use outflow_links::{Link, LinkError};

/// Maximum length of a recorded `User-Agent`, in bytes.
///
/// Bound: ledger.
const MAX_USER_AGENT: usize = 256;

/// A request without its body. Handlers take what they need from it; nothing parses the head again.
pub(crate) struct RequestContext {
    head: Parts,
    pub(crate) client: RequestClient,
    /// The language of pages and problems.
    pub(crate) language: Language,
    /// `None` if nobody reads the log.
    pub(crate) access_log: Option<Arc<AccessLog>>,
    admission: Option<LinkAdmission>,
}

/// The link that admitted a request.
struct LinkAdmission {
    link: Arc<Link>,
    /// Why the link may begin no new download, if it may not: it has expired or is exhausted.
    spent: Option<LinkError>,
    /// Length of the link's part of the path: `/l/` and the token.
    prefix: usize,
}

impl RequestContext {
    pub(crate) fn new(
        head: Parts,
        client: RequestClient,
        language: Language,
        access_log: Option<Arc<AccessLog>>,
    ) -> RequestContext {
        RequestContext { head, client, language, access_log, admission: None }
    }

    pub(crate) fn method(&self) -> &Method {
        &self.head.method
    }

    pub(crate) fn headers(&self) -> &HeaderMap {
        &self.head.headers
    }

    pub(crate) fn uri(&self) -> &Uri {
        &self.head.uri
    }

    pub(crate) fn query(&self) -> Option<&str> {
        self.head.uri.query()
    }

    /// The path without the link.
    pub(crate) fn path(&self) -> &str {
        &self.head.uri.path()[self.prefix_len()..]
    }

    /// The link's part of the path; empty without a link.
    pub(crate) fn link_prefix(&self) -> &str {
        &self.head.uri.path()[..self.prefix_len()]
    }

    fn prefix_len(&self) -> usize {
        self.admission.as_ref().map_or(0, |admission| admission.prefix)
    }

    /// Records that `link`, which is the first `prefix` bytes of the path, admits the request.
    pub(crate) fn admit(&mut self, link: Arc<Link>, spent: Option<LinkError>, prefix: usize) {
        self.admission = Some(LinkAdmission { link, spent, prefix });
    }

    /// The link that admitted the request.
    pub(crate) fn link(&self) -> Option<&Arc<Link>> {
        self.admission.as_ref().map(|admission| &admission.link)
    }

    /// Why the link may begin no new download, if it may not.
    pub(crate) fn spent(&self) -> Option<&LinkError> {
        self.admission.as_ref()?.spent.as_ref()
    }

    pub(crate) fn link_use(&self) -> Option<LinkUse> {
        self.link().map(|link| LinkUse { id: link.id.clone(), max_downloads: link.max_downloads })
    }

    pub(crate) fn assurance(&self) -> Assurance {
        if self.client.proxied { Assurance::Proxy } else { Assurance::Peer }
    }

    /// The recipient of the download. Without a link it is the client's address and `User-Agent`,
    /// which several people may share and one person may change.
    pub(crate) fn recipient(&self) -> Recipient {
        if let Some(link) = self.link() {
            let id = link.recipient.clone().unwrap_or_else(|| format!("link:{}", link.id));
            return Recipient { id, weak: false };
        }
        let agent = self.headers().get(USER_AGENT).map_or(&b""[..], |agent| agent.as_bytes());
        let agent = &blake3::hash(agent).to_hex()[..8];
        let address = self.client.address.map(|address| address.to_string()).unwrap_or_default();
        Recipient { id: format!("{address} {agent}"), weak: true }
    }

    /// The client's `User-Agent`, made printable.
    pub(crate) fn user_agent(&self) -> Option<String> {
        let agent = self.headers().get(USER_AGENT)?.as_bytes();
        let agent = String::from_utf8_lossy(&agent[..agent.len().min(MAX_USER_AGENT)]);
        Some(agent.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect())
    }

    /// The response to a problem, ready to be sent.
    pub(crate) fn refuse(&self, problem: &Problem) -> Response<ResponseBody> {
        self.finish(problem.respond(self.method(), self.headers(), self.language))
    }

    /// A response, ready to be sent: its status is logged, and what a link's holder gets stays
    /// private.
    pub(crate) fn finish(&self, mut response: Response<ResponseBody>) -> Response<ResponseBody> {
        if let Some(log) = &self.access_log {
            log.set_status(response.status());
        }
        if self.link().is_some() {
            let fields = response.headers_mut();
            // The address is a secret, which browsers would send to the sites that a page links to.
            fields.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
            // Others behind the same cache have no link.
            fields.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("private"));
        }
        response
    }
}
