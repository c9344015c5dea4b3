//! What goes over a tunnel's leg: capsules, WebSocket frames, or bytes as they are.
//!
//! ```text
//! encode     heads in front of payloads, ends, pings, acknowledgements
//! capsule    capsules (RFC 9297) of draft-ietf-httpbis-connect-tcp, and some of our own
//! websocket  binary frames (RFC 6455): what a message is does not matter, only its bytes
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

mod capsule;
mod encode;
mod websocket;

#[cfg(test)]
mod tests;

use outflow_wire::websocket as wire;

pub use self::encode::{Encoder, HEAD_ROOM};

/// How payload is marked as such.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// Not at all.
    Raw,
    /// DATA and FINAL_DATA capsules.
    Capsules,
    /// Binary frames.
    WebSocket,
}

/// Which end of a leg this is: those of WebSocket are not alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It asked for the tunnel.
    Client,
    /// It granted it.
    Server,
}

impl Role {
    /// As whom the other end sends.
    fn peer(self) -> wire::Sender {
        match self {
            Role::Client => wire::Sender::Server,
            Role::Server => wire::Sender::Client,
        }
    }
}

/// What came over the leg.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// So many bytes of payload: the last ones of those that were used. Never 0.
    Data(usize),
    /// This direction is complete.
    Fin,
    /// To be answered with the same bytes.
    Ping(Vec<u8>),
    /// The answer.
    Pong,
    /// The other end has passed on what lies before this offset.
    Ack(u64),
    /// The other end gave up, with a status of WebSocket and words.
    Closed(u16, String),
    /// The other end of a session will not come back.
    Done,
}

/// What no peer may send.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// The leg ended, and the direction had not.
    #[error("the leg ended in the middle of the stream")]
    Truncated,
    /// Payload, or a second end, behind the end.
    #[error("there is more behind the end of the stream")]
    BehindEnd,
    /// A control capsule of ours that is longer than any of ours.
    #[error("a control capsule is too long")]
    LongControl,
    /// An acknowledgement that is no number.
    #[error("an acknowledgement is not one number")]
    Ack,
    /// A fragment without a message, or a message within another.
    #[error("the fragments of messages are mixed up")]
    Fragments,
    /// A Close with half a status.
    #[error("a Close frame has half a status")]
    Close,
    /// A frame's head.
    #[error("{0}")]
    Frame(wire::Malformed),
}

/// Takes what comes over a leg apart, however it was split on the way. It keeps no payload, and no more than
/// 125 bytes of anything else.
#[derive(Debug)]
pub struct Decoder(Kind);

#[derive(Debug)]
enum Kind {
    Raw,
    Capsules(capsule::Decoder),
    WebSocket(websocket::Decoder),
}

impl Decoder {
    /// For the end that is `role`.
    #[must_use]
    pub fn new(framing: Framing, role: Role) -> Decoder {
        Decoder(match framing {
            Framing::Raw => Kind::Raw,
            Framing::Capsules => Kind::Capsules(capsule::Decoder::default()),
            Framing::WebSocket => Kind::WebSocket(websocket::Decoder::new(role.peer())),
        })
    }

    /// Reads from the front of `bytes` up to the next event: how many were used, and the event. Without one, all were
    /// used, and there will be none until there are more: so ask until then, with nothing if nothing is left.
    ///
    /// Payload is unmasked where it lies, if it has to be: `bytes[used - n..used]` for [`Event::Data`]`(n)`.
    ///
    /// # Errors
    /// What the peer may not send. There is no way to go on.
    pub fn decode(&mut self, bytes: &mut [u8]) -> Result<(usize, Option<Event>), Malformed> {
        match &mut self.0 {
            Kind::Raw => Ok((bytes.len(), (!bytes.is_empty()).then_some(Event::Data(bytes.len())))),
            Kind::Capsules(decoder) => decoder.decode(bytes),
            Kind::WebSocket(decoder) => decoder.decode(bytes),
        }
    }

    /// How many bytes are missing of the payload that is under way; 0 if that is not known, or there is none. Who reads as
    /// many, and no more, has the next head at the front of the next bytes.
    #[must_use]
    pub fn left(&self) -> u64 {
        match &self.0 {
            Kind::Raw => 0,
            Kind::Capsules(decoder) => decoder.left(),
            Kind::WebSocket(decoder) => decoder.left(),
        }
    }

    /// To be asked when the leg has ended: whether its direction had. (For raw bytes the one is the other.)
    ///
    /// # Errors
    /// [`Malformed::Truncated`] if not.
    pub fn ended(&self) -> Result<(), Malformed> {
        let whole = match &self.0 {
            Kind::Raw => true,
            Kind::Capsules(decoder) => decoder.is_ended(),
            Kind::WebSocket(decoder) => decoder.is_ended(),
        };
        if whole { Ok(()) } else { Err(Malformed::Truncated) }
    }
}

/// The head of a frame, as far as it has come.
#[derive(Debug, Default)]
struct Partial {
    bytes: [u8; HEAD_ROOM],
    len: usize,
}

impl Partial {
    /// Takes bytes until `parse` finds a head in them: how many were used, and what was found.
    fn take<T>(
        &mut self,
        bytes: &[u8],
        parse: impl Fn(&[u8]) -> Result<Option<T>, Malformed>,
    ) -> Result<(usize, Option<T>), Malformed> {
        for (at, byte) in bytes.iter().enumerate() {
            // One at a time: heads are short, and none is longer than the room.
            self.bytes[self.len] = *byte;
            self.len += 1;
            if let Some(head) = parse(&self.bytes[..self.len])? {
                self.len = 0;
                return Ok((at + 1, Some(head)));
            }
        }
        Ok((bytes.len(), None))
    }
}

/// How much of `bytes` belongs to a payload of which `left` bytes are missing.
fn part(bytes: &[u8], left: u64) -> usize {
    usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len())
}

/// A Close's status and words.
fn read_close(payload: &[u8]) -> Option<(u16, String)> {
    let (status, words) = payload.split_first_chunk()?;
    Some((u16::from_be_bytes(*status), String::from_utf8_lossy(words).into_owned()))
}
