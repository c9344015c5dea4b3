//! Who may enter: what a request's link allows, if it came by one.

use std::time::SystemTime;

use http::{HeaderMap, Request, Response, StatusCode, Uri};
use outflow_ledger::{ContentKey, Ledger};
use outflow_web::reply::redirect;
use outflow_web::{Problem, ResponseBody};

use crate::app::{Place, Settings, finish};
use crate::link::{Addressed, Link, LinkError, Links, narrow, split};
use crate::problem::ToProblem as _;
use crate::request::context::Visit;

/// Lets requests in.
pub(crate) struct Gate {
    links: Option<Links>,
    require: bool,
    ledger: Option<Ledger>,
}

/// A request that may go on.
pub(crate) struct Entered<'a> {
    /// The address's path without the link.
    pub(crate) path: &'a str,
    /// What came before it: `/l/` and the link's token, or nothing.
    base: &'a str,
    pub(crate) visit: Visit,
}

/// A request that may not.
pub(crate) struct Refused {
    why: Why,
    visit: Visit,
}

enum Why {
    Problem(Problem),
    /// The link itself is fine, but the address stops before what it is for.
    Elsewhere(String),
}

impl From<LinkError> for Why {
    fn from(error: LinkError) -> Why {
        Why::Problem(error.to_problem())
    }
}

impl From<Problem> for Why {
    fn from(problem: Problem) -> Why {
        Why::Problem(problem)
    }
}

impl Gate {
    pub(crate) fn new(settings: &Settings) -> Gate {
        Gate {
            links: settings.links.clone(),
            require: settings.require_links,
            ledger: settings.ledger.clone(),
        }
    }

    /// Whether nobody need be asked.
    pub(crate) fn is_open(&self, path: &str) -> bool {
        !self.require && (self.links.is_none() || split(path).is_none())
    }

    /// Lets a request for the address `uri` in, or says why not.
    pub(crate) async fn enter<'a>(
        &self,
        uri: &'a Uri,
        headers: &HeaderMap,
        mut visit: Visit,
    ) -> Result<Entered<'a>, Box<Refused>> {
        let path = uri.path();
        let Some((links, addressed)) = self.links.as_ref().zip(split(path)) else {
            if self.require {
                return Err(Box::new(Refused { why: LinkError::Needed.into(), visit }));
            }
            return Ok(Entered { path, base: "", visit });
        };
        match self.check(links, &addressed, headers, &mut visit).await {
            Ok(None) => Ok(Entered { path: addressed.rest, base: addressed.base(path), visit }),
            Ok(Some(scope)) => {
                let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
                let why = Why::Elsewhere(format!("{}{scope}{query}", addressed.base(path)));
                Err(Box::new(Refused { why, visit }))
            }
            Err(why) => Err(Box::new(Refused { why, visit })),
        }
    }

    /// Notes in `visit` what the link allows. An address, if the request has to go there instead.
    async fn check(
        &self,
        links: &Links,
        addressed: &Addressed<'_>,
        headers: &HeaderMap,
        visit: &mut Visit,
    ) -> Result<Option<String>, Why> {
        let link = links.genuine(addressed.token)?;
        if let Some(line) = &visit.line {
            line.by_link(&link.id);
        }
        if let Some(scope) = link.leads_to(addressed.rest) {
            return Ok(Some(scope));
        }
        if !link.covers(addressed.rest) {
            return Err(LinkError::OutOfScope.into());
        }
        links.password(&link, headers).await?;
        visit.spent = self.spent(&link).await?;
        visit.link = Some(link);
        Ok(None)
    }

    /// Why a link may begin nothing new, if it may not.
    async fn spent(&self, link: &Link) -> Result<Option<LinkError>, Why> {
        let expired = link.expiry(SystemTime::now());
        let Some(ledger) = &self.ledger else {
            if link.max_downloads.is_some() {
                let detail = "This server does not count downloads, so it cannot honour a link for a number of them. Whoever runs it has to start it with --ledger.";
                return Err(Problem::new(StatusCode::FORBIDDEN, detail).without_link_back().into());
            }
            return Ok(expired);
        };
        let state = match ledger.link_now(&link.id) {
            Some(state) => state,
            None => ledger.link(&link.id).await.map_err(|error| unknown(&error))?,
        };
        if state.revoked.is_some() {
            return Err(LinkError::Revoked.into());
        }
        let exhausted = link.max_downloads.filter(|max| state.receipts >= *max);
        Ok(expired.or_else(|| exhausted.map(|max| LinkError::Exhausted { max })))
    }

    /// Whether a visit may download this content: by a link that is spent, only what was begun before.
    pub(crate) async fn may_begin(&self, visit: &Visit, content: &ContentKey) -> Result<(), Problem> {
        let (Some(error), Some(link)) = (&visit.spent, &visit.link) else { return Ok(()) };
        let begun = match &self.ledger {
            Some(ledger) => ledger.has_open(&link.id, content).await.map_err(|error| unknown(&error))?,
            None => false,
        };
        if begun { Ok(()) } else { Err(error.to_problem()) }
    }
}

fn unknown(error: &outflow_ledger::Error) -> Problem {
    tracing::warn!(%error, "the ledger cannot tell how a link was used");
    Problem::busy("The server cannot look up this link right now. Try again in a few seconds.")
}

impl Entered<'_> {
    /// `place` as the link shows it.
    pub(crate) fn place(&self, place: &Place) -> Place {
        let mut place = place.clone();
        if let Some(link) = &self.visit.link {
            place.base = format!("{}{}", self.base, place.home).into();
            place.collection = narrow(link, place.collection, &place.home);
            place.hidden = link.levels_below(&place.home);
        }
        place
    }
}

impl Refused {
    pub(crate) fn respond<B>(&self, request: &Request<B>) -> Response<ResponseBody> {
        let response = match &self.why {
            Why::Problem(problem) => problem.respond(request.method(), request.headers()),
            Why::Elsewhere(address) => redirect(StatusCode::TEMPORARY_REDIRECT, address),
        };
        finish(response, &self.visit)
    }
}
