//! A service that is reached by HTTPS only: requests without TLS are redirected, and browsers can
//! be told to use HTTPS from then on (HSTS, RFC 6797).

use std::convert::Infallible;
use std::future::Future;
use std::net::Ipv6Addr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HOST, LOCATION, STRICT_TRANSPORT_SECURITY};
use http::uri::PathAndQuery;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use outflow_texts::{Language, text};
use outflow_wire::Secure;
use tower_service::Service;

/// Length of a host name, in bytes (RFC 1035, section 2.3.4).
const MAX_HOST_NAME: usize = 253;

/// A service that only requests within TLS reach. Any other request is redirected to the same
/// address with `https:`, so a listener without TLS does nothing but redirect.
#[derive(Clone, Debug)]
pub struct HttpsOnly<S> {
    service: S,
    /// The port of the listener with TLS.
    port: u16,
    hsts: Option<HeaderValue>,
}

impl<S> HttpsOnly<S> {
    /// `port` is that of the listener with TLS, as clients see it. With `hsts`, each response asks
    /// browsers to use HTTPS only for that long; zero revokes an earlier request.
    #[must_use]
    pub fn new(service: S, port: u16, hsts: Option<Duration>) -> HttpsOnly<S> {
        let field = |time: Duration| HeaderValue::from_str(&format!("max-age={}", time.as_secs())).ok();
        HttpsOnly { service, port, hsts: hsts.and_then(field) }
    }
}

impl<S, B, R> Service<Request<B>> for HttpsOnly<S>
where
    S: Service<Request<B>, Response = Response<R>, Error = Infallible>,
    S::Future: Unpin,
    R: From<Vec<u8>> + Unpin,
{
    type Response = Response<R>;
    type Error = Infallible;
    type Future = HttpsOnlyFuture<S::Future, R>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.service.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        if request.extensions().get::<Secure>().is_none() {
            return HttpsOnlyFuture::Redirect(Some(redirect(&request, self.port)));
        }
        HttpsOnlyFuture::Service(self.service.call(request), self.hsts.clone())
    }
}

/// The response of an [`HttpsOnly`] service.
pub enum HttpsOnlyFuture<F, R> {
    /// The service's response, and the value of `Strict-Transport-Security` to add to it.
    Service(F, Option<HeaderValue>),
    /// The redirect; `None` once it has been returned.
    Redirect(Option<Response<R>>),
}

impl<F, R> Future for HttpsOnlyFuture<F, R>
where
    F: Future<Output = Result<Response<R>, Infallible>> + Unpin,
    R: Unpin,
{
    type Output = Result<Response<R>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut *self {
            HttpsOnlyFuture::Service(answer, hsts) => {
                let mut response = ready!(Pin::new(answer).poll(cx))?;
                if let Some(hsts) = hsts.take() {
                    response.headers_mut().insert(STRICT_TRANSPORT_SECURITY, hsts);
                }
                Poll::Ready(Ok(response))
            }
            HttpsOnlyFuture::Redirect(response) => match response.take() {
                Some(response) => Poll::Ready(Ok(response)),
                // Polled after completion.
                None => Poll::Pending,
            },
        }
    }
}

/// 308, which keeps the method; 400 when the request does not name a valid host.
fn redirect<B, R: From<Vec<u8>>>(request: &Request<B>, port: u16) -> Response<R> {
    let location = host(request).and_then(|host| {
        let port = if port == 443 { String::new() } else { format!(":{port}") };
        let path = request.uri().path_and_query().map_or("/", PathAndQuery::as_str);
        // The target of `OPTIONS *` is not a path.
        let path = if path.starts_with('/') { path } else { "/" };
        HeaderValue::from_str(&format!("https://{host}{port}{path}")).ok()
    });
    let (status, text) = match location {
        Some(_) => (StatusCode::PERMANENT_REDIRECT, text!(https_redirect)),
        None => (StatusCode::BAD_REQUEST, text!(https_no_host)),
    };
    let text = Language::default().say(&text) + "\n";
    let body = if request.method() == Method::HEAD { Vec::new() } else { text.as_bytes().to_vec() };
    let mut response = Response::new(R::from(body));
    *response.status_mut() = status;
    let fields = response.headers_mut();
    fields.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    fields.insert(CONTENT_LENGTH, HeaderValue::from(text.len()));
    fields.extend(location.map(|to| (LOCATION, to)));
    response
}

/// The host that a request names, without the port: from its target if that has one, which takes
/// precedence over `Host` (RFC 9112, section 3.2.2).
fn host<B>(request: &Request<B>) -> Option<&str> {
    let named = match request.uri().authority() {
        Some(authority) => authority.as_str(),
        None => {
            let mut lines = request.headers().get_all(HOST).iter();
            let only = lines.next().filter(|_| lines.next().is_none())?;
            only.to_str().ok()?
        }
    };
    // Accept plain names and addresses only: a client could take anything else for another host.
    let (host, port) = match named.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, rest)) => {
            address.parse::<Ipv6Addr>().ok()?;
            named.split_at(named.len() - rest.len())
        }
        None => {
            let (name, port) = named.split_at(named.find(':').unwrap_or(named.len()));
            let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
            let fits = !name.is_empty() && name.len() <= MAX_HOST_NAME && name.bytes().all(is_name);
            fits.then_some((name, port))?
        }
    };
    // A port may be empty (RFC 3986, section 3.2.3).
    let digits = if port.is_empty() { port } else { port.strip_prefix(':')? };
    (digits.len() <= 5 && digits.bytes().all(|byte| byte.is_ascii_digit())).then_some(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redirected(uri: &str, hosts: &[&str], port: u16) -> (u16, Option<String>) {
        let mut request = Request::builder().uri(uri);
        for host in hosts {
            request = request.header(HOST, *host);
        }
        let response: Response<Vec<u8>> = redirect(&request.body(()).unwrap(), port);
        let location = response.headers().get(LOCATION).map(|to| to.to_str().unwrap().to_owned());
        (response.status().as_u16(), location)
    }

    #[test]
    fn the_same_thing_with_tls() {
        for (uri, host, port, to) in [
            ("/", "a.test", 443, "https://a.test/"),
            ("/", "a.test:80", 443, "https://a.test/"),
            ("/", "a.test:", 443, "https://a.test/"),
            ("/d/f?zip&file=%20x", "a.test:8080", 8443, "https://a.test:8443/d/f?zip&file=%20x"),
            ("//evil.test/x", "a.test", 443, "https://a.test//evil.test/x"),
            ("/@evil.test", "a.test", 443, "https://a.test/@evil.test"),
            ("*", "a.test", 443, "https://a.test/"),
            ("http://b.test:81/x", "a.test", 443, "https://b.test/x"),
            ("/", "[::1]:80", 8443, "https://[::1]:8443/"),
            ("/", "127.0.0.1", 1, "https://127.0.0.1:1/"),
        ] {
            assert_eq!(redirected(uri, &[host], port), (308, Some(to.to_owned())), "{uri} {host}");
        }
    }

    #[test]
    fn no_host_that_could_mean_another_place() {
        let long = "a".repeat(254);
        for host in [
            "",
            ":80",
            "a test",
            "user@a.test",
            "a.test/x",
            "a.test\\x",
            "a.test?x",
            "a.test#x",
            "a.test:80:80",
            "a.test:80x",
            "a.test:123456",
            "[::1",
            "[evil.test]",
            "::1",
            "[::1]x",
            "[::1]:x",
            "a%2ftest",
            "ä.test",
            &long,
        ] {
            assert_eq!(redirected("/", &[host], 443), (400, None), "{host}");
        }
        assert_eq!(redirected("/", &[], 443), (400, None));
        assert_eq!(redirected("/", &["a.test", "b.test"], 443), (400, None));
        assert_eq!(redirected("http://user@a.test/", &["a.test"], 443), (400, None));
    }

    #[derive(Clone)]
    struct Plain;

    impl Service<Request<()>> for Plain {
        type Response = Response<Vec<u8>>;
        type Error = Infallible;
        type Future = std::future::Ready<Result<Response<Vec<u8>>, Infallible>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, _: Request<()>) -> Self::Future {
            std::future::ready(Ok(Response::new(b"plain".to_vec())))
        }
    }

    #[tokio::test]
    async fn only_what_comes_with_tls_reaches_the_service_and_gets_the_field() {
        let year = Duration::from_secs(31_536_000);
        for (is_secure, hsts, status, field) in [
            (true, Some(year), 200, Some("max-age=31536000")),
            (true, Some(Duration::ZERO), 200, Some("max-age=0")),
            (true, None, 200, None),
            (false, Some(year), 308, None),
        ] {
            let mut request = Request::builder().header(HOST, "a.test").body(()).unwrap();
            if is_secure {
                request.extensions_mut().insert(Secure { host: None });
            }
            let response = HttpsOnly::new(Plain, 443, hsts).call(request).await.unwrap();
            assert_eq!(response.status(), status);
            let found =
                response.headers().get(STRICT_TRANSPORT_SECURITY).map(|value| value.to_str().unwrap());
            assert_eq!(found, field);
        }
    }
}
