//! The facts of a request: its head, the client, and the link that admitted it.

use std::sync::Arc;

use http::header::{CACHE_CONTROL, REFERRER_POLICY, USER_AGENT};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Response, Uri};
use outflow_texts::Language;
use outflow_web::{Problem, RequestClient, ResponseBody};

use super::access_log::AccessLog;
use super::facts::RequestFacts;
use outflow_links::{Link, LinkError};

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

impl RequestFacts for RequestContext {
    fn is_get(&self) -> bool {
        *self.method() == Method::GET
    }

    fn client(&self) -> RequestClient {
        self.client
    }

    fn link(&self) -> Option<&Arc<Link>> {
        RequestContext::link(self)
    }

    fn agent(&self) -> Option<&[u8]> {
        self.headers().get(USER_AGENT).map(HeaderValue::as_bytes)
    }
}
