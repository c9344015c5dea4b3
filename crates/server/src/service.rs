//! The service: finds out what a request is for, and who answers it.

use std::convert::Infallible;
use std::fmt::Display;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body::Body;
use ipnet::IpNet;
use outflow_catalog::{Collection, OpenError, RelPath, Root, Store};
use outflow_content::{PrebuiltAnswer, UrlPath, Wait};
use outflow_texts::Language;
use outflow_web::page::{HTML, POLICY};
use outflow_web::reply::{options, small};
use outflow_web::{Problem, RequestClient, ResponseBody};
use outflow_wire::{HttpService, PlainRequest, WithPrebuilt};

use crate::access::AccessControl;
use crate::archives::Archives;
use crate::delivery::DeliveryResponder;
use crate::files::{self, Located, Mount};
use crate::folders::{self, Folders};
use crate::limits::WalkPermits;
use crate::mounts::{Location, Mounts};
use crate::options::DownloadOptions;
use crate::progress::{self, ProgressFeed};
use crate::request::{AccessLog, FILE_METHODS, PlainContext, Query, RequestContext, Route};
use outflow_channels::Channels;

/// Serves collections: their files, the listings of their folders, and archives. Clones share
/// everything.
#[derive(Clone)]
pub struct DownloadService(Arc<App>);

/// What answers requests. Handlers take the parts that they use.
struct App {
    mounts: Mounts,
    access: AccessControl,
    deliveries: DeliveryResponder,
    archives: Archives,
    folders: Folders,
    progress: Option<ProgressFeed>,
    channels: Option<Channels>,
    trusted_proxies: Vec<IpNet>,
    language: Language,
}

impl DownloadService {
    /// A service for a local folder. Blocks: it reads the cache folder.
    #[must_use]
    pub fn folder(root: Root, options: &DownloadOptions) -> DownloadService {
        DownloadService::new(Mounts::Collection(Mount::local(root, &options.metrics)), options)
    }

    /// A service for any collection. Blocks: it reads the cache folder.
    #[must_use]
    pub fn collection(collection: Arc<dyn Collection>, options: &DownloadOptions) -> DownloadService {
        DownloadService::new(Mounts::Collection(Mount::new(collection, Arc::from(""))), options)
    }

    /// A service for the transfers that were published in `store`, `/t/ID/` each. Blocks: it reads
    /// the cache folder.
    #[must_use]
    pub fn transfers(store: Store, options: &DownloadOptions) -> DownloadService {
        DownloadService::new(Mounts::transfers(store, options), options)
    }

    fn new(mounts: Mounts, options: &DownloadOptions) -> DownloadService {
        let metrics = options.metrics.set();
        let walks = WalkPermits::new(Arc::clone(&metrics));
        let progress = options.ledger.clone().map(ProgressFeed::new);
        DownloadService(Arc::new(App {
            mounts,
            access: AccessControl::new(options),
            deliveries: DeliveryResponder::new(options, progress.clone().map(|feed| Arc::new(feed) as _)),
            archives: Archives::new(options, walks.clone()),
            folders: Folders::new(walks, metrics),
            progress,
            channels: options.channels.clone(),
            trusted_proxies: options.trusted_proxies.clone(),
            language: options.language,
        }))
    }

    /// The same service for `outflow_wire` alone, which answers plain requests for small local
    /// files with prebuilt answers. Do not wrap it in other services, which would not see these
    /// requests.
    #[must_use]
    pub fn on_wire(self) -> impl HttpService {
        let app = Arc::clone(&self.0);
        WithPrebuilt::new(self, move |request: &PlainRequest<'_>| app.prebuilt(request))
    }

    /// Number of folders that were walked for archives, by all services with the same metrics.
    #[must_use]
    pub fn walks(&self) -> u64 {
        self.0.archives.walk_count()
    }
}

impl<B> tower_service::Service<Request<B>> for DownloadService
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Display,
{
    type Response = Response<ResponseBody>;
    type Error = Infallible;
    type Future = ResponseFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<B>) -> ResponseFuture {
        let app = &self.0;
        // Before anything is logged: it takes the token out of the address.
        let channels = app.channels.as_ref().filter(|channels| channels.claim(&mut request)).cloned();
        let client = RequestClient::of(&request, &app.trusted_proxies);
        let language = app.language;
        let (method, uri) = (request.method(), request.uri());
        let access_log = AccessLog::begin(method, uri.path(), uri.query(), client.address);
        if let Some(channels) = channels {
            return ResponseFuture::later(async move {
                let response = channels.answer(request, client.address, language).await;
                if let Some(log) = access_log {
                    log.set_status(response.status());
                }
                response
            });
        }
        let (head, body) = request.into_parts();
        let request = RequestContext::new(head, client, language, access_log);
        match app.respond_at_once(&request) {
            FastAttempt::Done(response) => ResponseFuture::now(response),
            FastAttempt::Blocks(route) => {
                let app = Arc::clone(app);
                ResponseFuture::later(async move { app.respond(request, body, route).await })
            }
        }
    }
}

/// The outcome of an attempt to answer without waiting.
// Boxing the response would cost most requests an allocation.
#[allow(clippy::large_enum_variant)]
enum FastAttempt {
    Done(Response<ResponseBody>),
    /// It would wait for a disk, a store or the client. The route, if it was parsed.
    Blocks(Option<Result<Route, Problem>>),
}

impl App {
    /// The answer to a request for a file that is kept open: the one that [`App::respond_at_once`]
    /// would give. `None` for all others.
    fn prebuilt(&self, request: &PlainRequest<'_>) -> Option<PrebuiltAnswer> {
        // A query may ask for an archive, events or an attachment, and carry a token.
        if request.target().contains('?') || !self.access.is_open(request.path()) {
            return None;
        }
        if let Some(channels) = &self.channels
            && channels.claim(&mut request.to_request()?)
        {
            return None;
        }
        let Location::Inside(id, path) = self.mounts.locate(request.path()) else { return None };
        let mount = self.mounts.mount_at_hand(id)?;
        let target = UrlPath::parse(path).ok().filter(|target| !target.folder)?;
        let (answer, info) = files::prebuilt(&mount, &target.path)?;
        if !self.deliveries.observes_files() {
            return Some(answer);
        }
        let client = RequestClient::of_plain(request, &self.trusted_proxies);
        self.deliveries.observe(&PlainContext { request, client }, answer, info)
    }

    /// Answers a request for a file that can be opened without waiting, as most can, on the serving
    /// thread.
    fn respond_at_once(&self, request: &RequestContext) -> FastAttempt {
        if !self.access.is_open(request.path()) {
            return FastAttempt::Blocks(None);
        }
        let Location::Inside(id, path) = self.mounts.locate(request.path()) else {
            return FastAttempt::Blocks(None);
        };
        let Some(mount) = self.mounts.mount_at_hand(id) else { return FastAttempt::Blocks(None) };
        let route = Route::parse(request.method(), path, request.uri());
        let Ok(Route::File(path, query)) = &route else { return FastAttempt::Blocks(Some(route)) };
        let found = files::find(&mount, path, query.download, Wait::No);
        if found.as_ref().is_err_and(OpenError::is_would_block) {
            return FastAttempt::Blocks(Some(route));
        }
        let response = files::respond(&self.deliveries, &mount, path, query, found, request);
        FastAttempt::Done(finish(request, response))
    }

    /// Answers any request. `route` is what [`App::respond_at_once`] has parsed.
    async fn respond<B>(
        &self,
        mut request: RequestContext,
        body: B,
        route: Option<Result<Route, Problem>>,
    ) -> Response<ResponseBody>
    where
        B: Body<Data = Bytes>,
        B::Error: Display,
    {
        if let Err(refusal) = self.access.admit(&mut request).await {
            return refusal.respond(&request);
        }
        let request = &request;
        let response = match self.mounts.locate(request.path()) {
            Location::Top => top(request),
            Location::Nowhere => Err(Problem::not_found().without_link_back()),
            Location::Bare(id) => {
                let mount = self.mount(id, request).await;
                mount.map(|mount| mount.redirect_to_folder(&RelPath::root(), request))
            }
            Location::Inside(id, path) => match self.mount(id, request).await {
                Ok(mount) => {
                    let route = route.unwrap_or_else(|| Route::parse(request.method(), path, request.uri()));
                    match route {
                        Ok(route) => self.respond_in(&mount, route, request, body).await,
                        Err(problem) => Err(problem),
                    }
                }
                Err(problem) => Err(problem),
            },
        };
        finish(request, response)
    }

    /// The mount `id` as `request` may see it.
    async fn mount(&self, id: &str, request: &RequestContext) -> Result<Mount, Problem> {
        self.mounts.mount(id).await.map(|mount| mount.shown_to(request))
    }

    /// Answers a request for something in `mount`.
    async fn respond_in<B>(
        &self,
        mount: &Mount,
        route: Route,
        request: &RequestContext,
        body: B,
    ) -> Result<Response<ResponseBody>, Problem>
    where
        B: Body<Data = Bytes>,
        B::Error: Display,
    {
        let App { access, deliveries, archives, folders, progress, .. } = self;
        // Only a form has a body of interest; others are dropped before anything is awaited.
        match route {
            Route::Form(folder) => folders.select(mount, folder, request, body).await,
            Route::Options(allow) => Ok(options(allow)),
            Route::File(path, query) => {
                drop(body);
                self.respond_with_file(mount, path, query, request).await
            }
            Route::Folder(folder, query) => {
                drop(body);
                folders.list(mount, folder, &query, request).await
            }
            Route::Archive(folder, query) => {
                drop(body);
                archives.respond(access, deliveries, mount, &folder, query, request).await
            }
            Route::Events(target, query) => {
                drop(body);
                progress::respond(progress.as_ref(), mount, &target, &query, request).await
            }
        }
    }

    /// Answers a request for a file on a thread that may block.
    async fn respond_with_file(
        &self,
        mount: &Mount,
        path: RelPath,
        query: Query,
        request: &RequestContext,
    ) -> Result<Response<ResponseBody>, Problem> {
        let (searched, name, download) = (mount.clone(), path.clone(), query.download);
        let finding = tokio::task::spawn_blocking(move || files::find(&searched, &name, download, Wait::Yes));
        let found = finding.await.map_err(|_| Problem::task_lost())?;
        if let Ok(Located::File(file)) = &found
            && !query.zip
        {
            self.access.may_download(request, || files::info(mount, file).key).await?;
        }
        files::respond(&self.deliveries, mount, &path, &query, found, request)
    }
}

/// The response or the problem, ready to be sent.
fn finish(
    request: &RequestContext,
    response: Result<Response<ResponseBody>, Problem>,
) -> Response<ResponseBody> {
    match response {
        Ok(response) => request.finish(response),
        Err(problem) => request.refuse(&problem),
    }
}

/// What a server of transfers says of itself. It lists no transfer: their addresses are for those
/// who were sent them.
fn top(request: &RequestContext) -> Result<Response<ResponseBody>, Problem> {
    let method = request.method();
    match *method {
        Method::OPTIONS => Ok(options(FILE_METHODS)),
        Method::GET | Method::HEAD => {
            let mut response =
                small(method, StatusCode::OK, HTML, folders::top(request.language).into_bytes());
            let fields = response.headers_mut();
            fields.insert(CONTENT_SECURITY_POLICY, POLICY);
            fields.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
            Ok(response)
        }
        _ => Err(Problem::method_not_allowed(FILE_METHODS).without_link_back()),
    }
}

/// The response to one request, at once or when it is ready.
pub struct ResponseFuture(FutureState);

// Boxing the response would cost most requests an allocation.
#[allow(clippy::large_enum_variant)]
enum FutureState {
    Now(Option<Response<ResponseBody>>),
    Later(Pin<Box<dyn Future<Output = Response<ResponseBody>> + Send>>),
}

impl ResponseFuture {
    fn now(response: Response<ResponseBody>) -> ResponseFuture {
        ResponseFuture(FutureState::Now(Some(response)))
    }

    fn later(response: impl Future<Output = Response<ResponseBody>> + Send + 'static) -> ResponseFuture {
        ResponseFuture(FutureState::Later(Box::pin(response)))
    }
}

impl Future for ResponseFuture {
    type Output = Result<Response<ResponseBody>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            FutureState::Now(response) => match response.take() {
                Some(response) => Poll::Ready(Ok(response)),
                // Polled after the end.
                None => Poll::Pending,
            },
            FutureState::Later(later) => later.as_mut().poll(cx).map(Ok),
        }
    }
}
