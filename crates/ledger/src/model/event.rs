//! Events: what happened to downloads, links, transfers and endpoints.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// Defines the kinds of events. One line has all there is to know of a kind: its variant, its name,
/// what it is about, and the form of its ids. To add one, add a line here and emit it where it
/// happens.
macro_rules! event_kinds {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal, $subject:ident, $id:expr;)+) => {
        /// What an event reports.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        pub enum EventKind {
            $($(#[doc = $doc])+ #[serde(rename = $name)] $variant,)+
        }

        impl EventKind {
            /// All kinds, in the order of their definition.
            pub const ALL: &[EventKind] = &[$(EventKind::$variant),+];

            /// The names of all kinds, in the same order.
            pub(crate) const NAMES: &[&str] = &[$($name),+];

            /// Its name in events and filters.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(EventKind::$variant => $name,)+ }
            }

            /// What its events are about.
            #[must_use]
            pub const fn subject(self) -> EventSubject {
                match self { $(EventKind::$variant => EventSubject::$subject,)+ }
            }

            pub(crate) const fn id_form(self) -> EventIdForm {
                use EventIdForm::{OncePerDownload, Repeated, Unrelated};
                match self { $(EventKind::$variant => $id,)+ }
            }
        }
    };
}

event_kinds! {
    /// The first delivery of a download has begun.
    Started = "download.started", Download, OncePerDownload('s');
    /// Another tenth of a download has arrived. Emitted only on request.
    Progress = "download.progress", Download, Repeated('p');
    /// Every byte of a download has arrived.
    Completed = "download.completed", Download, OncePerDownload('c');
    /// The last delivery under way was broken off, and bytes are missing.
    Aborted = "download.aborted", Download, Repeated('a');
    /// The content of the last delivery under way could not be sent, and bytes are missing.
    Failed = "download.failed", Download, Repeated('f');
    /// A link has reached its maximum number of receipts.
    LinkExhausted = "link.exhausted", Link, Unrelated;
    /// A transfer has expired and is no longer served.
    TransferExpired = "transfer.expired", Transfer, Unrelated;
    /// An endpoint has failed for days, or answered 410 Gone, and is no longer called.
    EndpointDisabled = "endpoint.disabled", Endpoint, Unrelated;
}

impl EventKind {
    /// The kind with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<EventKind> {
        EventKind::ALL.iter().copied().find(|kind| kind.name() == name)
    }
}

/// What events are about: the member of their `data`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventSubject {
    /// A [`Download`](crate::Download).
    Download,
    /// A link.
    Link,
    /// A transfer.
    Transfer,
    /// An [`Endpoint`](crate::Endpoint).
    Endpoint,
}

impl EventSubject {
    /// The name of the member of `data`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            EventSubject::Download => "download",
            EventSubject::Link => "link",
            EventSubject::Transfer => "transfer",
            EventSubject::Endpoint => "endpoint",
        }
    }
}

/// How the id of an event is made. Ids that begin with the download's own can be looked up by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum EventIdForm {
    /// The download's id and this letter: the database accepts only one such event a download.
    OncePerDownload(char),
    /// The download's id, this letter, and random digits.
    Repeated(char),
    /// An id of its own.
    Unrelated,
}

/// Something that happened. Receivers get `{"type", "timestamp", "data"}` and a permanent id.
#[derive(Clone, Debug, Serialize)]
pub struct LedgerEvent {
    /// Order of commitment in this ledger. Gaps have no meaning.
    #[serde(skip)]
    pub seq: i64,
    /// Unique, and the same in every attempt to deliver it (`webhook-id`).
    pub id: String,
    /// What it reports.
    #[serde(rename = "type")]
    pub kind: EventKind,
    /// When it happened.
    pub timestamp: Timestamp,
    /// The details, as a JSON object.
    pub data: Box<RawValue>,
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_kind_is_listed_once_with_its_name_on_the_wire() {
        let names: Vec<&str> = EventKind::ALL.iter().map(|kind| kind.name()).collect();
        assert_eq!(
            names,
            [
                "download.started",
                "download.progress",
                "download.completed",
                "download.aborted",
                "download.failed",
                "link.exhausted",
                "transfer.expired",
                "endpoint.disabled",
            ]
        );
        for kind in EventKind::ALL {
            assert_eq!(EventKind::from_name(kind.name()), Some(*kind));
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.name());
            assert!(kind.name().starts_with(kind.subject().name()), "{kind:?}");
        }
        assert_eq!(EventKind::from_name("download.begun"), None);
    }

    #[test]
    fn every_kind_about_a_download_has_an_id_letter_of_its_own() {
        let mut letters = HashSet::new();
        for kind in EventKind::ALL {
            let about_download = kind.subject() == EventSubject::Download;
            match kind.id_form() {
                EventIdForm::OncePerDownload(letter) | EventIdForm::Repeated(letter) => {
                    assert!(about_download && letters.insert(letter), "{kind:?}");
                }
                EventIdForm::Unrelated => assert!(!about_download, "{kind:?}"),
            }
        }
    }

    #[test]
    fn the_documentation_names_every_kind() {
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/events.md");
        let page = std::fs::read_to_string(page).unwrap();
        for kind in EventKind::ALL {
            let name = kind.name();
            let row = page.lines().any(|line| line.starts_with('|') && line.contains(&format!("`{name}`")));
            assert!(row, "docs/events.md has no row for {name}");
        }
    }
}
