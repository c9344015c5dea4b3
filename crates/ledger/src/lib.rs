//! Downloads, receipts, and the events that tell of them; in SQLite or PostgreSQL.
//!
//! A **download** is one recipient obtaining one content, over as many deliveries, connections, nodes and days as it
//! takes. The ranges that were acknowledged are merged into it, in one transaction for each batch of deliveries; the
//! transaction that makes their union cover the content makes the **receipt** and its **event**, once. Whatever comes
//! later belongs to the next generation. Events are committed before anyone is told; then `hook` tells.
//!
//! ```text
//! model      the words: contents, recipients, downloads, events, endpoints
//! report     questions and what is answered
//! ledger     the door: deliveries in, questions answered
//!   tracked    a delivery, as the server tells of it
//!   queue      changes that wait (bounded) for the
//!   writer     which commits them in groups, however long it takes:
//!   batch        what they touch is loaded, they are applied in memory, and what came out is written
//!   ranges       ranges that are known, and the one that comes
//!   live       progress, for those who watch
//!   links      how links were used, remembered for a second
//!   queries    what is asked, and what is written one by one
//!   upkeep     heartbeats, crashed servers, retention, what other nodes say
//!   store      the database: one connection that writes, some that read
//!   sql          SQLite and PostgreSQL behind one face
//!   stored       downloads as rows
//! outbox     events on their way to endpoints; sends: in the database
//! hook       tells the endpoints: webhooks, commands
//! ```
#![forbid(unsafe_code)]
#![allow(clippy::single_range_in_vec_init, reason = "a list of ranges may have one")]

mod batch;
mod hook;
mod id;
mod ledger;
mod links;
mod live;
mod model;
mod outbox;
mod presence;
mod queries;
mod queue;
mod ranges;
mod report;
mod sends;
mod sql;
mod store;
mod stored;
mod tracked;
mod upkeep;
mod writer;

pub use hook::{check, new_secret, new_signing_secret, public_key};
pub use ledger::Ledger;
pub use model::{
    Assurance, Closing, ContentInfo, ContentKey, Download, Endpoint, Event, Filter, Kind, LinkState, LinkUse,
    Opening, Options, Outcome, Part, Parts, Recipient, State, Target, Transport,
};
pub use report::{
    DownloadQuery, EventDetail, EventQuery, EventSend, FileState, Full, Progress, Replay, ReplayEvents,
    Report, SendAttempt, SendState, Status, Trouble,
};
pub use tracked::Tracked;

/// Why the ledger did not do what it was asked to.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The database could not be used; the text says what was tried and what to do.
    #[error("{0}")]
    Database(String),
}
