//! Access by links: which requests are admitted, what they may begin, and which files they see.
//!
//! ```text
//! selected   a collection of which a link shows only some files
//! ```

mod selected;

use std::time::SystemTime;

use http::{Response, StatusCode};
use outflow_ledger::{ContentKey, Ledger};
use outflow_texts::text;
use outflow_web::reply::redirect;
use outflow_web::{Problem, ResponseBody};

use crate::options::DownloadOptions;
use crate::problem::ToProblem as _;
use crate::request::RequestContext;
use outflow_links::{Link, LinkChecker, LinkError, split};
pub use selected::SelectedCollection;
pub(crate) use selected::narrow;

/// Admits requests.
pub(crate) struct AccessControl {
    links: Option<LinkChecker>,
    /// Whether a request needs a link.
    require: bool,
    ledger: Option<Ledger>,
}

/// Why a request is not admitted.
pub(crate) enum AccessRefusal {
    Problem(Problem),
    /// The link is good, but the address stops before the link's scope, which has this one.
    Redirect(String),
}

impl From<LinkError> for AccessRefusal {
    fn from(error: LinkError) -> AccessRefusal {
        AccessRefusal::Problem(error.to_problem())
    }
}

impl From<Problem> for AccessRefusal {
    fn from(problem: Problem) -> AccessRefusal {
        AccessRefusal::Problem(problem)
    }
}

impl AccessRefusal {
    pub(crate) fn respond(&self, request: &RequestContext) -> Response<ResponseBody> {
        match self {
            AccessRefusal::Problem(problem) => request.refuse(problem),
            AccessRefusal::Redirect(to) => request.finish(redirect(StatusCode::TEMPORARY_REDIRECT, to)),
        }
    }
}

impl AccessControl {
    pub(crate) fn new(options: &DownloadOptions) -> AccessControl {
        AccessControl {
            links: options.links.clone(),
            require: options.require_links,
            ledger: options.ledger.clone(),
        }
    }

    /// Whether a request for `path` needs no check, neither for admission nor for a download.
    pub(crate) fn is_open(&self, path: &str) -> bool {
        !self.require && (self.links.is_none() || split(path).is_none())
    }

    /// Checks the link in the request's path, if there is one, and records it in the request.
    pub(crate) async fn admit(&self, request: &mut RequestContext) -> Result<(), AccessRefusal> {
        let path = request.path();
        let Some((links, addressed)) = self.links.as_ref().zip(split(path)) else {
            return if self.require { Err(LinkError::Needed.into()) } else { Ok(()) };
        };
        let base = addressed.base(path);
        let link = links.genuine(addressed.token)?;
        if let Some(log) = &request.access_log {
            log.set_link(&link.id);
        }
        if let Some(scope) = link.leads_to(addressed.rest) {
            let query = request.query().map(|query| format!("?{query}")).unwrap_or_default();
            return Err(AccessRefusal::Redirect(format!("{base}{scope}{query}")));
        }
        if !link.covers(addressed.rest) {
            return Err(LinkError::OutOfScope.into());
        }
        let prefix = base.len();
        links.password(&link, request.headers()).await?;
        let spent = self.spent(&link).await?;
        request.admit(link, spent, prefix);
        Ok(())
    }

    /// Why a link may begin no new download, if it may not.
    async fn spent(&self, link: &Link) -> Result<Option<LinkError>, AccessRefusal> {
        let expired = link.expiry(SystemTime::now());
        let Some(ledger) = &self.ledger else {
            if link.max_downloads.is_some() {
                let problem = Problem::new(StatusCode::FORBIDDEN, text!(link_needs_ledger));
                return Err(problem.without_link_back().into());
            }
            return Ok(expired);
        };
        let state = match ledger.cached_link(&link.id) {
            Some(state) => state,
            None => ledger.link(&link.id).await.map_err(|error| unavailable(&error))?,
        };
        if state.revoked.is_some() {
            return Err(LinkError::Revoked.into());
        }
        let exhausted = link.max_downloads.filter(|max| state.receipts >= *max);
        Ok(expired.or_else(|| exhausted.map(|max| LinkError::Exhausted { max })))
    }

    /// Whether the request may download a content: by a spent link, only a download that has begun.
    pub(crate) async fn may_download(
        &self,
        request: &RequestContext,
        content: impl FnOnce() -> ContentKey,
    ) -> Result<(), Problem> {
        let (Some(error), Some(link)) = (request.spent(), request.link()) else { return Ok(()) };
        let begun = match &self.ledger {
            Some(ledger) => ledger
                .has_incomplete_download(&link.id, &content())
                .await
                .map_err(|error| unavailable(&error))?,
            None => false,
        };
        if begun { Ok(()) } else { Err(error.to_problem()) }
    }
}

fn unavailable(error: &outflow_ledger::LedgerError) -> Problem {
    tracing::warn!(%error, "cannot check a link: the ledger does not answer");
    Problem::busy(text!(link_unavailable))
}
