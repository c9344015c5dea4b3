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

mod api;
mod db;
mod model;
mod read;
mod upkeep;
mod webhook;
mod write;

pub use api::ledger::Ledger;
pub use model::{
    Assurance, Closing, ContentInfo, ContentKey, Download, DownloadQuery, Endpoint, Error, Event,
    EventDetail, EventQuery, EventSend, FileState, Filter, Full, Kind, LinkState, LinkUse, Opening, Options,
    Outcome, Part, Parts, Progress, Recipient, Replay, ReplayEvents, Report, SendAttempt, SendState, State,
    Status, Target, Transport, Trouble,
};
pub use webhook::{check, new_secret, new_signing_secret, public_key};
pub use write::handle::Tracked;
