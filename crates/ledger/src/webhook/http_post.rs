//! Sends events by POST, as Standard Webhooks 1.0 specifies.

use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, StatusCode};
use jiff::Timestamp;
use outflow_net::is_public;
use reqwest::redirect::Policy;
use reqwest::{Client, Response};
use tokio::time::{Instant, timeout, timeout_at};
use url::{Host, Url};

use super::resolver::{HostLookup, PrivateTarget, PublicResolver, system_lookup};
use super::schedule;
use super::sender::{AttemptOutcome, AttemptResult, EventMessage, EventSender};
use super::signature::{MAKE_ONE, WebhookKey, signatures};
use crate::model::LedgerEvent;

/// Maximum number of requests to one endpoint that may be under way.
///
/// Bound: webhooks.
pub(super) const MAX_REQUESTS: usize = 8;

/// Maximum number of bytes that are read of a response's body. A shorter body leaves the connection
/// usable for the next request.
///
/// Bound: webhooks.
const MAX_BODY: usize = 16 * 1024;

/// Maximum time to read a response's body. It does not change what the status means.
///
/// Bound: webhooks.
const BODY_TIMEOUT: Duration = Duration::from_secs(2);

/// Maximum number of characters of a failure's body in the note.
///
/// Bound: webhooks.
const MAX_REPLY: usize = 300;

/// Timeouts of a webhook's attempts, and how names are resolved.
#[derive(Clone)]
pub(super) struct WebhookLimits {
    /// Time from the beginning of an attempt to the end of the response's head.
    ///
    /// Bound: webhooks. 20 s
    pub(super) attempt: Duration,
    /// Time for resolving the name and connecting, including TLS.
    ///
    /// Bound: webhooks. 5 s
    pub(super) connect: Duration,
    pub(super) lookup: HostLookup,
}

impl Default for WebhookLimits {
    fn default() -> WebhookLimits {
        WebhookLimits {
            attempt: Duration::from_secs(20),
            connect: Duration::from_secs(5),
            lookup: system_lookup(),
        }
    }
}

/// An endpoint that is notified by POST.
pub(super) struct WebhookSender {
    url: Url,
    /// Scheme and host only: path and query may be secret.
    name: String,
    keys: Vec<WebhookKey>,
    client: Client,
    limits: WebhookLimits,
}

impl WebhookSender {
    /// # Errors
    /// Why the endpoint is invalid, and what to do.
    pub(super) fn new(
        url: &str,
        secrets: &[String],
        allow_private: bool,
        limits: WebhookLimits,
    ) -> Result<WebhookSender, String> {
        let url = parse_url(url, allow_private)?;
        let host = url.host_str().unwrap_or_default();
        let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
        let name = format!("{}://{host}{port}", url.scheme());
        if secrets.is_empty() {
            return Err(format!("it has no secret, so the receiver could not verify its events; {MAKE_ONE}"));
        }
        let keys = secrets.iter().map(|secret| WebhookKey::parse(secret)).collect::<Result<_, _>>()?;

        // An error means that the program has chosen a provider already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut client = Client::builder()
            .user_agent(concat!("Outflow/", env!("CARGO_PKG_VERSION")))
            // A redirect could lead into a private network.
            .redirect(Policy::none())
            // A proxy would resolve the name itself.
            .no_proxy()
            .dns_resolver(Arc::new(PublicResolver { lookup: Arc::clone(&limits.lookup), allow_private }))
            .connect_timeout(limits.connect)
            .pool_max_idle_per_host(MAX_REQUESTS)
            // Node.js closes idle connections after 5 s; a request at that moment would fail.
            .pool_idle_timeout(Duration::from_secs(4))
            .http1_only();
        if url.scheme() == "http" {
            // Without TLS, no root certificates are needed.
            client = client.tls_certs_only([]);
        }
        let client = client.build().map_err(|_| {
            "cannot set up TLS: no root certificates found; install ca-certificates, or name a file with \
             SSL_CERT_FILE"
                .to_owned()
        })?;
        Ok(WebhookSender { url, name, keys, client, limits })
    }

    /// The result that a response means.
    async fn judge(&self, response: Response, at: Timestamp) -> AttemptResult {
        let status = response.status();
        let brief = status.to_string();
        // The name of an unknown code is not part of the note.
        let brief = brief.replace(" <unknown status code>", "");
        let outcome = match status {
            _ if status.is_success() => AttemptOutcome::Delivered,
            StatusCode::GONE => AttemptOutcome::Gone,
            StatusCode::TOO_MANY_REQUESTS
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT => {
                let asked = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
                AttemptOutcome::Overloaded {
                    wait: asked.and_then(|value| schedule::retry_after(value, at)),
                    counts: status != StatusCode::TOO_MANY_REQUESTS,
                }
            }
            _ => AttemptOutcome::Failed,
        };
        let brief = if status.is_redirection() {
            format!("{brief}: redirects are not followed; register the address that it leads to")
        } else {
            brief
        };
        let result = AttemptResult::new(outcome, brief);
        let reply = read_start(response).await;
        if outcome == AttemptOutcome::Delivered { result } else { result.with_reply(&reply, MAX_REPLY) }
    }

    /// Why there is no response. The library's own text has the address, which may be secret.
    fn explain(&self, error: &reqwest::Error) -> String {
        if error.is_timeout() && error.is_connect() {
            return format!("no connection within {:?}", self.limits.connect);
        }
        let mut cause = error.source();
        let mut text = None;
        while let Some(error) = cause {
            if let Some(private) = error.downcast_ref::<PrivateTarget>() {
                return private.to_string();
            }
            text = Some(error.to_string());
            cause = error.source();
        }
        let text = text.unwrap_or_else(|| "the request failed".to_owned());
        if error.is_connect() { format!("cannot connect: {text}") } else { text }
    }
}

#[async_trait]
impl EventSender for WebhookSender {
    async fn send(&self, event: &LedgerEvent, at: Timestamp) -> AttemptResult {
        let Ok(id) = HeaderValue::from_str(&event.id) else {
            return AttemptResult::new(AttemptOutcome::Failed, "the event's id cannot be a header");
        };
        let body = EventMessage::without_id(event);
        let seconds = at.as_second();
        let signature = signatures(&self.keys, &event.id, seconds, &body);
        let request = self
            .client
            .post(self.url.clone())
            .header(CONTENT_TYPE, "application/json")
            .header("webhook-id", id)
            .header("webhook-timestamp", seconds)
            .header("webhook-signature", signature)
            .body(body)
            .send();
        match timeout(self.limits.attempt, request).await {
            Ok(Ok(response)) => self.judge(response, at).await,
            Ok(Err(error)) => AttemptResult::new(AttemptOutcome::Failed, self.explain(&error)),
            Err(_) => AttemptResult::new(
                AttemptOutcome::Failed,
                format!("no answer within {:?}", self.limits.attempt),
            ),
        }
    }

    fn timeout(&self) -> Duration {
        self.limits.attempt + BODY_TIMEOUT
    }

    fn max_concurrent(&self) -> usize {
        MAX_REQUESTS
    }

    fn name(&self) -> &str {
        &self.name
    }
}

/// Reads the start of a body. Dropping the response closes a connection whose body was not read to
/// its end.
async fn read_start(mut response: Response) -> Vec<u8> {
    let mut read = Vec::new();
    if response.content_length().is_some_and(|length| length > MAX_BODY as u64) {
        // The first chunk is enough for the note.
        if let Ok(Ok(Some(chunk))) = timeout(BODY_TIMEOUT, response.chunk()).await {
            read.extend_from_slice(&chunk[..chunk.len().min(MAX_BODY)]);
        }
        return read;
    }
    let end = Instant::now() + BODY_TIMEOUT;
    while read.len() < MAX_BODY
        && let Ok(Ok(Some(chunk))) = timeout_at(end, response.chunk()).await
    {
        read.extend_from_slice(&chunk[..chunk.len().min(MAX_BODY - read.len())]);
    }
    read
}

/// Validates an address without a lookup.
fn parse_url(url: &str, allow_private: bool) -> Result<Url, String> {
    let url = Url::parse(url).map_err(|error| {
        format!(
            "its address is not a URL ({error}); expected something like https://example.org/hooks/outflow"
        )
    })?;
    if !matches!(url.scheme(), "https" | "http") {
        return Err(format!("its address begins with {}:; use https: or http:", url.scheme()));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(
            "its address has a user or a password, which Outflow does not send; remove them: the signature \
             proves the sender"
                .to_owned(),
        );
    }
    let private = match url.host() {
        Some(Host::Ipv4(address)) => !is_public(address.into()),
        Some(Host::Ipv6(address)) => !is_public(address.into()),
        Some(Host::Domain(name)) => {
            let name = name.trim_end_matches('.');
            name == "localhost" || name.ends_with(".localhost")
        }
        None => return Err("its address has no host".to_owned()),
    };
    if private && !allow_private {
        return Err(format!(
            "{} is in a private network; allow private targets for this endpoint if that is intended",
            url.host_str().unwrap_or_default()
        ));
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_a_private_address_is_refused() {
        for host in [
            "127.0.0.1",
            "127.1",
            "0x7f.1",
            "0x7f000001",
            "2130706433",
            "017700000001",
            "0177.0.0.1",
            "127.0.0.1.",
            "0",
            "0.0.0.0",
            "[::1]",
            "[::]",
            "[::ffff:127.0.0.1]",
            "[0:0:0:0:0:ffff:7f00:1]",
            "[::ffff:7f00:1]",
            "[64:ff9b::7f00:1]",
            "[2002:7f00:1::]",
            "[fe80::1]",
            "[fd00::1]",
            "10.0.0.1",
            "0xa.1",
            "192.168.1.1",
            "3232235777",
            "169.254.169.254",
            "0xa9fea9fe",
            "[::ffff:a9fe:a9fe]",
            "100.64.0.1",
            "①27.0.0.1",
            "１２７.0.0.1",
            "127。0。0。1",
            "localhost",
            "LOCALHOST",
            "localhost.",
            "a.localhost",
            "%6cocalhost",
        ] {
            let url = format!("http://{host}:8080/hook");
            let error = parse_url(&url, false).map(|url| url.to_string()).unwrap_err();
            assert!(error.contains("private network"), "{url}: {error}");
            assert!(parse_url(&url, true).is_ok(), "{url}");
        }
        for url in ["http://8.8.8.8/", "https://example.org", "https://[2606:4700::1111]/x?token=1"] {
            assert!(parse_url(url, false).is_ok(), "{url}");
        }
    }

    #[test]
    fn addresses_that_cannot_be_meant_are_refused() {
        for (url, says) in [
            ("example.org/hook", "not a URL"),
            ("", "not a URL"),
            ("https://", "not a URL"),
            ("ftp://example.org/", "ftp:"),
            ("file:///etc/passwd", "file:"),
            ("mailto:a@example.org", "mailto:"),
            ("https://me:secret@example.org/", "password"),
            ("https://me@example.org/", "user"),
            ("http://1.2.3.4.5/", "not a URL"),
        ] {
            let error = parse_url(url, true).map(|url| url.to_string()).unwrap_err();
            assert!(error.contains(says), "{url}: {error}");
            assert!(!error.contains("secret@"), "{error}");
        }
    }

    #[test]
    fn names_for_the_log_have_no_path_and_no_query() {
        let secrets = ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".to_owned()];
        let new = |url| WebhookSender::new(url, &secrets, false, WebhookLimits::default()).ok().unwrap();
        assert_eq!(new("http://example.org:8080/a/SECRET?b=SECRET").name(), "http://example.org:8080");
        assert_eq!(new("http://example.org/").name(), "http://example.org");
        let none = WebhookSender::new("http://example.org/", &[], false, WebhookLimits::default());
        assert!(none.err().unwrap().contains("no secret"));
    }
}
