//! What an engine asks of a service.

use std::future::poll_fn;
use std::net::SocketAddr;

use http::{Request, Response};
use http_body::Body;
use outflow_content::FieldLines;
use tower_service::Service;

use crate::message::request_body::RequestBody;

/// The address a request came from, in its extensions: the client's, also behind a proxy that says so (see
/// `Options::proxy_protocol`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerAddr(pub SocketAddr);

/// What an engine asks of a service: a [`tower_service::Service`] of requests, cheap to clone.
///
/// Implemented for every service that fits, axum's `Router` among them. By hand only for the sake of
/// [`HttpService::usual`].
pub trait HttpService: Clone + Send + Sync + 'static {
    /// What carries the bytes of a response that has no [`Outgoing`].
    type Body: Body<Data: Send, Error: std::fmt::Display + Send> + Send + 'static;

    /// Answers one request. An error becomes a 500.
    fn answer(
        &self,
        request: Request<RequestBody>,
    ) -> impl Future<Output = Result<Response<Self::Body>, String>> + Send;

    /// Whether [`HttpService::usual`] is worth asking.
    const HAS_USUAL: bool = false;

    /// The answer to a request that says no more than where it goes, if it is written already: GET or HEAD in the clear, of
    /// `target`, which is a path and maybe a query, and without a field that could make the answer another one
    /// (`Range`, conditions, `Accept-Encoding`). Such a request takes no other memory than what it was read into.
    /// `None`: [`HttpService::answer`] is asked.
    fn usual(&self, target: &str) -> Option<FieldLines> {
        let _ = target;
        None
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
