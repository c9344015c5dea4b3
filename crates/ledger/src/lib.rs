//! Downloads, receipts, and events that report them; in SQLite or PostgreSQL.
//!
//! A **download** is one recipient obtaining one content, over as many deliveries, connections,
//! nodes and days as it takes. The acknowledged ranges of its deliveries are merged in one
//! transaction for each batch; the transaction in which they cover the content makes the
//! **receipt** and its **event**, exactly once. What the recipient fetches later belongs to the
//! next generation. An event is committed before any endpoint is notified of it.
//!
//! ```text
//! api       the calls, and the thread that they run on
//! upkeep    what a server does beside: heartbeat, recovery of crashed servers, retention, peers
//! webhook   notifies endpoints of events: POST and programs, signatures, retries
//! read      queries, and progress of downloads under way
//! write     from deliveries to rows: handle, queue, writer, batch
//! db        the database: statements, connections, rows
//! model     the nouns
//! ```
//!
//! A folder imports only folders below it.
//!
//! ```
//! use std::sync::Arc;
//! use std::time::Duration;
//!
//! use outflow_ledger::{
//!     Assurance, ContentInfo, ContentKey, DeliveryEnd, DeliveryOutcome, DownloadQuery,
//!     DownloadState, Ledger, LedgerOptions, NewDelivery, Recipient,
//! };
//!
//! let folder = tempfile::tempdir()?;
//! let address = format!("sqlite:{}", folder.path().join("ledger.db").display());
//! let ledger = Ledger::open(&address, LedgerOptions::default())?;
//!
//! let content = ContentInfo {
//!     key: ContentKey([7; 16]),
//!     etag: "v1".to_owned(),
//!     length: 1000,
//!     name: "report.pdf".to_owned(),
//!     path: "/report.pdf".to_owned(),
//!     transfer: None,
//!     parts: None,
//! };
//! let mut delivery = ledger.track(NewDelivery {
//!     content: Arc::new(content),
//!     recipient: Recipient { id: "anna".to_owned(), weak: false },
//!     link: None,
//!     client: None,
//!     user_agent: None,
//!     assurance: Assurance::Peer,
//! })?;
//! delivery.started(vec![0..1000]);
//! delivery.ended(DeliveryEnd {
//!     acked: vec![0..1000],
//!     sent: 1000,
//!     outcome: DeliveryOutcome::Completed { confirmed: true },
//!     transport: None,
//! });
//! ledger.shut_down(Duration::from_secs(10));
//!
//! let ledger = Ledger::open(&address, LedgerOptions::default())?;
//! let runtime = tokio::runtime::Builder::new_current_thread().build()?;
//! let downloads = runtime.block_on(ledger.downloads(&DownloadQuery::default()))?;
//! assert_eq!(downloads[0].state, DownloadState::Completed);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]
#![allow(clippy::single_range_in_vec_init, reason = "a list of ranges may have one")]

mod api;
mod db;
mod model;
mod read;
#[cfg(test)]
mod tests;
mod upkeep;
mod webhook;
mod write;

pub use api::ledger::Ledger;
pub use model::{
    ArchivePart, ArchiveParts, Assurance, BacklogFull, ContentInfo, ContentKey, CountQuery, DailyCount,
    DatabaseOutage, DeliveryEnd, DeliveryOutcome, Download, DownloadProgress, DownloadQuery, DownloadState,
    Endpoint, EndpointTarget, EventDetail, EventFilter, EventKind, EventQuery, EventSend, EventSubject,
    FileState, LedgerError, LedgerEvent, LedgerMetrics, LedgerOptions, LedgerStatus, LinkState, LinkUse,
    NewDelivery, ProgressReport, Recipient, Replay, ReplayEvents, SendAttempt, SendState, TransportSummary,
    WebhookOutcome,
};
pub use webhook::{new_signing_secret, new_webhook_secret, validate_endpoints, webhook_public_key};
pub use write::handle::DeliveryHandle;
