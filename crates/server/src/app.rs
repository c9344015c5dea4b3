//! What all collections of a service share, and how one of them answers a request.

use std::fmt::Display;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, REFERRER_POLICY};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body::Body;
use ipnet::IpNet;
use outflow_catalog::{Background, Collection, CrcCache, Found, Memo, RelPath};
use outflow_content::{Content, Wait};
use outflow_ledger::{ContentInfo, Ledger};
use outflow_web::reply::{options, redirect};
use outflow_web::{Problem, ResponseBody, accept};

use crate::access::Gate;
use crate::archives::archive;
use crate::archives::layout_memory::{self, Resume};
use crate::archives::plans::Plans;
use crate::delivery::ledger_entry;
use crate::delivery::observer::DeliveryObserver;
use crate::files::content;
use crate::folders::form;
use crate::folders::listing::Listing;
use crate::limits::Room;
use crate::link::Links;
use crate::problem::ToProblem as _;
use crate::progress::broadcast::{Live, Topic};
use crate::progress::listener;
use crate::progress::listener::{Of, Scope};
use crate::request::context::Visit;
use crate::request::query::Query;
use crate::request::target::{BadTarget, Target, address};
use outflow_channels::Channels;

pub(crate) const FILE_METHODS: &str = "GET, HEAD, OPTIONS";
const ARCHIVE_METHODS: &str = "GET, HEAD, OPTIONS, POST";

/// How collections are served.
#[derive(Clone)]
pub struct Settings {
    /// Where CRC-32s and begun layouts are kept over restarts; `None`: nowhere. A folder that cannot be
    /// used is a warning in the log, not an error.
    pub cache: Option<PathBuf>,
    /// How many files' CRC-32s are remembered. An archive of more than half as many is always streamed.
    pub crc_capacity: usize,
    /// A thread reads the files of requested archives in quiet times, to know their CRC-32s.
    pub crc_background: bool,
    /// For how long an archive's plan is used again without looking at its folder.
    pub plan_fresh: Duration,
    /// For how long a transfer's manifest is used again without asking the store.
    pub manifest_fresh: Duration,
    /// For how long after the store last confirmed it a manifest is used while the store does not answer.
    pub manifest_stale: Duration,
    /// Where downloads are noted. `None`: nowhere.
    pub ledger: Option<Ledger>,
    /// Checks links. `None`: an address with a link in it is an address like any other.
    pub links: Option<Links>,
    /// Whether nothing is served without a link.
    pub require_links: bool,
    /// Proxies that are believed what they say of their clients.
    pub trusted_proxies: Vec<IpNet>,
    /// Channels. `None`: their addresses are addresses like any other.
    pub channels: Option<Channels>,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            cache: None,
            crc_capacity: 1_000_000,
            crc_background: true,
            plan_fresh: Duration::from_secs(2),
            manifest_fresh: Duration::from_secs(2),
            manifest_stale: Duration::from_secs(300),
            ledger: None,
            links: None,
            require_links: false,
            trusted_proxies: Vec::new(),
            channels: None,
        }
    }
}

/// What all collections of a service share.
pub(crate) struct Shared {
    pub(crate) plans: Arc<Plans>,
    pub(crate) resume: Resume,
    pub(crate) background: Option<Background>,
    pub(crate) room: Room,
    pub(crate) gate: Gate,
    pub(crate) ledger: Option<Ledger>,
    live: Option<Live>,
    pub(crate) trusted_proxies: Vec<IpNet>,
    channels: Option<Channels>,
}

/// A collection and where it is served.
#[derive(Clone)]
pub(crate) struct Place {
    pub(crate) collection: Arc<dyn Collection>,
    /// Address of its top folder, percent-encoded, without the slash at its end: with the link, if it was asked for by one.
    pub(crate) base: Arc<str>,
    /// The same without the link.
    pub(crate) home: Arc<str>,
    /// How many of the topmost folders the link is not for: no page leads there.
    pub(crate) hidden: usize,
}

impl Place {
    /// The transfer that it is.
    pub(crate) fn transfer(&self) -> Option<String> {
        self.collection.about().map(|about| about.id.clone())
    }
}

impl Shared {
    /// Blocks: it reads what the cache folder remembers.
    pub(crate) fn new(settings: &Settings) -> Shared {
        let mut folder = settings.cache.as_deref();
        let mut memo = |name: &str, capacity: usize| {
            if let Some(there) = folder {
                match Memo::open(there, name, capacity) {
                    Ok(memo) => return memo,
                    Err(error) => {
                        tracing::warn!(folder = %there.display(), %error, "nothing is remembered over a restart: the cache folder cannot be used; --cache names another one");
                        folder = None;
                    }
                }
            }
            Memo::in_memory(capacity)
        };
        let crcs = Arc::new(CrcCache::new(memo("crc32-v1", settings.crc_capacity)));
        let resume = Resume::new(memo("layouts-v1", layout_memory::CAPACITY));
        let background = settings.crc_background.then(|| Background::start(Arc::clone(&crcs)));
        let background = background.and_then(|started| {
            started
                .inspect_err(|error| tracing::warn!(%error, "no thread to compute CRC-32s in quiet times"))
                .ok()
        });
        let plans = Arc::new(Plans::new(crcs, settings.plan_fresh));
        Shared {
            plans,
            resume,
            background,
            room: Room::new(),
            gate: Gate::new(settings),
            ledger: settings.ledger.clone(),
            live: settings.ledger.clone().map(Live::new),
            trusted_proxies: settings.trusted_proxies.clone(),
            channels: settings.channels.clone(),
        }
    }

    /// The channels, if a request is for one of them.
    pub(crate) fn channels<B>(&self, request: &mut Request<B>) -> Option<Channels> {
        self.channels.as_ref().filter(|channels| channels.claim(request)).cloned()
    }

    /// A request begins.
    pub(crate) fn visit<B>(&self, request: &Request<B>) -> Visit {
        Visit::new(request, &self.trusted_proxies)
    }

    /// The answer, however long it takes. `path` is the part of the request's address below the place's base.
    pub(crate) async fn answer<B>(
        self: &Arc<Self>,
        place: &Place,
        path: &str,
        request: Request<B>,
        visit: &Visit,
    ) -> Response<ResponseBody>
    where
        B: Body<Data = Bytes>,
        B::Error: Display,
    {
        let (head, body) = request.into_parts();
        let (method, headers) = (&head.method, &head.headers);
        let answer = match Task::of(method, path, &head.uri) {
            Ok(Task::Options(allow)) => Ok(finish(options(allow), visit)),
            Ok(Task::Events(target, query)) => {
                drop(body);
                self.events(place, &target, &query, &head.uri, method, headers, visit).await
            }
            Ok(Task::Form(folder)) => {
                let to = form::address_of(self, place, &folder, headers, body).await;
                to.map(|to| finish(redirect(StatusCode::SEE_OTHER, &to), visit))
            }
            Ok(Task::Archive(folder, query)) => {
                drop(body);
                self.archive(place, &folder, query, &head.uri, method, headers, visit).await
            }
            Ok(Task::Get(target, query)) => {
                drop(body);
                self.get(place, &target, &query, &head.uri, method, headers, visit).await
            }
            Err(problem) => Err(problem),
        };
        answer.unwrap_or_else(|problem| finish(problem.respond(method, headers), visit))
    }

    // What a request is made of; a struct of it would have this one user.
    #[allow(clippy::too_many_arguments)]
    async fn archive(
        self: &Arc<Self>,
        place: &Place,
        folder: &RelPath,
        query: Query,
        uri: &Uri,
        method: &Method,
        headers: &HeaderMap,
        visit: &Visit,
    ) -> Result<Response<ResponseBody>, Problem> {
        let ask = archive::ask(query)?;
        let client = visit.client.address;
        let ready = archive::ready(self, place, folder, ask, method, headers, client).await?;
        let archive::Ready { content, plan, made, name } = ready;
        let path = format!("{}{}/?{}", place.home, address(folder), uri.query().unwrap_or_default());
        let info = ledger_entry::of_archive(place, &made, &name, &path);
        self.gate.may_begin(visit, &info.key).await?;
        let tracked = ledger_entry::track(self.ledger.as_ref(), || info, method, headers, visit)?;
        let identity = plan.identity;
        let observer = DeliveryObserver::new(visit.line.clone(), tracked, Some(plan));
        let response = content.observer(observer).respond(method, headers);
        if *method == Method::GET && response.status() == StatusCode::OK {
            self.resume.began(&identity, client, made.form);
        }
        Ok(finish(response.map(ResponseBody::Content), visit))
    }

    /// How downloads of what is at an address stand, as it happens.
    #[allow(clippy::too_many_arguments)]
    async fn events(
        self: &Arc<Self>,
        place: &Place,
        target: &Target,
        query: &Query,
        uri: &Uri,
        method: &Method,
        headers: &HeaderMap,
        visit: &Visit,
    ) -> Result<Response<ResponseBody>, Problem> {
        let Some(live) = &self.live else {
            let detail = "This server does not keep account of downloads, so it cannot tell how they stand. It has to be started with --ledger.";
            return Err(Problem::new(StatusCode::NOT_IMPLEMENTED, detail));
        };
        if visit.client.address.is_none() {
            // The engine is not ours, and would not hand the connection over: the stream would end at once.
            let detail = "This server cannot tell how downloads stand as it happens: its HTTP engine does not let go of connections.";
            return Err(Problem::new(StatusCode::NOT_IMPLEMENTED, detail));
        }
        let (collection, path) = (Arc::clone(&place.collection), target.path.clone());
        let finding = tokio::task::spawn_blocking(move || collection.find(&path, Wait::Yes));
        let found = finding.await.map_err(|gone| Problem::internal(gone.to_string()))?;
        match found.map_err(|error| error.to_problem())? {
            Found::Folder if !target.folder => {
                return Ok(finish(to_folder(place, &target.path, uri), visit));
            }
            Found::File(_) if target.folder => return Err(Problem::not_found()),
            Found::Folder | Found::File(_) => {}
        }
        let here = format!("{}{}", place.home, address(&target.path));
        let of = match (target.folder, query.zip) {
            (false, _) => Of::Exactly(ledger_entry::text(&here)),
            (true, false) => Of::Below(format!("{here}/")),
            (true, true) => {
                // The archive's own address.
                let fields = uri.query().unwrap_or_default().split('&');
                let own = fields.filter(|field| {
                    let name = field.split('=').next();
                    !matches!(name, Some("events" | "last_event_id"))
                });
                Of::Exactly(ledger_entry::text(&format!("{here}/?{}", own.collect::<Vec<_>>().join("&"))))
            }
        };
        let topic = match &visit.link {
            Some(link) if link.operator => Topic::All,
            _ => {
                let recipient = visit.recipient(headers);
                Topic::Of { recipient: recipient.id, weak: recipient.weak }
            }
        };
        let link = visit.link.clone().map(|link| (link, visit.spent.clone()));
        let scope = Scope { topic, of, transfer: place.transfer(), link };
        let response = listener::answer(live, scope, uri.query(), method, headers).await?;
        Ok(finish(response, visit))
    }

    /// A file, or a folder's listing: found out on a thread that may block.
    #[allow(clippy::too_many_arguments)]
    async fn get(
        self: &Arc<Self>,
        place: &Place,
        target: &Target,
        query: &Query,
        uri: &Uri,
        method: &Method,
        headers: &HeaderMap,
        visit: &Visit,
    ) -> Result<Response<ResponseBody>, Problem> {
        if target.folder {
            if let Some(spent) = &visit.spent {
                return Err(spent.to_problem());
            }
            let json = query.json || accept::prefers_json(headers);
            let page = self.listing(place, target.path.clone(), json, method.clone()).await?;
            return Ok(finish(page, visit));
        }
        let (collection, path) = (Arc::clone(&place.collection), target.path.clone());
        let finding = tokio::task::spawn_blocking(move || collection.find(&path, Wait::Yes));
        let found = finding.await.map_err(|gone| Problem::internal(gone.to_string()))?;
        match found.map_err(|error| error.to_problem())? {
            Found::File(_) if query.zip => {
                Err(Problem::bad_request("Archives are made of folders. Leave out ?zip to get the file."))
            }
            Found::File(file) => {
                let info = ledger_entry::of_file(place, &file);
                self.gate.may_begin(visit, &info.key).await?;
                let content = content::content(&file, query.download);
                Ok(self.deliver(content, || info, method, headers, visit))
            }
            Found::Folder => Ok(finish(to_folder(place, &target.path, uri), visit)),
        }
    }

    /// The answer to a request for the file `path`, if that is known without waiting.
    pub(crate) fn found_now<B>(
        &self,
        place: &Place,
        path: &RelPath,
        download: bool,
        request: &Request<B>,
        visit: &Visit,
    ) -> Option<Response<ResponseBody>> {
        let (method, headers) = (request.method(), request.headers());
        Some(match place.collection.find(path, Wait::No) {
            Ok(Found::File(file)) => {
                let content = content::content(&file, download);
                self.deliver(content, || ledger_entry::of_file(place, &file), method, headers, visit)
            }
            Ok(Found::Folder) => finish(to_folder(place, path, request.uri()), visit),
            Err(error) if error.is_would_block() => return None,
            Err(error) => finish(error.to_problem().respond(method, headers), visit),
        })
    }

    /// Answers with a content, watched by whoever wants to know what becomes of it.
    pub(crate) fn deliver(
        &self,
        content: Content,
        info: impl FnOnce() -> Arc<ContentInfo>,
        method: &Method,
        headers: &HeaderMap,
        visit: &Visit,
    ) -> Response<ResponseBody> {
        let tracked = match ledger_entry::track(self.ledger.as_ref(), info, method, headers, visit) {
            Ok(tracked) => tracked,
            Err(problem) => return finish(problem.respond(method, headers), visit),
        };
        let content = if visit.line.is_none() && tracked.is_none() {
            content
        } else {
            content.observer(DeliveryObserver::new(visit.line.clone(), tracked, None))
        };
        finish(content.respond(method, headers).map(ResponseBody::Content), visit)
    }

    async fn listing(
        self: &Arc<Self>,
        place: &Place,
        folder: RelPath,
        json: bool,
        method: Method,
    ) -> Result<Response<ResponseBody>, Problem> {
        // A page takes much more memory while it is made than afterwards: few are made at the same time.
        let permit = self.plans.permit().await?;
        let (shared, place) = (Arc::clone(self), place.clone());
        let listing = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            let listing = Listing::read(&place, &folder).map_err(|error| error.to_problem())?;
            listing.respond(&shared.room, &method, json)
        });
        listing.await.unwrap_or_else(|gone| Err(Problem::internal(gone.to_string())))
    }
}

/// What a request wants, as far as it can be said without looking.
enum Task {
    Options(&'static str),
    Get(Target, Query),
    Archive(RelPath, Query),
    Form(RelPath),
    Events(Target, Query),
}

impl Task {
    fn of(method: &Method, path: &str, uri: &Uri) -> Result<Task, Problem> {
        if *method == Method::OPTIONS && uri.path() == "*" {
            return Ok(Task::Options(ARCHIVE_METHODS));
        }
        let target = Target::parse(path).map_err(|bad| match bad {
            BadTarget::Malformed(why) => {
                Problem::bad_request(format!("There can be no such address: {why}."))
            }
            BadTarget::NotFound => Problem::not_found(),
        })?;
        let query =
            query(uri).map_err(|why| Problem::bad_request(format!("The query makes no sense: {why}.")))?;
        let allow = if query.zip && target.folder { ARCHIVE_METHODS } else { FILE_METHODS };
        match *method {
            Method::OPTIONS => Ok(Task::Options(allow)),
            Method::GET | Method::HEAD if query.events => Ok(Task::Events(target, query)),
            Method::POST if query.zip && target.folder => Ok(Task::Form(target.path)),
            Method::GET | Method::HEAD if query.zip && target.folder => Ok(Task::Archive(target.path, query)),
            Method::GET | Method::HEAD => Ok(Task::Get(target, query)),
            _ => Err(Problem::method_not_allowed(allow)),
        }
    }
}

pub(crate) fn query(uri: &Uri) -> Result<Query, &'static str> {
    uri.query().map_or_else(|| Ok(Query::default()), |query| Query::parse(query.as_bytes()))
}

/// The file that a request wants, if it can be nothing else: its path, and whether it is to be saved.
pub(crate) fn file_wanted<B>(path: &str, request: &Request<B>) -> Option<(RelPath, bool)> {
    let method = request.method();
    if *method != Method::GET && *method != Method::HEAD {
        return None;
    }
    let target = Target::parse(path).ok().filter(|target| !target.folder)?;
    let query = query(request.uri()).ok().filter(|query| !query.zip && !query.events)?;
    Some((target.path, query.download))
}

pub(crate) fn finish(mut response: Response<ResponseBody>, visit: &Visit) -> Response<ResponseBody> {
    if let Some(line) = &visit.line {
        line.answered(response.status());
    }
    if visit.link.is_some() {
        let fields = response.headers_mut();
        // The address is a secret: it goes along with no request to elsewhere.
        fields.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
        // Whoever else uses a cache has no link.
        fields.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("private"));
    }
    response
}

/// To the address of a folder that was asked for without the slash.
pub(crate) fn to_folder(place: &Place, path: &RelPath, uri: &Uri) -> Response<ResponseBody> {
    with_slash(format!("{}{}", place.base, address(path)), uri)
}

/// To the address `to` with a slash at its end, the query kept.
pub(crate) fn with_slash(mut to: String, uri: &Uri) -> Response<ResponseBody> {
    to.push('/');
    if let Some(query) = uri.query() {
        to.push('?');
        to.push_str(query);
    }
    redirect(StatusCode::PERMANENT_REDIRECT, &to)
}
