//! Takes what comes over a leg apart.

use super::event::{Event, Framing, Malformed, Role};
use super::{capsule, websocket};

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
