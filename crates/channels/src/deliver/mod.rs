//! Delivering events to subscribers.
//!
//! ```text
//! reactor      one thread: an epoll loop over the plain connections of its shard
//!   shard        the subscribers of one reactor, grouped by channel
//!   subscriber   one plain connection: its position, and bytes that the kernel has not taken
//! task         a subscriber within TLS or on an HTTP/2 stream: a tokio task each
//! wire_format  what is sent besides events: opening, heartbeat, close; limits of slow subscribers
//!   frames       WebSocket frames from clients
//! ```

pub(crate) mod frames;
pub(crate) mod reactor;
mod shard;
mod subscriber;
pub(crate) mod task;
pub(crate) mod wire_format;
