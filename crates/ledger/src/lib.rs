//! Downloads, receipts, and the events that tell of them; in SQLite or PostgreSQL.
//!
//! A **download** is one recipient obtaining one content, over as many deliveries, connections, nodes and days as it
//! takes. The ranges that were acknowledged are merged into it, in one transaction for each batch of deliveries; the
//! transaction that makes their union cover the content makes the **receipt** and its **event**, once. Whatever comes
//! later belongs to the next generation. Events are committed before anyone is told; then `hook` tells.
//!
//! ```text
//! model      the words: contents, recipients, downloads, events, endpoints
//! ledger     the door: deliveries in, questions answered
//!   writer     changes wait in memory (bounded), and are committed in groups
//!   merge      ranges that are known, and the one that comes
//!   engine     the trait of the two databases: sqlite, postgres
//! outbox     events on their way to endpoints
//! hook       tells the endpoints: webhooks, commands
//! ```
#![forbid(unsafe_code)]

mod hook;
mod model;
mod outbox;

pub use hook::{check, new_secret, new_signing_secret, public_key};
pub use model::{
    Assurance, Closing, ContentInfo, ContentKey, Download, Endpoint, Event, Filter, Kind, LinkState, LinkUse,
    Opening, Options, Outcome, Part, Parts, Recipient, State, Target, Transport,
};

/// Why the ledger did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database could not be used; the text says what was tried and what to do.
    #[error("{0}")]
    Database(String),
}
