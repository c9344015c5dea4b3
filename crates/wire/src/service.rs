//! What the engine asks of a service.

use std::future::poll_fn;
use std::net::SocketAddr;

use http::{HeaderName, HeaderValue, Method, Request, Response};
use http_body::Body;
use outflow_content::PrebuiltAnswer;
use tower_service::Service;

use crate::extensions::{PeerAddr, ViaProxy};
use crate::message::request_body::RequestBody;

/// What the engine asks of a service: a [`tower_service::Service`] of requests, cheap to clone.
///
/// Implemented for every service that fits, axum's `Router` among them. Implement it by hand only
/// for [`HttpService::prebuilt`].
pub trait HttpService: Clone + Send + Sync + 'static {
    /// Carries the bytes of a response that has no [`outflow_content::Outgoing`].
    type Body: Body<Data: Send, Error: std::fmt::Display + Send> + Send + 'static;

    /// Answers one request. An error becomes a 500.
    fn answer(
        &self,
        request: Request<RequestBody>,
    ) -> impl Future<Output = Result<Response<Self::Body>, String>> + Send;

    /// Whether the engine calls [`HttpService::prebuilt`].
    const HAS_PREBUILT: bool = false;

    /// The answer to a request that asks for nothing but an address, if it is at hand. It must be
    /// the one that [`HttpService::answer`] would give. Such a request takes no memory but what it
    /// was read into, and no extensions. Called on the thread that serves, so it must not block.
    ///
    /// `None`: the engine calls [`HttpService::answer`].
    fn prebuilt(&self, request: &PlainRequest<'_>) -> Option<PrebuiltAnswer> {
        let _ = request;
        None
    }
}

/// A request that asks for nothing but an address: GET or HEAD on HTTP/1.1 in the clear, without a
/// body, conditions or ranges.
pub struct PlainRequest<'a> {
    pub(crate) is_head: bool,
    pub(crate) target: &'a str,
    pub(crate) fields: &'a [httparse::Header<'a>],
    pub(crate) peer: SocketAddr,
    pub(crate) via: Option<SocketAddr>,
}

impl<'a> PlainRequest<'a> {
    /// True for HEAD, false for GET.
    #[must_use]
    pub fn is_head(&self) -> bool {
        self.is_head
    }

    /// Path and query, as they were sent.
    #[must_use]
    pub fn target(&self) -> &'a str {
        self.target
    }

    /// The target without its query.
    #[must_use]
    pub fn path(&self) -> &'a str {
        self.target.split_once('?').map_or(self.target, |(path, _)| path)
    }

    /// The client's address, as in [`crate::extensions::PeerAddr`].
    #[must_use]
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// The proxy that named the client, as in [`crate::extensions::ViaProxy`].
    #[must_use]
    pub fn via_proxy(&self) -> Option<SocketAddr> {
        self.via
    }

    /// The same request with all its fields and extensions, which cost several allocations.
    /// `None` if it is malformed: [`HttpService::answer`] gets it then, or the engine refuses it.
    #[must_use]
    pub fn to_request(&self) -> Option<Request<()>> {
        let mut request = Request::new(());
        *request.method_mut() = if self.is_head { Method::HEAD } else { Method::GET };
        *request.uri_mut() = self.target.parse().ok()?;
        let fields = request.headers_mut();
        fields.reserve(self.fields.len());
        for field in self.fields {
            let name = HeaderName::from_bytes(field.name.as_bytes()).ok()?;
            fields.append(name, HeaderValue::from_bytes(field.value).ok()?);
        }
        request.extensions_mut().insert(PeerAddr(self.peer));
        if let Some(via) = self.via {
            request.extensions_mut().insert(ViaProxy(via));
        }
        Some(request)
    }

    /// The values of a field, one for each of its lines. `name` in any case.
    pub fn values(&self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        self.fields.iter().filter(move |field| field.name.eq_ignore_ascii_case(name)).map(|field| field.value)
    }
}

/// A service, and a function for [`HttpService::prebuilt`].
#[derive(Clone)]
pub struct WithPrebuilt<S, F> {
    service: S,
    prebuilt: F,
}

impl<S, F> WithPrebuilt<S, F> {
    /// Asks `prebuilt` for the answers to plain requests first, and `service` for all others.
    pub fn new(service: S, prebuilt: F) -> WithPrebuilt<S, F> {
        WithPrebuilt { service, prebuilt }
    }
}

impl<S, F> HttpService for WithPrebuilt<S, F>
where
    S: HttpService,
    F: Fn(&PlainRequest<'_>) -> Option<PrebuiltAnswer> + Clone + Send + Sync + 'static,
{
    type Body = S::Body;

    async fn answer(&self, request: Request<RequestBody>) -> Result<Response<S::Body>, String> {
        self.service.answer(request).await
    }

    const HAS_PREBUILT: bool = true;

    fn prebuilt(&self, request: &PlainRequest<'_>) -> Option<PrebuiltAnswer> {
        (self.prebuilt)(request)
    }
}

impl<S, B> HttpService for S
where
    S: Service<Request<RequestBody>, Response = Response<B>, Error: std::fmt::Display>
        + Clone
        + Send
        + Sync
        + 'static,
    S::Future: Send,
    B: Body<Data: Send, Error: std::fmt::Display + Send> + Send + 'static,
{
    type Body = B;

    async fn answer(&self, request: Request<RequestBody>) -> Result<Response<B>, String> {
        let mut service = self.clone();
        poll_fn(|cx| service.poll_ready(cx)).await.map_err(|error| error.to_string())?;
        service.call(request).await.map_err(|error| error.to_string())
    }
}
