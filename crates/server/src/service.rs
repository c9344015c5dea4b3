//! One request's way: method, address, answer.

use std::convert::Infallible;
use std::fmt::Display;
use std::future::Future;
use std::net::IpAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_LENGTH, CONTENT_TYPE, LOCATION, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body::Body;
use outflow_content::{Content, Wait};
use outflow_store::{Background, CrcCache, LocalFile, Memo, OpenError, Opened, RelPath, Root};

use crate::body::ServerBody;
use crate::hot::Hot;
use crate::listing::Listing;
use crate::log::{ArchiveObserver, DeliveryObserver, Line, client};
use crate::plans::Plans;
use crate::problem::Problem;
use crate::query::Query;
use crate::resume::{self, Resume};
use crate::room::Room;
use crate::target::{BadTarget, Target, address};
use crate::{accept, archive, file, form};

const FILE_METHODS: &str = "GET, HEAD, OPTIONS";
const ARCHIVE_METHODS: &str = "GET, HEAD, OPTIONS, POST";

/// How a folder is served.
#[derive(Clone, Debug)]
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
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            cache: None,
            crc_capacity: 1_000_000,
            crc_background: true,
            plan_fresh: Duration::from_secs(2),
        }
    }
}

/// Serves a [`Root`]: its files, its folders' listings, and archives of them. Clones share everything.
#[derive(Clone)]
pub struct FolderService(Arc<Shared>);

pub(crate) struct Shared {
    pub(crate) root: Arc<Root>,
    hot: Hot,
    pub(crate) plans: Arc<Plans>,
    pub(crate) resume: Resume,
    pub(crate) background: Option<Background>,
    pub(crate) room: Room,
}

impl FolderService {
    /// A service for `root`. Blocks: it reads what the cache folder remembers.
    #[must_use]
    pub fn new(root: Root, settings: &Settings) -> FolderService {
        let root = Arc::new(root);
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
        let resume = Resume::new(memo("layouts-v1", resume::CAPACITY));
        let background = settings.crc_background.then(|| Background::start(Arc::clone(&crcs)));
        let background = background.and_then(|started| {
            started
                .inspect_err(|error| tracing::warn!(%error, "no thread to compute CRC-32s in quiet times"))
                .ok()
        });
        let plans = Arc::new(Plans::new(Arc::clone(&root), crcs, settings.plan_fresh));
        FolderService(Arc::new(Shared {
            root,
            hot: Hot::new(),
            plans,
            resume,
            background,
            room: Room::new(),
        }))
    }

    /// How many folders were walked for archives since the start.
    #[must_use]
    pub fn walks(&self) -> usize {
        self.0.plans.walked()
    }
}

impl<B> tower_service::Service<Request<B>> for FolderService
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Display,
{
    type Response = Response<ServerBody>;
    type Error = Infallible;
    type Future = Answer;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Answer {
        let line = Line::begin(&request);
        // Most requests are for files whose place the kernel knows: these are answered on the spot.
        if let Some(response) = self.0.answer_now(&request, line.as_ref()) {
            return Answer(State::Now(Some(response)));
        }
        let shared = Arc::clone(&self.0);
        Answer(State::Later(Box::pin(async move { shared.answer(request, line).await })))
    }
}

/// The answer to one request, at once or when it is ready.
pub struct Answer(State);

// Boxing the answer would cost the usual case an allocation.
#[allow(clippy::large_enum_variant)]
enum State {
    Now(Option<Response<ServerBody>>),
    Later(Pin<Box<dyn Future<Output = Response<ServerBody>> + Send>>),
}

impl Future for Answer {
    type Output = Result<Response<ServerBody>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            State::Now(response) => match response.take() {
                Some(response) => Poll::Ready(Ok(response)),
                // Polled after the end.
                None => Poll::Pending,
            },
            State::Later(later) => later.as_mut().poll(cx).map(Ok),
        }
    }
}

impl Shared {
    /// The answer, if it takes neither a disk nor a body.
    fn answer_now<B>(&self, request: &Request<B>, line: Option<&Arc<Line>>) -> Option<Response<ServerBody>> {
        let method = request.method();
        if *method != Method::GET && *method != Method::HEAD {
            return None;
        }
        let target = Target::of(request.uri()).ok().filter(|target| !target.folder)?;
        let query = query(request.uri()).ok().filter(|query| !query.zip)?;
        if !query.download
            && let Some(content) = self.hot.get(&self.root, &target.path)
        {
            return Some(deliver(content, method, request.headers(), line));
        }
        let opened = self.root.open(&target.path, Wait::No);
        if opened.as_ref().is_err_and(OpenError::is_would_block) {
            return None;
        }
        Some(match opened {
            Ok(Opened::File(open)) => {
                deliver(self.content(open, query.download), method, request.headers(), line)
            }
            Ok(Opened::Folder(_)) => finish(to_folder(&target.path, request.uri()), line),
            Err(error) => finish(Problem::from(&error).respond(method, request.headers()), line),
        })
    }

    /// An open file's content. It may be kept for the next request.
    fn content(&self, open: LocalFile, download: bool) -> Content {
        let content = file::content(open.clone(), download);
        if download { content } else { self.hot.keep(open, content) }
    }

    /// The answer, however long it takes.
    async fn answer<B>(self: Arc<Self>, request: Request<B>, line: Option<Arc<Line>>) -> Response<ServerBody>
    where
        B: Body<Data = Bytes>,
        B::Error: Display,
    {
        let client = client(&request);
        let (head, body) = request.into_parts();
        let (method, headers) = (&head.method, &head.headers);
        let answer = match Task::of(method, &head.uri) {
            Ok(Task::Options(allow)) => Ok(finish(options(allow), line.as_ref())),
            Ok(Task::Form(folder)) => {
                let to = form::address_of(&self, &folder, headers, body).await;
                to.map(|to| finish(redirect(StatusCode::SEE_OTHER, &to), line.as_ref()))
            }
            Ok(Task::Archive(folder, query)) => {
                drop(body);
                self.archive(&folder, query, method, headers, client, line.as_ref()).await
            }
            Ok(Task::Get(target, query)) => {
                drop(body);
                let found = self.find(&target, query.json, method, headers).await;
                found.and_then(|found| match found {
                    Found::File(_) if query.zip => Err(Problem::bad_request(
                        "Archives are made of folders. Leave out ?zip to get the file.",
                    )),
                    Found::File(open) => {
                        Ok(deliver(self.content(open, query.download), method, headers, line.as_ref()))
                    }
                    Found::Folder => Ok(finish(to_folder(&target.path, &head.uri), line.as_ref())),
                    Found::Listing(page) => Ok(finish(*page, line.as_ref())),
                })
            }
            Err(problem) => Err(problem),
        };
        answer.unwrap_or_else(|problem| finish(problem.respond(method, headers), line.as_ref()))
    }

    async fn archive(
        self: &Arc<Self>,
        folder: &RelPath,
        query: Query,
        method: &Method,
        headers: &HeaderMap,
        client: Option<IpAddr>,
        line: Option<&Arc<Line>>,
    ) -> Result<Response<ServerBody>, Problem> {
        let ask = archive::ask(query)?;
        let ready = archive::ready(self, folder, ask, method, headers, client).await?;
        let identity = ready.plan.identity;
        let content = ready.content.observer(ArchiveObserver::new(line, ready.plan));
        let response = content.respond(method, headers);
        if *method == Method::GET && response.status() == StatusCode::OK {
            self.resume.began(&identity, client, ready.form);
        }
        Ok(finish(response.map(ServerBody::Content), line))
    }

    /// What a target is, found out on a thread that may block.
    async fn find(
        self: &Arc<Self>,
        target: &Target,
        json: bool,
        method: &Method,
        headers: &HeaderMap,
    ) -> Result<Found, Problem> {
        // A page takes much more memory while it is made than afterwards: few are made at the same time.
        let permit = if target.folder { Some(self.plans.permit().await?) } else { None };
        let (shared, target, method) = (Arc::clone(self), target.clone(), method.clone());
        let json = json || accept::prefers_json(headers);
        let finding = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            let opened = shared.root.open(&target.path, Wait::Yes).map_err(|error| Problem::from(&error))?;
            match opened {
                Opened::File(_) if target.folder => Err(Problem::not_found()),
                Opened::File(file) => Ok(Found::File(file)),
                Opened::Folder(_) if !target.folder => Ok(Found::Folder),
                Opened::Folder(folder) => {
                    let listing =
                        Listing::read(&shared.root, &folder).map_err(|error| Problem::from(&error))?;
                    listing.respond(&shared.room, &method, json).map(|page| Found::Listing(Box::new(page)))
                }
            }
        });
        finding.await.unwrap_or_else(|gone| Err(Problem::internal(gone.to_string())))
    }
}

/// What is there at an address.
enum Found {
    File(LocalFile),
    /// A folder, asked for without the slash at its end.
    Folder,
    /// The answer that shows a folder.
    Listing(Box<Response<ServerBody>>),
}

/// What a request wants, as far as it can be said without looking.
enum Task {
    Options(&'static str),
    Get(Target, Query),
    Archive(RelPath, Query),
    Form(RelPath),
}

impl Task {
    fn of(method: &Method, uri: &Uri) -> Result<Task, Problem> {
        if *method == Method::OPTIONS && uri.path() == "*" {
            return Ok(Task::Options(ARCHIVE_METHODS));
        }
        let target = Target::of(uri).map_err(|bad| match bad {
            BadTarget::Malformed(why) => {
                Problem::bad_request(format!("There can be no such address: {why}."))
            }
            BadTarget::NoSuchThing => Problem::not_found(),
        })?;
        let query =
            query(uri).map_err(|why| Problem::bad_request(format!("The query makes no sense: {why}.")))?;
        let allow = if query.zip && target.folder { ARCHIVE_METHODS } else { FILE_METHODS };
        match *method {
            Method::OPTIONS => Ok(Task::Options(allow)),
            Method::POST if query.zip && target.folder => Ok(Task::Form(target.path)),
            Method::GET | Method::HEAD if query.zip && target.folder => Ok(Task::Archive(target.path, query)),
            Method::GET | Method::HEAD => Ok(Task::Get(target, query)),
            _ => Err(Problem::method(allow)),
        }
    }
}

fn query(uri: &Uri) -> Result<Query, &'static str> {
    uri.query().map_or_else(|| Ok(Query::default()), |query| Query::parse(query.as_bytes()))
}

/// Answers with a content, watched by the request's line.
fn deliver(
    content: Content,
    method: &Method,
    headers: &HeaderMap,
    line: Option<&Arc<Line>>,
) -> Response<ServerBody> {
    let content = match line {
        Some(line) => content.observer(DeliveryObserver(Arc::clone(line))),
        None => content,
    };
    finish(content.respond(method, headers).map(ServerBody::Content), line)
}

fn finish(response: Response<ServerBody>, line: Option<&Arc<Line>>) -> Response<ServerBody> {
    if let Some(line) = line {
        line.answered(response.status());
    }
    response
}

/// An answer of bytes in memory; without them if the request was HEAD.
pub(crate) fn small(
    method: &Method,
    status: StatusCode,
    media_type: HeaderValue,
    bytes: Vec<u8>,
) -> Response<ServerBody> {
    let len = HeaderValue::from(bytes.len());
    let body = if *method == Method::HEAD { ServerBody::empty() } else { bytes.into() };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let fields = response.headers_mut();
    fields.insert(CONTENT_TYPE, media_type);
    fields.insert(CONTENT_LENGTH, len);
    fields.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

fn options(allow: &'static str) -> Response<ServerBody> {
    let mut response = Response::new(ServerBody::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(allow));
    response
}

/// To the address of a folder that was asked for without the slash.
fn to_folder(path: &RelPath, uri: &Uri) -> Response<ServerBody> {
    let mut to = address(path);
    to.push('/');
    if let Some(query) = uri.query() {
        to.push('?');
        to.push_str(query);
    }
    redirect(StatusCode::PERMANENT_REDIRECT, &to)
}

fn redirect(status: StatusCode, to: &str) -> Response<ServerBody> {
    let mut response = Response::new(ServerBody::empty());
    // Percent-encoded paths and queries that came in an address are always a field value.
    if let Ok(to) = HeaderValue::from_str(to) {
        *response.status_mut() = status;
        response.headers_mut().insert(LOCATION, to);
    } else {
        *response.status_mut() = StatusCode::NOT_FOUND;
    }
    response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
    response
}
