//! A service that serves all transfers of a store, each under an address of its own.

use std::convert::Infallible;
use std::fmt::Display;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body::Body;
use outflow_catalog::{Store, Transfer};
use outflow_content::UnixTime;
use outflow_web::page::{HTML, POLICY};
use outflow_web::reply::{options, small};
use outflow_web::{Problem, ResponseBody};

use crate::app::{FILE_METHODS, Place, Settings, Shared, file_wanted, finish, with_slash};
use crate::catalogue::expiries::Expiries;
use crate::catalogue::manifests::Transfers;
use crate::folders::page;
use crate::request::context::Visit;
use crate::service::Answer;

/// Serves the transfers of a store, `/t/<id>/` each. Clones share everything.
#[derive(Clone)]
pub struct StoreService(Arc<Inner>);

struct Inner {
    shared: Arc<Shared>,
    transfers: Transfers,
    expiries: Expiries,
}

impl StoreService {
    /// A service for what was published in `store`. Blocks: it reads what the cache folder remembers.
    #[must_use]
    pub fn new(store: Store, settings: &Settings) -> StoreService {
        let transfers = Transfers::new(store, settings);
        let expiries = Expiries::new(settings.ledger.clone());
        StoreService(Arc::new(Inner { shared: Arc::new(Shared::new(settings)), transfers, expiries }))
    }
}

impl<B> tower_service::Service<Request<B>> for StoreService
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Display,
{
    type Response = Response<ResponseBody>;
    type Error = Infallible;
    type Future = Answer;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<B>) -> Answer {
        let channels = self.0.shared.channels(&mut request);
        let visit = self.0.shared.visit(&request);
        if let Some(channels) = channels {
            return Answer::later(async move {
                finish(channels.answer(request, visit.client.address).await, &visit)
            });
        }
        if self.0.shared.gate.is_open(request.uri().path())
            && let Some(response) = self.0.answer_now(&request, &visit)
        {
            return Answer::now(response);
        }
        let inner = Arc::clone(&self.0);
        Answer::later(async move { inner.answer(request, visit).await })
    }
}

/// What an address stands for.
#[derive(Debug, PartialEq, Eq)]
enum Route<'a> {
    /// The server itself.
    Top,
    /// A transfer, without the slash at the end.
    Bare(&'a str),
    /// A transfer, and what of it: from the slash on.
    Inside(&'a str, &'a str),
    /// Nothing that could be there.
    Nowhere,
}

impl Route<'_> {
    fn of(path: &str) -> Route<'_> {
        if path == "/" || path == "*" {
            return Route::Top;
        }
        let Some(rest) = path.strip_prefix("/t/") else { return Route::Nowhere };
        let (id, below) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        match (outflow_catalog::is_transfer_id(id), below.is_empty()) {
            (false, _) => Route::Nowhere,
            (true, true) => Route::Bare(id),
            (true, false) => Route::Inside(id, below),
        }
    }
}

impl Inner {
    /// The answer to a request for a file of a transfer that is at hand.
    fn answer_now<B>(&self, request: &Request<B>, visit: &Visit) -> Option<Response<ResponseBody>> {
        let Route::Inside(id, path) = Route::of(request.uri().path()) else { return None };
        let (file, download) = file_wanted(path, request)?;
        let transfer = self.transfers.at_hand(id)?.ok()?;
        check_expiry(&transfer).ok()?;
        self.shared.found_now(&place(id, transfer), &file, download, request, visit)
    }

    async fn answer<B>(self: Arc<Self>, request: Request<B>, visit: Visit) -> Response<ResponseBody>
    where
        B: Body<Data = Bytes>,
        B::Error: Display,
    {
        let uri = request.uri().clone();
        let entered = match self.shared.gate.enter(&uri, request.headers(), visit).await {
            Ok(entered) => entered,
            Err(refused) => return refused.respond(&request),
        };
        let visit = &entered.visit;
        let (id, path) = match Route::of(entered.path) {
            Route::Top => {
                return finish(top(request.method()).unwrap_or_else(|no| respond(&no, &request)), visit);
            }
            Route::Nowhere => {
                let problem = Problem::not_found().without_link_back();
                return finish(respond(&problem, &request), visit);
            }
            Route::Bare(id) => (id, None),
            Route::Inside(id, path) => (id, Some(path)),
        };
        let found = self.transfers.get(id).await.map_err(|problem| Problem::clone(&problem));
        if let Ok(transfer) = &found
            && let Some(expires) = transfer.about().expires
        {
            self.expiries.note(id, expires);
        }
        let found = found.and_then(|transfer| check_expiry(&transfer).map(|()| transfer));
        let place = found.map(|transfer| entered.place(&place(id, transfer)));
        match (place, path) {
            (Err(problem), _) => finish(respond(&problem, &request), visit),
            (Ok(place), None) => finish(with_slash(place.base.to_string(), &uri), visit),
            (Ok(place), Some(path)) => self.shared.answer(&place, path, request, visit).await,
        }
    }
}

fn place(id: &str, transfer: Arc<Transfer>) -> Place {
    let home: Arc<str> = format!("/t/{id}").into();
    Place { collection: transfer, base: Arc::clone(&home), home, hidden: 0 }
}

fn respond<B>(problem: &Problem, request: &Request<B>) -> Response<ResponseBody> {
    problem.respond(request.method(), request.headers())
}

/// An expired transfer is gone, whatever of it is asked for.
fn check_expiry(transfer: &Transfer) -> Result<(), Problem> {
    match transfer.about().expires {
        Some(expires) if UnixTime::now().nanos() >= expires => {
            let detail = format!(
                "This transfer was available until {} (UTC). Ask whoever sent it to publish it again.",
                page::time(Some(UnixTime::from_nanos(expires)))
            );
            Err(Problem::new(StatusCode::GONE, detail).without_link_back())
        }
        _ => Ok(()),
    }
}

/// What the server says of itself. It names no transfer: their addresses are for those who were told them.
fn top(method: &Method) -> Result<Response<ResponseBody>, Problem> {
    match *method {
        Method::OPTIONS => Ok(options(FILE_METHODS)),
        Method::GET | Method::HEAD => {
            let mut response = small(method, StatusCode::OK, HTML, page::top().into_bytes());
            let fields = response.headers_mut();
            fields.insert(CONTENT_SECURITY_POLICY, POLICY);
            fields.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
            Ok(response)
        }
        _ => Err(Problem::method_not_allowed(FILE_METHODS).without_link_back()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_lead_to_transfers() {
        for (path, route) in [
            ("/", Route::Top),
            ("/t/abc", Route::Bare("abc")),
            ("/t/abc/", Route::Inside("abc", "/")),
            ("/t/abc//", Route::Inside("abc", "//")),
            ("/t/abc/a%20b/c", Route::Inside("abc", "/a%20b/c")),
            ("/t", Route::Nowhere),
            ("/t/", Route::Nowhere),
            ("/t//", Route::Nowhere),
            ("/t/../x", Route::Nowhere),
            ("/t/%61bc/", Route::Nowhere),
            ("/t/a b/", Route::Nowhere),
            ("/abc", Route::Nowhere),
            ("/favicon.ico", Route::Nowhere),
        ] {
            assert_eq!(Route::of(path), route, "{path}");
        }
        assert_eq!(Route::of(&format!("/t/{}/", "a".repeat(5_000))), Route::Nowhere);
    }
}
