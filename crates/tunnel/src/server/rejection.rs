//! Why there is no tunnel: a status, the word that `Proxy-Status` has for it (RFC 9209), and what to do.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{ALLOW, PROXY_AUTHENTICATE, RETRY_AFTER, UPGRADE, WWW_AUTHENTICATE};
use http::{HeaderName, HeaderValue, Request, Response, StatusCode};
use http_body_util::Full;
use tower_service::Service;

const PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");

/// By what `Proxy-Status` names this server.
const SELF: &str = "outflow";

/// An answer that is no tunnel.
#[derive(Clone, Debug)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    /// An error type of RFC 9209, section 2.3.
    error: Option<&'static str>,
    /// For the client, in one line.
    pub(super) text: String,
    field: Option<(HeaderName, HeaderValue)>,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, text: impl Into<String>) -> Refusal {
        Refusal { status, error: None, text: text.into(), field: None }
    }

    /// Asked for wrongly.
    pub(super) fn wrong(text: impl Into<String>) -> Refusal {
        Refusal::new(StatusCode::BAD_REQUEST, text).because("http_request_error")
    }

    /// Not to be had by this client.
    pub(super) fn denied(text: impl Into<String>) -> Refusal {
        Refusal::new(StatusCode::FORBIDDEN, text).because("http_request_denied")
    }

    /// Without a token, or with none that is known. `by_proxy`: whoever sent a `CONNECT` takes this server for a proxy.
    pub(super) fn unknown(by_proxy: bool) -> Refusal {
        let text = "a token is needed: Authorization: Bearer TOKEN, or as the password of Basic";
        let (status, name, scheme) = if by_proxy {
            (StatusCode::PROXY_AUTHENTICATION_REQUIRED, PROXY_AUTHENTICATE, "Basic realm=\"tunnel\"")
        } else {
            (StatusCode::UNAUTHORIZED, WWW_AUTHENTICATE, "Bearer realm=\"tunnel\"")
        };
        Refusal::new(status, text).with(name, HeaderValue::from_static(scheme))
    }

    /// No room right now.
    pub(super) fn busy(text: impl Into<String>) -> Refusal {
        Refusal::new(StatusCode::SERVICE_UNAVAILABLE, text)
            .because("connection_limit_reached")
            .with(RETRY_AFTER, HeaderValue::from_static("5"))
    }

    /// Without a protocol that would carry a tunnel.
    pub(super) fn upgrade_required() -> Refusal {
        let text = "ask for a tunnel with Upgrade: connect-tcp, websocket or purr, or with CONNECT";
        Refusal::new(StatusCode::UPGRADE_REQUIRED, text)
            .with(UPGRADE, HeaderValue::from_static("connect-tcp, websocket, purr"))
    }

    pub(super) fn method() -> Refusal {
        Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "a tunnel is asked for with GET or CONNECT")
            .with(ALLOW, HeaderValue::from_static("GET, CONNECT"))
    }

    pub(super) fn because(self, error: &'static str) -> Refusal {
        Refusal { error: Some(error), ..self }
    }

    fn with(self, name: HeaderName, value: HeaderValue) -> Refusal {
        Refusal { field: Some((name, value)), ..self }
    }

    pub(super) fn into_response<R: From<Vec<u8>>>(self) -> Response<R> {
        let text = format!("{}: {}\n", self.status, self.text);
        let mut response = Response::new(R::from(text.into_bytes()));
        *response.status_mut() = self.status;
        let fields = response.headers_mut();
        let plain = HeaderValue::from_static("text/plain; charset=utf-8");
        fields.insert(http::header::CONTENT_TYPE, plain);
        fields.insert(http::header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(error) = self.error
            && let Ok(status) = HeaderValue::try_from(format!("{SELF}; error={error}"))
        {
            fields.insert(PROXY_STATUS, status);
        }
        if let Some((name, value)) = self.field {
            fields.insert(name, value);
        }
        response
    }
}

pub(super) fn not_found() -> Refusal {
    Refusal::new(StatusCode::NOT_FOUND, "there is nothing at this address")
}

/// There is nothing at any address.
#[derive(Clone, Copy, Debug)]
pub struct Nothing;

impl<B> Service<Request<B>> for Nothing {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<B>) -> Self::Future {
        ready(Ok(not_found().into_response()))
    }
}
