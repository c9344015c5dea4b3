//! The nouns of the ledger. They know nothing of how it works.
//!
//! ```text
//! content    what is downloaded: a file or an archive
//! delivery   one response: its recipient, its link, how it ended
//! download   one recipient obtaining one content; and those that are only counted
//! link       how links are used
//! event      what happened: the list of all kinds
//! endpoint   receivers of events
//! progress   downloads under way
//! query      queries and their results
//! options    how a ledger is run
//! status     whether it works
//! metrics    what is counted
//! error      why it does not
//! ranges     sets of byte ranges
//! ```

mod content;
mod delivery;
mod download;
mod endpoint;
mod error;
mod event;
mod link;
mod metrics;
mod options;
mod progress;
mod query;
pub(crate) mod ranges;
mod status;

pub use content::{ArchivePart, ArchiveParts, ContentInfo, ContentKey};
pub use delivery::{Assurance, DeliveryEnd, DeliveryOutcome, NewDelivery, Recipient, TransportSummary};
pub use download::{DailyCount, Download, DownloadState, FileState};
pub use endpoint::{Endpoint, EndpointTarget, EventFilter};
pub use error::{BacklogFull, LedgerError};
pub(crate) use event::EventIdForm;
pub use event::{EventKind, EventSubject, LedgerEvent};
pub(crate) use link::LINK_CACHE_AGE;
pub use link::{LinkState, LinkUse};
pub use metrics::{LedgerMetrics, WebhookOutcome};
pub use options::LedgerOptions;
pub use progress::{DownloadProgress, ProgressReport};
pub(crate) use query::result_limit;
pub use query::{
    CountQuery, DownloadQuery, EventDetail, EventQuery, EventSend, Replay, ReplayEvents, SendAttempt,
    SendState,
};
pub use status::{DatabaseOutage, LedgerStatus};
