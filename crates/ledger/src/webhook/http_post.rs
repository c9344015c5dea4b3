//! POST, by the rules of Standard Webhooks 1.0.

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

use crate::model::Event;
use crate::webhook::address::{Lookup, Private, Resolver, system};
use crate::webhook::schedule;
use crate::webhook::sign::{HOW, Key, signatures};
use crate::webhook::teller::{Answer, Message, Teller, Told};

/// How many requests to one endpoint may be under way.
pub(super) const AT_ONCE: usize = 8;

/// Of an answer's body this much is read: what is shorter leaves the connection of use for the next request.
const BODY_LIMIT: usize = 16 * 1024;

/// For so long a body is waited for. What it says does not change what the status has said.
const BODY_PATIENCE: Duration = Duration::from_secs(2);

/// Characters of a failure's body that are noted.
const SAID_LIMIT: usize = 300;

/// What a webhook's attempts are held to, and how names are resolved.
#[derive(Clone)]
pub(super) struct Limits {
    /// From the beginning of the attempt to the end of the answer's head.
    pub(super) attempt: Duration,
    /// To resolve the name and to connect, TLS included.
    pub(super) connect: Duration,
    pub(super) lookup: Lookup,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { attempt: Duration::from_secs(20), connect: Duration::from_secs(5), lookup: system() }
    }
}

/// One endpoint that is told by POST.
pub(super) struct Webhook {
    url: Url,
    /// Scheme and host: path and query may be secret.
    name: String,
    keys: Vec<Key>,
    client: Client,
    limits: Limits,
}

impl Webhook {
    /// # Errors
    /// What is wrong with the endpoint, and what to do.
    pub(super) fn new(
        url: &str,
        secrets: &[String],
        allow_private: bool,
        limits: Limits,
    ) -> Result<Webhook, String> {
        let url = parse(url, allow_private)?;
        let host = url.host_str().unwrap_or_default();
        let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
        let name = format!("{}://{host}{port}", url.scheme());
        if secrets.is_empty() {
            return Err(format!("it has no secret, so that nobody could check what it is told; {HOW}"));
        }
        let keys = secrets.iter().map(|secret| Key::parse(secret)).collect::<Result<_, _>>()?;

        // All of TLS here is rustls with ring. If the program has chosen already, that is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut client = Client::builder()
            .user_agent(concat!("Outflow/", env!("CARGO_PKG_VERSION")))
            // Whoever could redirect could lead anywhere.
            .redirect(Policy::none())
            // A proxy would resolve the name by itself.
            .no_proxy()
            .dns_resolver(Arc::new(Resolver { lookup: Arc::clone(&limits.lookup), allow_private }))
            .connect_timeout(limits.connect)
            .pool_max_idle_per_host(AT_ONCE)
            // Less than the 5 s after which Node.js closes: whoever sends into that moment has failed.
            .pool_idle_timeout(Duration::from_secs(4))
            .http1_only();
        if url.scheme() == "http" {
            // Without TLS no certificates need to be there.
            client = client.tls_certs_only([]);
        }
        let client = client.build().map_err(|_| {
            "TLS cannot be set up: no root certificates were found; install ca-certificates, or name a file of them \
             with SSL_CERT_FILE"
                .to_owned()
        })?;
        Ok(Webhook { url, name, keys, client, limits })
    }

    /// An answer's status and what it says.
    async fn judge(&self, response: Response, at: Timestamp) -> Told {
        let status = response.status();
        let brief = status.to_string();
        // `from_u16` knows no reason for unknown codes, and prints that.
        let brief = brief.replace(" <unknown status code>", "");
        let answer = match status {
            _ if status.is_success() => Answer::Delivered,
            StatusCode::GONE => Answer::Gone,
            StatusCode::TOO_MANY_REQUESTS
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT => {
                let asked = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
                Answer::Overloaded {
                    wait: asked.and_then(|value| schedule::retry_after(value, at)),
                    counts: status != StatusCode::TOO_MANY_REQUESTS,
                }
            }
            _ => Answer::Failed,
        };
        let brief = if status.is_redirection() {
            format!("{brief}: redirects are not followed; register the address that it leads to")
        } else {
            brief
        };
        let told = Told::new(answer, brief);
        let said = read_some(response).await;
        if answer == Answer::Delivered { told } else { told.saying(&said, SAID_LIMIT) }
    }

    /// Why there is no answer. The library's own text names the address, which may be secret.
    fn explain(&self, error: &reqwest::Error) -> String {
        if error.is_timeout() && error.is_connect() {
            return format!("no connection within {:?}", self.limits.connect);
        }
        let mut cause = error.source();
        let mut text = None;
        while let Some(error) = cause {
            if let Some(private) = error.downcast_ref::<Private>() {
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
impl Teller for Webhook {
    async fn tell(&self, event: &Event, at: Timestamp) -> Told {
        let Ok(id) = HeaderValue::from_str(&event.id) else {
            return Told::new(Answer::Failed, "the event's id cannot be a header");
        };
        let body = Message::without_id(event);
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
            Ok(Err(error)) => Told::new(Answer::Failed, self.explain(&error)),
            Err(_) => Told::new(Answer::Failed, format!("no answer within {:?}", self.limits.attempt)),
        }
    }

    fn limit(&self) -> Duration {
        self.limits.attempt + BODY_PATIENCE
    }

    fn at_once(&self) -> usize {
        AT_ONCE
    }

    fn name(&self) -> &str {
        &self.name
    }
}

/// The beginning of a body. A connection whose answer was not read to its end is closed.
async fn read_some(mut response: Response) -> Vec<u8> {
    let mut said = Vec::new();
    if response.content_length().is_some_and(|length| length > BODY_LIMIT as u64) {
        // Its beginning is enough for the note.
        if let Ok(Ok(Some(chunk))) = timeout(BODY_PATIENCE, response.chunk()).await {
            said.extend_from_slice(&chunk[..chunk.len().min(BODY_LIMIT)]);
        }
        return said;
    }
    let end = Instant::now() + BODY_PATIENCE;
    while said.len() < BODY_LIMIT
        && let Ok(Ok(Some(chunk))) = timeout_at(end, response.chunk()).await
    {
        said.extend_from_slice(&chunk[..chunk.len().min(BODY_LIMIT - said.len())]);
    }
    said
}

/// Checks what can be checked without asking anyone.
fn parse(url: &str, allow_private: bool) -> Result<Url, String> {
    let url = Url::parse(url).map_err(|error| {
        format!("its address is no URL ({error}); it looks like https://example.org/hooks/outflow")
    })?;
    if !matches!(url.scheme(), "https" | "http") {
        return Err(format!("its address begins with {}:, not with https: or http:", url.scheme()));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(
            "its address has a user or a password in it, which would be sent to nobody; signatures tell the \
                    receiver who sends: remove them"
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
        None => return Err("its address names no host".to_owned()),
    };
    if private && !allow_private {
        return Err(format!(
            "{} is in a private network; allow private targets for this endpoint if that is meant",
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
            let error = parse(&url, false).map(|url| url.to_string()).unwrap_err();
            assert!(error.contains("private network"), "{url}: {error}");
            assert!(parse(&url, true).is_ok(), "{url}");
        }
        for url in ["http://8.8.8.8/", "https://example.org", "https://[2606:4700::1111]/x?token=1"] {
            assert!(parse(url, false).is_ok(), "{url}");
        }
    }

    #[test]
    fn addresses_that_cannot_be_meant_are_refused() {
        for (url, says) in [
            ("example.org/hook", "no URL"),
            ("", "no URL"),
            ("https://", "no URL"),
            ("ftp://example.org/", "ftp:"),
            ("file:///etc/passwd", "file:"),
            ("mailto:a@example.org", "mailto:"),
            ("https://me:secret@example.org/", "password"),
            ("https://me@example.org/", "user"),
            ("http://1.2.3.4.5/", "no URL"),
        ] {
            let error = parse(url, true).map(|url| url.to_string()).unwrap_err();
            assert!(error.contains(says), "{url}: {error}");
            assert!(!error.contains("secret@"), "{error}");
        }
    }

    #[test]
    fn names_for_the_log_have_no_path_and_no_query() {
        let secrets = ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".to_owned()];
        let new = |url| Webhook::new(url, &secrets, false, Limits::default()).ok().unwrap();
        assert_eq!(new("http://example.org:8080/a/SECRET?b=SECRET").name(), "http://example.org:8080");
        assert_eq!(new("http://example.org/").name(), "http://example.org");
        let none = Webhook::new("http://example.org/", &[], false, Limits::default());
        assert!(none.err().unwrap().contains("no secret"));
    }
}
