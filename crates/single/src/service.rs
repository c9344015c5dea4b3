//! The HTTP service: which methods and addresses it answers, and replacing the content while it
//! runs.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::sync::Arc;
use std::task::{Context, Poll};

use http::header::{ACCEPT_ENCODING, VARY};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use outflow_content::PrebuiltAnswer;
use outflow_texts::{Language, text};
use outflow_web::reply::options;
use outflow_web::{Problem, ResponseBody};
use outflow_wire::{HttpService, PlainRequest, RequestBody};
use parking_lot::RwLock;
use percent_encoding::percent_decode_str;

use crate::representations::Representations;

/// The methods that the service answers.
const METHODS: &str = "GET, HEAD, OPTIONS";

/// Serves one content. Clones share it, so replacing it replaces it for all.
#[derive(Clone)]
pub struct SingleService(Arc<ServedContent>);

struct ServedContent {
    current: RwLock<Arc<Representations>>,
    /// The only path that has it, percent-decoded. `None`: every path.
    path: Option<Vec<u8>>,
}

impl SingleService {
    /// A service for `content` at `path`, a percent-encoded path such as
    /// `/.well-known/mta-sts.txt`, or at every address.
    #[must_use]
    pub fn new(content: Representations, path: Option<&str>) -> SingleService {
        SingleService(Arc::new(ServedContent {
            current: RwLock::new(Arc::new(content)),
            path: path.map(|path| percent_decode_str(path).collect()),
        }))
    }

    /// The same service for `outflow_wire` only, which sends prebuilt answers.
    #[must_use]
    pub fn on_wire(self) -> OnWire {
        OnWire(self)
    }

    /// The content that is served now.
    #[must_use]
    pub fn current(&self) -> Arc<Representations> {
        Arc::clone(&self.0.current.read())
    }

    /// Serves `content` from the next request on. Responses under way end with the content that
    /// they began with.
    pub fn replace(&self, content: Representations) {
        *self.0.current.write() = Arc::new(content);
    }

    fn answer<B>(&self, request: &Request<B>) -> Response<ResponseBody> {
        let (method, headers, language) = (request.method(), request.headers(), Language::default());
        if !self.0.is_at(request.uri().path()) {
            return Problem::not_found().without_link_back().respond(method, headers, language);
        }
        match *method {
            Method::GET | Method::HEAD => {}
            Method::OPTIONS => return options(METHODS),
            _ => {
                return Problem::method_not_allowed(METHODS)
                    .without_link_back()
                    .respond(method, headers, language);
            }
        }
        let current = self.0.current.read();
        match current.choose(headers) {
            Some(chosen) => {
                chosen.content().clone_unobserved().respond(method, headers).map(ResponseBody::Content)
            }
            None => {
                let mut response = Problem::new(StatusCode::NOT_ACCEPTABLE, text!(encoding_not_acceptable))
                    .without_link_back()
                    .respond(method, headers, language);
                response.headers_mut().append(VARY, HeaderValue::from_static("Accept-Encoding"));
                response
            }
        }
    }
}

impl ServedContent {
    fn is_at(&self, path: &str) -> bool {
        match &self.path {
            None => true,
            Some(own) => own == path.as_bytes() || percent_decode_str(path).eq(own.iter().copied()),
        }
    }
}

impl<B> tower_service::Service<Request<B>> for SingleService {
    type Response = Response<ResponseBody>;
    type Error = Infallible;
    type Future = Ready<Result<Response<ResponseBody>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        ready(Ok(self.answer(&request)))
    }
}

/// A [`SingleService`] for `outflow_wire` only, which answers plain requests with prebuilt answers.
/// Most allocate nothing.
#[derive(Clone)]
pub struct OnWire(SingleService);

impl HttpService for OnWire {
    type Body = ResponseBody;

    async fn answer(&self, request: Request<RequestBody>) -> Result<Response<ResponseBody>, String> {
        Ok(self.0.answer(&request))
    }

    const HAS_PREBUILT: bool = true;

    fn prebuilt(&self, request: &PlainRequest<'_>) -> Option<PrebuiltAnswer> {
        let served = &self.0.0;
        if !served.is_at(request.path()) {
            return None;
        }
        let mut accepted = HeaderMap::new();
        for value in request.values("accept-encoding") {
            accepted.append(ACCEPT_ENCODING, HeaderValue::from_bytes(value).ok()?);
        }
        let current = served.current.read();
        let chosen = if accepted.is_empty() { current.plain() } else { current.choose(&accepted)? };
        chosen.answer()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::representations::ContentDescription;
    use crate::sealed::SealedBytesBuilder;

    fn service(path: Option<&str>) -> SingleService {
        let mut builder = SealedBytesBuilder::new().unwrap();
        builder.push(b"version: STSv1\n").unwrap();
        SingleService::new(
            Representations::new(builder.seal().unwrap(), &ContentDescription::default()),
            path,
        )
    }

    fn ask(service: &SingleService, method: &str, uri: &str) -> Response<ResponseBody> {
        service.answer(&Request::builder().method(method).uri(uri).body(()).unwrap())
    }

    #[test]
    fn without_a_path_every_address_has_the_content() {
        let service = service(None);
        for uri in ["/", "/a/b?c", "http://host/x"] {
            assert_eq!(ask(&service, "GET", uri).status(), 200, "{uri}");
        }
        assert_eq!(ask(&service, "OPTIONS", "*").status(), 204);
    }

    #[test]
    fn with_a_path_only_that_has_it_however_it_is_written() {
        let service = service(Some("/.well-known/mta-sts.txt"));
        for (uri, status) in [
            ("/.well-known/mta-sts.txt", 200),
            ("/%2ewell-known/mta%2Dsts.txt?x", 200),
            ("/", 404),
            ("/.well-known/mta-sts.txt/", 404),
            ("/.well-known/MTA-STS.txt", 404),
            ("/.well-known/mta-sts.tx", 404),
        ] {
            assert_eq!(ask(&service, "GET", uri).status(), status, "{uri}");
        }
        assert_eq!(ask(&service, "POST", "/").status(), 404);
    }

    #[test]
    fn other_methods_are_told_which_there_are() {
        let response = ask(&service(None), "DELETE", "/");
        assert_eq!(
            (response.status().as_u16(), &response.headers()["allow"]),
            (405, &METHODS.parse().unwrap())
        );
    }

    #[test]
    fn what_replaces_the_content_has_another_tag() {
        let service = service(None);
        let before = ask(&service, "HEAD", "/").headers()["etag"].clone();
        let mut builder = SealedBytesBuilder::new().unwrap();
        builder.push(b"another").unwrap();
        service.replace(Representations::new(builder.seal().unwrap(), &ContentDescription::default()));
        let after = ask(&service, "HEAD", "/");
        assert_ne!(after.headers()["etag"], before);
        assert_eq!(after.headers()["content-length"], "7");
    }
}
