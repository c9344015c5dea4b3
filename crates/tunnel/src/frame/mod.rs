//! What goes over a tunnel's leg: capsules, WebSocket frames, or bytes as they are.
//!
//! ```text
//! event      framings, roles, what may come over a leg, what may not
//! encode     heads in front of payloads, ends, pings, acknowledgements
//! decode     takes apart what comes, by one of the next two, which share `head`
//! capsule    capsules (RFC 9297) of draft-ietf-httpbis-connect-tcp, and some of our own
//! websocket  binary frames (RFC 6455): what a message is does not matter, only its bytes
//! buffer     buffers that are borrowed while there are bytes in them
//! ```
//!
//! Each direction ends for itself, as those of a TCP connection do, and a leg that breaks must not look like an end:
//!
//! | framing | end of a direction | the leg ends without it |
//! |---|---|---|
//! | capsules | `FINAL_DATA` | [`Malformed::Truncated`] |
//! | WebSocket | Close with 1000, or without a status | [`Malformed::Truncated`] |
//! | raw | the leg's own end | cannot be told from it |
//!
//! A WebSocket endpoint that gets a Close is meant to answer it soon (RFC 6455, 5.5.1), but may send first what it
//! has: so whoever sends one here goes on receiving until the other's comes, and sends nothing more, not even pings.

mod buffer;
mod capsule;
mod decode;
mod encode;
mod event;
mod head;
mod websocket;

#[cfg(test)]
mod tests;

pub use self::buffer::CHUNK;
pub(crate) use self::buffer::Chunk;
pub use self::decode::Decoder;
pub use self::encode::Encoder;
pub use self::event::{Event, Framing, Malformed, Role};
pub use self::head::HEAD_ROOM;
