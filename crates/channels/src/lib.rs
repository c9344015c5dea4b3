//! Channels: what is published at an address is heard by all who listen there.
//!
//! ```text
//! service    POST, GET, DELETE /channels/NAME; who may
//!   ask        the address and its query -> what is asked, in our words or Mercure's
//!   tokens     who may publish and subscribe
//! hub        names -> channels
//!   channel    one channel: the events that are kept, and who is told of new ones
//!   event      an event, rendered once for each form
//!   limits     how many may subscribe: from one address, with one token, to one channel
//! reactor    a thread that keeps plain subscribers
//!   keeper     its subscribers, and which of them are in which channel
//!   slot       one subscriber: how far it has heard, what it still takes
//!   words      what is said besides events: first words, heartbeats, farewells
//!   frames     what WebSocket clients say
//! task       a subscriber within TLS or on a stream of HTTP/2: a task each
//! ```
//!
//! An event is one buffer for all who hear it. A subscriber is a number: the next event that it has not heard. Who takes
//! nothing for so long that its next event is not kept any more is let go of; it may come back, and says where it was.

#![forbid(unsafe_code)]

mod ask;
mod channel;
mod event;
mod frames;
mod hub;
mod keeper;
mod limits;
mod reactor;
mod service;
mod slot;
mod task;
mod tokens;
mod words;

use std::time::Duration;

pub use service::Channels;
pub use tokens::{Tokens, TokensError};

/// Longest data of an event, in bytes.
const DATA: usize = 64 << 10;
/// Events that a subscriber may be behind, however few are kept for those who come later.
const QUEUE: usize = 128;
/// Events of a channel that are kept, in bytes of all their forms; the last one is kept even if it is larger.
const KEPT: usize = 1 << 20;
/// Events of all channels together, in bytes.
const ALL_KEPT: usize = 64 << 20;
/// For how long a channel that nobody subscribes to is remembered, its events and its end.
const IDLE: Duration = Duration::from_secs(600);
/// A subscriber that takes nothing for so long is let go of.
const STALL: Duration = Duration::from_secs(30);
/// One whose system acknowledges nothing for so long as well.
const SILENCE: Duration = Duration::from_secs(60);
/// What the kernel keeps for one that does not read, in bytes; it doubles this.
const SEND_BUFFER: usize = 16 << 10;
/// What is waited for the other side's end, once all is said.
const LINGER: Duration = Duration::from_secs(2);
/// Over so long the farewells of a server that drains are spread.
const STAGGER: Duration = Duration::from_secs(3);

/// Who may subscribe.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Subscribe {
    /// Whoever knows a channel's name.
    Open,
    /// Whoever has a token for it.
    #[default]
    Token,
}

/// How channels are kept.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Who may publish, and subscribe.
    pub tokens: Tokens,
    /// Whether subscribing takes a token.
    pub subscribe: Subscribe,
    /// Events of a channel that whoever asks for the earliest is told.
    pub history: usize,
    /// Subscribers from one IPv4 address, or one IPv6 network of 64 bits.
    pub per_address: u32,
    /// Subscribers with one token.
    pub per_token: u32,
    /// Subscribers of one channel.
    pub per_channel: u32,
    /// Channels that are known at the same time.
    pub channels: usize,
    /// After so long at the most a subscriber is asked to come again; after four fifths of it at the earliest. Zero: never.
    pub lifetime: Duration,
    /// How often something is said to those who have nothing to hear.
    pub heartbeat: Duration,
    /// Whose pages may subscribe besides our own: `https://host`, or `*` for all.
    pub origins: Vec<String>,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            tokens: Tokens::default(),
            subscribe: Subscribe::default(),
            history: 100,
            per_address: 1_000,
            per_token: 1_000_000,
            per_channel: 1_000_000,
            channels: 100_000,
            lifetime: Duration::from_secs(600),
            heartbeat: Duration::from_secs(15),
            origins: Vec::new(),
        }
    }
}
