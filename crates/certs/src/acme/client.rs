//! HTTPS to the authority, with bounds on time and size.

use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::{Bytes, BytesMut};
use http::header::RETRY_AFTER;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt as _, Full};
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use outflow_wire::rustls;
use parking_lot::Mutex;
use reqwest::redirect::Policy;
use reqwest::{Certificate, Client};

use super::options::AcmeError;

/// Size of a response body from the authority, in bytes. A certificate chain has some 10 KB, all
/// else less.
///
/// Bound: TLS and certificates.
const MAX_RESPONSE: usize = 1 << 20;

/// Duration of connecting to the authority.
///
/// Bound: TLS and certificates.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Duration of one request to the authority, with its response.
///
/// Bound: TLS and certificates.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

/// A client for the authority. Clones share it.
#[derive(Clone)]
pub(super) struct AcmeClient {
    client: Client,
    /// `Retry-After` of the last response that was an error.
    retry_after: Arc<Mutex<Option<Duration>>>,
}

impl AcmeClient {
    /// Trusts the system's root certificates, and those in the PEM file `root`.
    pub(super) fn new(root: Option<&Path>) -> Result<AcmeClient, AcmeError> {
        // Fails when the program has installed a provider already, which serves as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut client = Client::builder()
            .user_agent(concat!("Outflow/", env!("CARGO_PKG_VERSION")))
            .redirect(Policy::none())
            .https_only(true)
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(REQUEST_TIMEOUT)
            .http1_only();
        if let Some(path) = root {
            client = client.tls_certs_merge(roots(path)?);
        }
        let client = client.build().map_err(|_| AcmeError::NoRoots)?;
        Ok(AcmeClient { client, retry_after: Arc::default() })
    }

    /// `Retry-After` of the last error, once.
    pub(super) fn take_retry_after(&self) -> Option<Duration> {
        self.retry_after.lock().take()
    }

    async fn send(self, request: Request<BodyWrapper<Bytes>>) -> Result<BytesResponse, Error> {
        let (head, body) = request.into_parts();
        let Ok(body) = body.collect().await;
        let call = self.client.request(head.method, head.uri.to_string());
        let call = call.headers(head.headers).body(body.to_bytes());
        let mut answer = call.send().await.map_err(other)?;
        if !answer.status().is_success() {
            *self.retry_after.lock() = retry_after(answer.headers(), SystemTime::now());
        }
        let mut response = Response::new(Full::default());
        *response.status_mut() = answer.status();
        *response.headers_mut() = std::mem::take(answer.headers_mut());
        let mut body = BytesMut::new();
        while let Some(piece) = answer.chunk().await.map_err(other)? {
            if body.len() + piece.len() > MAX_RESPONSE {
                return Err(Error::Other(format!("a response of more than {MAX_RESPONSE} bytes").into()));
            }
            body.extend_from_slice(&piece);
        }
        *response.body_mut() = Full::new(body.freeze());
        Ok(BytesResponse::from(response))
    }
}

impl HttpClient for AcmeClient {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        Box::pin(self.clone().send(request))
    }
}

/// Keeps the whole chain of causes: the library's own message is too general.
fn other(error: reqwest::Error) -> Error {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    Error::Other(text.into())
}

fn roots(path: &Path) -> Result<Vec<Certificate>, AcmeError> {
    let unusable = |why: String| AcmeError::Root { path: path.to_owned(), why };
    let pem = std::fs::read(path).map_err(|error| unusable(error.to_string()))?;
    let roots = Certificate::from_pem_bundle(&pem).map_err(|error| unusable(error.to_string()))?;
    if roots.is_empty() {
        return Err(unusable("it has no certificate".to_owned()));
    }
    Ok(roots)
}

/// Reads `Retry-After`: seconds or a date (RFC 9110, section 10.2.3).
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = jiff::fmt::rfc2822::parse(value).ok()?;
    SystemTime::from(at.timestamp()).duration_since(now).ok()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = SystemTime::from("2026-11-23T08:00:00Z".parse::<jiff::Timestamp>().unwrap());
        for (value, seconds) in [
            ("120", Some(120)),
            ("Mon, 23 Nov 2026 08:01:00 GMT", Some(60)),
            ("Mon, 23 Nov 2026 07:01:00 GMT", None),
            ("soon", None),
            ("-1", None),
        ] {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_static(value))]);
            assert_eq!(retry_after(&headers, now).map(|asked| asked.as_secs()), seconds, "{value}");
        }
        assert_eq!(retry_after(&HeaderMap::new(), now), None);
    }
}
