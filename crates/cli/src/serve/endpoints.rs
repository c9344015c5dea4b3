//! Receivers of events: webhooks and the program of `--on-event`.

use std::fmt;
use std::path::PathBuf;

use anyhow::Context as _;
use outflow_ledger::{Endpoint, EndpointTarget, EventFilter, EventKind};
use outflow_texts::{ConsoleText, console};
use serde::Deserialize;

use crate::args::words::SecretArg;

/// `[[webhooks]]` in the configuration file.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct WebhookArgs {
    /// Identifies the endpoint in the ledger. Derived from the URL when it is missing.
    id: Option<String>,
    url: String,
    secrets: Vec<String>,
    #[serde(default)]
    events: Vec<String>,
    path: Option<String>,
    transfer: Option<String>,
    recipient: Option<String>,
    #[serde(default)]
    allow_private: bool,
}

impl WebhookArgs {
    /// Parses a table of the configuration file, which comes as JSON.
    pub(crate) fn parse(json: &str) -> Result<WebhookArgs, ConsoleText> {
        serde_json::from_str(json).map_err(|error| {
            let text = error.to_string();
            // These two name a key. Other errors may quote a value, which may be a secret.
            let names_a_key = text.starts_with("missing field") || text.starts_with("unknown field");
            let text = text.split(" at line ").next().unwrap_or_default();
            if names_a_key {
                console!(webhook_key_wrong, error = text)
            } else {
                console!(webhook_value_wrong)
            }
        })
    }

    /// A webhook from flags, for all events.
    pub(crate) fn from_flags(url: String, secrets: &[SecretArg], allow_private: bool) -> WebhookArgs {
        WebhookArgs {
            id: None,
            url,
            secrets: secrets.iter().map(|secret| secret.0.clone()).collect(),
            events: Vec::new(),
            path: None,
            transfer: None,
            recipient: None,
            allow_private,
        }
    }

    fn endpoint(self) -> anyhow::Result<Endpoint> {
        let kinds = self.events.iter().map(|name| {
            EventKind::from_name(name).with_context(|| {
                let known: Vec<&str> = EventKind::ALL.iter().map(|kind| kind.name()).collect();
                console!(unknown_event, name = format!("{name:?}"), known = known.join(", "))
            })
        });
        let filter = EventFilter {
            kinds: kinds.collect::<anyhow::Result<_>>()?,
            path: self.path,
            transfer: self.transfer,
            recipient: self.recipient,
        };
        let id = self.id.unwrap_or_else(|| id_of(&self.url));
        let target = EndpointTarget::Webhook {
            url: self.url,
            secrets: self.secrets,
            allow_private: self.allow_private,
        };
        Ok(Endpoint { id, filter, target })
    }
}

impl fmt::Debug for WebhookArgs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The URL and the secrets are not shown.
        f.debug_struct("WebhookArgs")
            .field("id", &self.id)
            .field("events", &self.events)
            .finish_non_exhaustive()
    }
}

/// The id of an endpoint without one: host and port, and a hash of the URL, which may hold a
/// secret.
fn id_of(url: &str) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = host.rsplit('@').next().unwrap_or_default();
    format!("{host}-{}", &blake3::hash(url.as_bytes()).to_hex()[..8])
}

/// All receivers of events, checked.
pub(crate) fn endpoints(
    webhooks: Vec<WebhookArgs>,
    command: Option<PathBuf>,
) -> anyhow::Result<Vec<Endpoint>> {
    let mut endpoints =
        webhooks.into_iter().map(WebhookArgs::endpoint).collect::<anyhow::Result<Vec<_>>>()?;
    endpoints.extend(command.map(|program| Endpoint {
        id: "on-event".to_owned(),
        filter: EventFilter::default(),
        target: EndpointTarget::Command { program },
    }));
    outflow_ledger::validate_endpoints(&endpoints).map_err(anyhow::Error::msg)?;
    Ok(endpoints)
}
