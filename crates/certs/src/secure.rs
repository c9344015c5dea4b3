//! What a server with TLS adds to any service: whoever comes without TLS is sent on to it, and browsers may be told to come with
//! TLS only (RFC 6797).

use std::convert::Infallible;
use std::future::Future;
use std::net::Ipv6Addr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HOST, LOCATION, STRICT_TRANSPORT_SECURITY};
use http::uri::PathAndQuery;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use outflow_wire::Secure;
use tower_service::Service;

/// The longest name of a host (RFC 1035, section 2.3.4).
const HOST_NAME: usize = 253;

/// A service behind TLS. Requests that came without it never reach the service: they get the address of the same thing with it.
/// So it is for servers whose listeners without TLS do nothing else.
#[derive(Clone, Debug)]
pub struct Secured<S> {
    service: S,
    /// Where TLS is spoken.
    port: u16,
    hsts: Option<HeaderValue>,
}

impl<S> Secured<S> {
    /// `port` is that of the listener with TLS. With `hsts`, browsers come with TLS only for that long after each answer,
    /// whatever address they are given; zero takes it back.
    #[must_use]
    pub fn new(service: S, port: u16, hsts: Option<Duration>) -> Secured<S> {
        let field = |time: Duration| HeaderValue::from_str(&format!("max-age={}", time.as_secs())).ok();
        Secured { service, port, hsts: hsts.and_then(field) }
    }
}

impl<S, B, R> Service<Request<B>> for Secured<S>
where
    S: Service<Request<B>, Response = Response<R>, Error = Infallible>,
    S::Future: Unpin,
    R: From<Vec<u8>> + Unpin,
{
    type Response = Response<R>;
    type Error = Infallible;
    type Future = SecuredAnswer<S::Future, R>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.service.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        if request.extensions().get::<Secure>().is_none() {
            return SecuredAnswer::Elsewhere(Some(send_on(&request, self.port)));
        }
        SecuredAnswer::Here(self.service.call(request), self.hsts.clone())
    }
}

/// The answer of a [`Secured`] service.
pub enum SecuredAnswer<F, R> {
    /// The service's own one, and what is added to it.
    Here(F, Option<HeaderValue>),
    /// To the same thing with TLS. `None` when it was handed out.
    Elsewhere(Option<Response<R>>),
}

impl<F, R> Future for SecuredAnswer<F, R>
where
    F: Future<Output = Result<Response<R>, Infallible>> + Unpin,
    R: Unpin,
{
    type Output = Result<Response<R>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut *self {
            SecuredAnswer::Here(answer, hsts) => {
                let mut response = ready!(Pin::new(answer).poll(cx))?;
                if let Some(hsts) = hsts.take() {
                    response.headers_mut().insert(STRICT_TRANSPORT_SECURITY, hsts);
                }
                Poll::Ready(Ok(response))
            }
            SecuredAnswer::Elsewhere(response) => match response.take() {
                Some(response) => Poll::Ready(Ok(response)),
                // Polled after the end.
                None => Poll::Pending,
            },
        }
    }
}

/// 308, so that the method stays; 400 to whoever does not say properly which host is meant.
fn send_on<B, R: From<Vec<u8>>>(request: &Request<B>, port: u16) -> Response<R> {
    let location = host(request).and_then(|host| {
        let port = if port == 443 { String::new() } else { format!(":{port}") };
        let path = request.uri().path_and_query().map_or("/", PathAndQuery::as_str);
        // `*` of OPTIONS is no path.
        let path = if path.starts_with('/') { path } else { "/" };
        HeaderValue::from_str(&format!("https://{host}{port}{path}")).ok()
    });
    let (status, text) = match location {
        Some(_) => (StatusCode::PERMANENT_REDIRECT, "This server speaks HTTPS: see Location.\n"),
        None => (
            StatusCode::BAD_REQUEST,
            "This server speaks HTTPS; the Host field does not say where that would be.\n",
        ),
    };
    let body = if request.method() == Method::HEAD { Vec::new() } else { text.as_bytes().to_vec() };
    let mut response = Response::new(R::from(body));
    *response.status_mut() = status;
    let fields = response.headers_mut();
    fields.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    fields.insert(CONTENT_LENGTH, HeaderValue::from(text.len()));
    fields.extend(location.map(|to| (LOCATION, to)));
    response
}

/// The host that a request is for, without its port: from the address if that has one, which counts more (RFC 9112,
/// section 3.2.2).
fn host<B>(request: &Request<B>) -> Option<&str> {
    let named = match request.uri().authority() {
        Some(authority) => authority.as_str(),
        None => {
            let mut lines = request.headers().get_all(HOST).iter();
            let only = lines.next().filter(|_| lines.next().is_none())?;
            only.to_str().ok()?
        }
    };
    // Anything but a plain name or address could mean another place to whoever reads the answer.
    let (host, port) = match named.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, rest)) => {
            address.parse::<Ipv6Addr>().ok()?;
            named.split_at(named.len() - rest.len())
        }
        None => {
            let (name, port) = named.split_at(named.find(':').unwrap_or(named.len()));
            let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
            let fits = !name.is_empty() && name.len() <= HOST_NAME && name.bytes().all(is_name);
            fits.then_some((name, port))?
        }
    };
    // An empty port is one, too (RFC 3986, section 3.2.3).
    let digits = if port.is_empty() { port } else { port.strip_prefix(':')? };
    (digits.len() <= 5 && digits.bytes().all(|byte| byte.is_ascii_digit())).then_some(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent_on(uri: &str, hosts: &[&str], port: u16) -> (u16, Option<String>) {
        let mut request = Request::builder().uri(uri);
        for host in hosts {
            request = request.header(HOST, *host);
        }
        let response: Response<Vec<u8>> = send_on(&request.body(()).unwrap(), port);
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
            assert_eq!(sent_on(uri, &[host], port), (308, Some(to.to_owned())), "{uri} {host}");
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
            assert_eq!(sent_on("/", &[host], 443), (400, None), "{host}");
        }
        assert_eq!(sent_on("/", &[], 443), (400, None));
        assert_eq!(sent_on("/", &["a.test", "b.test"], 443), (400, None));
        assert_eq!(sent_on("http://user@a.test/", &["a.test"], 443), (400, None));
    }

    #[derive(Clone)]
    struct Inner;

    impl Service<Request<()>> for Inner {
        type Response = Response<Vec<u8>>;
        type Error = Infallible;
        type Future = std::future::Ready<Result<Response<Vec<u8>>, Infallible>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, _: Request<()>) -> Self::Future {
            std::future::ready(Ok(Response::new(b"inner".to_vec())))
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
            let response = Secured::new(Inner, 443, hsts).call(request).await.unwrap();
            assert_eq!(response.status(), status);
            let found =
                response.headers().get(STRICT_TRANSPORT_SECURITY).map(|value| value.to_str().unwrap());
            assert_eq!(found, field);
        }
    }
}
