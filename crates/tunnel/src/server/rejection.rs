//! The response that grants no tunnel: a status, its error type for `Proxy-Status` (RFC 9209), and
//! what to do.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{ALLOW, PROXY_AUTHENTICATE, RETRY_AFTER, UPGRADE, WWW_AUTHENTICATE};
use http::{HeaderName, HeaderValue, Request, Response, StatusCode};
use http_body_util::Full;
use outflow_texts::{Language, Text, text};
use tower_service::Service;

const PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");

/// The name of this server in `Proxy-Status`.
const PROXY_NAME: &str = "outflow";

/// A response that grants no tunnel.
#[derive(Clone, Debug)]
pub(super) struct Rejection {
    pub(super) status: StatusCode,
    /// An error type of RFC 9209, section 2.3.
    error: Option<&'static str>,
    /// For the client, in one line.
    text: Text,
    field: Option<Box<(HeaderName, HeaderValue)>>,
}

impl Rejection {
    pub(super) fn new(status: StatusCode, text: Text) -> Rejection {
        Rejection { status, error: None, text, field: None }
    }

    /// The request is malformed.
    pub(super) fn bad_request(text: Text) -> Rejection {
        Rejection::new(StatusCode::BAD_REQUEST, text).with_error("http_request_error")
    }

    /// This client may not have it.
    pub(super) fn denied(text: Text) -> Rejection {
        Rejection::new(StatusCode::FORBIDDEN, text).with_error("http_request_denied")
    }

    /// The request has no token, or an unknown one. A client that sent `CONNECT` takes this server
    /// for a proxy.
    pub(super) fn unauthorized(is_proxy: bool) -> Rejection {
        let text = text!(tunnel_token_needed);
        let (status, name, scheme) = if is_proxy {
            (StatusCode::PROXY_AUTHENTICATION_REQUIRED, PROXY_AUTHENTICATE, "Basic realm=\"tunnel\"")
        } else {
            (StatusCode::UNAUTHORIZED, WWW_AUTHENTICATE, "Bearer realm=\"tunnel\"")
        };
        Rejection::new(status, text).with_field(name, HeaderValue::from_static(scheme))
    }

    /// A limit is reached.
    pub(super) fn busy(text: Text) -> Rejection {
        Rejection::new(StatusCode::SERVICE_UNAVAILABLE, text)
            .with_error("connection_limit_reached")
            .with_field(RETRY_AFTER, HeaderValue::from_static("5"))
    }

    /// The request names no protocol that carries tunnels.
    pub(super) fn upgrade_required() -> Rejection {
        Rejection::new(StatusCode::UPGRADE_REQUIRED, text!(tunnel_upgrade_required))
            .with_field(UPGRADE, HeaderValue::from_static("connect-tcp, websocket, purr"))
    }

    pub(super) fn method() -> Rejection {
        Rejection::new(StatusCode::METHOD_NOT_ALLOWED, text!(tunnel_methods))
            .with_field(ALLOW, HeaderValue::from_static("GET, CONNECT"))
    }

    pub(super) fn with_error(self, error: &'static str) -> Rejection {
        Rejection { error: Some(error), ..self }
    }

    fn with_field(self, name: HeaderName, value: HeaderValue) -> Rejection {
        Rejection { field: Some(Box::new((name, value))), ..self }
    }

    /// What the client reads.
    pub(super) fn say(&self) -> String {
        Language::default().say(&self.text)
    }

    pub(super) fn into_response<R: From<Vec<u8>>>(self) -> Response<R> {
        let text = format!("{}: {}\n", self.status, self.say());
        let mut response = Response::new(R::from(text.into_bytes()));
        *response.status_mut() = self.status;
        let fields = response.headers_mut();
        let plain = HeaderValue::from_static("text/plain; charset=utf-8");
        fields.insert(http::header::CONTENT_TYPE, plain);
        fields.insert(http::header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(error) = self.error
            && let Ok(status) = HeaderValue::try_from(format!("{PROXY_NAME}; error={error}"))
        {
            fields.insert(PROXY_STATUS, status);
        }
        if let Some((name, value)) = self.field.map(|field| *field) {
            fields.insert(name, value);
        }
        response
    }
}

pub(super) fn not_found() -> Rejection {
    Rejection::new(StatusCode::NOT_FOUND, text!(tunnel_nothing_here))
}

/// Answers every request with 404, for a server that has only tunnels.
#[derive(Clone, Copy, Debug)]
pub struct NotFoundService;

impl<B> Service<Request<B>> for NotFoundService {
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
