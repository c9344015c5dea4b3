//! A service that serves one collection, a folder above all.

use std::convert::Infallible;
use std::fmt::Display;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use outflow_catalog::{Collection, FoundFile, OpenError, Opened, Root};
use outflow_content::Wait;
use outflow_web::ResponseBody;

use crate::app::{Place, Settings, Shared, file_wanted, finish, to_folder};
use crate::delivery::ledger_entry;
use crate::files::content;
use crate::files::open_file_cache::Hot;
use crate::problem::ToProblem as _;
use crate::request::context::Visit;

/// Serves one collection: its files, its folders' listings, and archives of them. Clones share everything.
#[derive(Clone)]
pub struct FolderService(Arc<Inner>);

struct Inner {
    shared: Arc<Shared>,
    place: Place,
    /// The collection, if it is a folder on disk, and its small files that are kept open.
    local: Option<(Arc<Root>, Hot)>,
}

impl FolderService {
    /// A service for `root`. Blocks: it reads what the cache folder remembers.
    #[must_use]
    pub fn new(root: Root, settings: &Settings) -> FolderService {
        let root = Arc::new(root);
        FolderService::with(Arc::clone(&root) as Arc<dyn Collection>, Some((root, Hot::new())), settings)
    }

    /// A service for any collection. Blocks: it reads what the cache folder remembers.
    #[must_use]
    pub fn of(collection: Arc<dyn Collection>, settings: &Settings) -> FolderService {
        FolderService::with(collection, None, settings)
    }

    fn with(
        collection: Arc<dyn Collection>,
        local: Option<(Arc<Root>, Hot)>,
        settings: &Settings,
    ) -> FolderService {
        let place = Place { collection, base: Arc::from(""), home: Arc::from(""), hidden: 0 };
        FolderService(Arc::new(Inner { shared: Arc::new(Shared::new(settings)), place, local }))
    }

    /// How many folders were walked for archives since the start.
    #[must_use]
    pub fn walks(&self) -> usize {
        self.0.shared.plans.walked()
    }
}

impl<B> tower_service::Service<Request<B>> for FolderService
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
        // Most requests are for files whose place the kernel knows: these are answered on the spot.
        if self.0.shared.gate.is_open(request.uri().path())
            && let Some(response) = self.0.answer_now(&request, &visit)
        {
            return Answer::now(response);
        }
        let inner = Arc::clone(&self.0);
        Answer::later(async move {
            let uri = request.uri().clone();
            let shared = &inner.shared;
            match shared.gate.enter(&uri, request.headers(), visit).await {
                Ok(entered) => {
                    let place = entered.place(&inner.place);
                    shared.answer(&place, entered.path, request, &entered.visit).await
                }
                Err(refused) => refused.respond(&request),
            }
        })
    }
}

/// The answer to one request, at once or when it is ready.
pub struct Answer(State);

// Boxing the answer would cost the usual case an allocation.
#[allow(clippy::large_enum_variant)]
enum State {
    Now(Option<Response<ResponseBody>>),
    Later(Pin<Box<dyn Future<Output = Response<ResponseBody>> + Send>>),
}

impl Answer {
    pub(crate) fn now(response: Response<ResponseBody>) -> Answer {
        Answer(State::Now(Some(response)))
    }

    pub(crate) fn later(response: impl Future<Output = Response<ResponseBody>> + Send + 'static) -> Answer {
        Answer(State::Later(Box::pin(response)))
    }
}

impl Future for Answer {
    type Output = Result<Response<ResponseBody>, Infallible>;

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

impl Inner {
    /// The answer, if it takes neither a disk nor a body.
    fn answer_now<B>(&self, request: &Request<B>, visit: &Visit) -> Option<Response<ResponseBody>> {
        let (path, download) = file_wanted(request.uri().path(), request)?;
        let Some((root, hot)) = &self.local else {
            return self.shared.found_now(&self.place, &path, download, request, visit);
        };
        let (method, headers) = (request.method(), request.headers());
        if !download && let Some((content, info)) = hot.get(root, &path) {
            return Some(self.shared.deliver(content, || info, method, headers, visit));
        }
        let opened = root.open(&path, Wait::No);
        if opened.as_ref().is_err_and(OpenError::is_would_block) {
            return None;
        }
        Some(match opened {
            Ok(Opened::File(open)) => {
                let found = FoundFile::from(open.clone());
                let content = content::content(&found, download);
                let info = ledger_entry::of_file(&self.place, &found);
                let content = if download { content } else { hot.keep(open, &found, content, &info) };
                self.shared.deliver(content, || info, method, headers, visit)
            }
            Ok(Opened::Folder(_)) => finish(to_folder(&self.place, &path, request.uri()), visit),
            Err(error) => finish(error.to_problem().respond(method, headers), visit),
        })
    }
}
