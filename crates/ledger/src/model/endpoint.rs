//! Who is told of events, and of which.

use super::download::Download;
use super::event::Kind;

/// Who is told of events.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// Tells it from the others, and is the same after a restart and on every node.
    pub id: String,
    /// Of which events it is told.
    pub filter: Filter,
    /// How it is told.
    pub target: Target,
}

/// How an endpoint is told.
#[derive(Clone, Debug)]
pub enum Target {
    /// By POST, by the rules of Standard Webhooks.
    Webhook {
        /// `https:` or `http:`.
        url: String,
        /// Signs with each: `whsec_…` for v1 (HMAC-SHA256), `whsk_…` for v1a (ed25519).
        secrets: Vec<String>,
        /// Whether it may lie in a private network.
        allow_private: bool,
    },
    /// By a program that is started for each event, which is a line of JSON on its standard input.
    Command {
        /// The program.
        program: std::path::PathBuf,
    },
}

/// Which events: all that fit each condition that is set.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Of these kinds; empty: of all.
    pub kinds: Vec<Kind>,
    /// Of downloads below this address.
    pub path: Option<String>,
    /// Of this transfer.
    pub transfer: Option<String>,
    /// Of this recipient.
    pub recipient: Option<String>,
}

impl Filter {
    /// Whether an event of `kind` about `download` (if it is about one) fits.
    #[must_use]
    pub fn fits(&self, kind: Kind, download: Option<&Download>) -> bool {
        let under = |wanted: &Option<String>, has: Option<&str>, fits: fn(&str, &str) -> bool| {
            wanted.as_deref().is_none_or(|wanted| has.is_some_and(|has| fits(has, wanted)))
        };
        (self.kinds.is_empty() || self.kinds.contains(&kind))
            && under(&self.path, download.map(|download| download.path.as_str()), |has, wanted| {
                has.starts_with(wanted)
            })
            && under(
                &self.transfer,
                download.and_then(|download| download.transfer.as_deref()),
                |has, wanted| has == wanted,
            )
            && under(&self.recipient, download.map(|download| download.recipient.as_str()), |has, wanted| {
                has == wanted
            })
    }
}
