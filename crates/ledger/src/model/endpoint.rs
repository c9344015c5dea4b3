//! Endpoints that are notified of events.

use std::path::PathBuf;

use super::content::ContentInfo;
use super::download::Download;
use super::event::{EventKind, EventSubject};

/// A receiver of events.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// Identifies it after a restart and on every node.
    pub id: String,
    /// The events that it receives.
    pub filter: EventFilter,
    /// How it is notified.
    pub target: EndpointTarget,
}

/// How an endpoint is notified.
#[derive(Clone, Debug)]
pub enum EndpointTarget {
    /// By POST, as Standard Webhooks 1.0 specifies.
    Webhook {
        /// `https:` or `http:`.
        url: String,
        /// Each of them signs: `whsec_…` for v1 (HMAC-SHA256), `whsk_…` for v1a (ed25519).
        secrets: Vec<String>,
        /// Whether the URL may lead into a private network.
        allow_private: bool,
    },
    /// By a program that is started for each event and reads it as a line of JSON from its standard
    /// input.
    Command {
        /// The program.
        program: PathBuf,
    },
}

/// Selects events: those that match each condition that is set.
#[derive(Clone, Debug, Default)]
pub struct EventFilter {
    /// Events of these kinds; empty: of all.
    pub kinds: Vec<EventKind>,
    /// Events about downloads whose path begins with this.
    pub path: Option<String>,
    /// Events about downloads of this transfer.
    pub transfer: Option<String>,
    /// Events about downloads of this recipient.
    pub recipient: Option<String>,
}

impl EventFilter {
    /// Whether an event of `kind`, about `download` if it is about one, matches.
    #[must_use]
    pub fn matches(&self, kind: EventKind, download: Option<&Download>) -> bool {
        let holds = |wanted: &Option<String>, value: Option<&str>, test: fn(&str, &str) -> bool| {
            wanted.as_deref().is_none_or(|wanted| value.is_some_and(|value| test(value, wanted)))
        };
        let equal = |value: &str, wanted: &str| value == wanted;
        (self.kinds.is_empty() || self.kinds.contains(&kind))
            && holds(&self.path, download.map(|of| &*of.path), |path, wanted| path.starts_with(wanted))
            && holds(&self.transfer, download.and_then(|of| of.transfer.as_deref()), equal)
            && holds(&self.recipient, download.map(|of| &*of.recipient), equal)
    }

    /// Whether an event about a download of `content` may match, whoever the recipient is.
    pub(crate) fn may_match(&self, content: &ContentInfo) -> bool {
        (self.kinds.is_empty() || self.kinds.iter().any(|kind| kind.subject() == EventSubject::Download))
            && self.path.as_ref().is_none_or(|path| content.path.starts_with(path))
            && (self.transfer.is_none() || self.transfer == content.transfer)
    }
}
