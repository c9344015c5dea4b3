//! What a channel is, independent of how its subscribers are connected.
//!
//! ```text
//! log     one channel: its recent events, and where a subscriber starts among them
//! event   an event, encoded once for each stream format
//! limits  permits of subscribers: per address, per token, per channel
//! ```

pub(crate) mod event;
pub(crate) mod limits;
pub(crate) mod log;
