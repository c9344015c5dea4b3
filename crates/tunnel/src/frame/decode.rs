//! Splits what arrives over a leg into events.

use super::event::{FrameError, FrameEvent, LegFraming, LegRole};
use super::{capsule, websocket};

/// Splits what arrives over a leg into events, however it was cut on the way. It stores no payload,
/// and at most 125 bytes of anything else.
#[derive(Debug)]
pub struct FrameDecoder(DecoderKind);

#[derive(Debug)]
enum DecoderKind {
    Raw,
    Capsules(capsule::CapsuleDecoder),
    WebSocket(websocket::WebSocketDecoder),
}

impl FrameDecoder {
    /// A decoder for the end that is `role`.
    #[must_use]
    pub fn new(framing: LegFraming, role: LegRole) -> FrameDecoder {
        FrameDecoder(match framing {
            LegFraming::Raw => DecoderKind::Raw,
            LegFraming::Capsules => DecoderKind::Capsules(capsule::CapsuleDecoder::default()),
            LegFraming::WebSocket => DecoderKind::WebSocket(websocket::WebSocketDecoder::new(role.peer())),
        })
    }

    /// Reads `bytes` up to the next event, and returns how many bytes it used, and the event.
    /// Without an event it has used all of them and needs more. Call again after each event, with
    /// an empty slice if no bytes are left.
    ///
    /// Payload is unmasked in place: it is `bytes[used - n..used]` for [`FrameEvent::Data`]`(n)`.
    ///
    /// # Errors
    /// The peer broke the protocol. The decoder cannot continue.
    pub fn decode(&mut self, bytes: &mut [u8]) -> Result<(usize, Option<FrameEvent>), FrameError> {
        match &mut self.0 {
            DecoderKind::Raw => {
                Ok((bytes.len(), (!bytes.is_empty()).then_some(FrameEvent::Data(bytes.len()))))
            }
            DecoderKind::Capsules(decoder) => decoder.decode(bytes),
            DecoderKind::WebSocket(decoder) => decoder.decode(bytes),
        }
    }

    /// Bytes that are missing of the current payload; 0 if unknown or if there is none. A caller
    /// that reads exactly as many has the next head at the front of its next read.
    #[must_use]
    pub fn remaining(&self) -> u64 {
        match &self.0 {
            DecoderKind::Raw => 0,
            DecoderKind::Capsules(decoder) => decoder.remaining(),
            DecoderKind::WebSocket(decoder) => decoder.remaining(),
        }
    }

    /// Checks, when the leg has ended, that its direction had ended before. For raw bytes the two
    /// are the same.
    ///
    /// # Errors
    /// [`FrameError::Truncated`] if it had not.
    pub fn finish(&self) -> Result<(), FrameError> {
        let is_complete = match &self.0 {
            DecoderKind::Raw => true,
            DecoderKind::Capsules(decoder) => decoder.is_ended(),
            DecoderKind::WebSocket(decoder) => decoder.is_ended(),
        };
        if is_complete { Ok(()) } else { Err(FrameError::Truncated) }
    }
}
