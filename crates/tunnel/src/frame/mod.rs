//! What goes over a tunnel's leg: capsules, WebSocket frames, or raw bytes.
//!
//! ```text
//! event      framings, roles, what may arrive over a leg, what may not
//! encode     heads in front of payloads, ends, pings, acknowledgements
//! decode     splits what arrives into events, by one of the next two, which share `head`
//! capsule    capsules (RFC 9297) of draft-ietf-httpbis-connect-tcp, and some of our own
//! websocket  binary frames (RFC 6455); message boundaries carry no meaning, only the bytes do
//! buffer     buffers that are borrowed while they hold bytes
//! ```
//!
//! Each direction ends by itself, as in a TCP connection, and a leg that breaks must not look like
//! an end:
//!
//! | framing | end of a direction | the leg ends without it |
//! |---|---|---|
//! | capsules | `FINAL_DATA` | [`FrameError::Truncated`] |
//! | WebSocket | Close with 1000, or without a status | [`FrameError::Truncated`] |
//! | raw | the leg's own end | cannot be distinguished from it |
//!
//! A WebSocket endpoint that receives a Close should answer it soon (RFC 6455, 5.5.1), but may
//! first send what it has. After sending a Close, an end therefore keeps receiving until the
//! other's Close arrives, and sends nothing more, not even pings.

mod buffer;
mod capsule;
mod decode;
mod encode;
mod event;
mod head;
mod websocket;

#[cfg(test)]
mod tests;

pub use self::buffer::CHUNK_BYTES;
pub(crate) use self::buffer::ChunkBuffer;
pub use self::decode::FrameDecoder;
pub use self::encode::FrameEncoder;
pub use self::event::{FrameError, FrameEvent, LegFraming, LegRole};
pub use self::head::HEAD_ROOM;
