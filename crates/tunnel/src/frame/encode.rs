//! Encoding for a leg: heads in front of payloads, and control frames.

use std::io;
use std::ops::Range;

use outflow_wire::websocket::{self, FrameHead, MAX_CONTROL_PAYLOAD, Opcode, mask};
use ring::rand::{SecureRandom as _, SystemRandom};

use super::capsule;
use super::event::{LegFraming, LegRole};
use super::websocket::NORMAL;

/// Masking keys that are drawn at once.
const KEYS_DRAWN: usize = 16;

/// Writes frames.
pub struct FrameEncoder {
    framing: LegFraming,
    masks: Option<MaskKeys>,
    /// The head that is being written.
    head: Vec<u8>,
}

impl FrameEncoder {
    /// An encoder for the end that is `role`.
    #[must_use]
    pub fn new(framing: LegFraming, role: LegRole) -> FrameEncoder {
        let masks = (framing == LegFraming::WebSocket && role == LegRole::Client).then(MaskKeys::default);
        FrameEncoder { framing, masks, head: Vec::new() }
    }

    /// Makes a frame of the payload at `buffer[payload]`, which begins at [`super::HEAD_ROOM`] or
    /// later: writes the head in front of it, masks it if necessary, and returns where the frame
    /// lies.
    ///
    /// # Errors
    /// The system has no random numbers.
    pub fn data(&mut self, buffer: &mut [u8], payload: Range<usize>) -> io::Result<Range<usize>> {
        self.head.clear();
        match self.framing {
            LegFraming::Raw => {}
            LegFraming::Capsules => {
                capsule::write_number(&mut self.head, capsule::DATA);
                capsule::write_number(&mut self.head, payload.len() as u64);
            }
            LegFraming::WebSocket => {
                let key = self.masks.as_mut().map(MaskKeys::next).transpose()?;
                FrameHead::write(&mut self.head, Opcode::Binary, payload.len() as u64, key);
                if let Some(key) = key {
                    mask(&mut buffer[payload.clone()], key, 0);
                }
            }
        }
        let start = payload.start - self.head.len();
        buffer[start..payload.start].copy_from_slice(&self.head);
        Ok(start..payload.end)
    }

    /// Appends the end of the direction; nothing for raw bytes, which end with the leg.
    ///
    /// # Errors
    /// As for [`FrameEncoder::data`].
    pub fn fin(&mut self, out: &mut Vec<u8>) -> io::Result<()> {
        match self.framing {
            LegFraming::Raw => Ok(()),
            LegFraming::Capsules => {
                write_capsule(out, capsule::FINAL_DATA, &[]);
                Ok(())
            }
            LegFraming::WebSocket => self.close(out, NORMAL, ""),
        }
    }

    /// Appends a ping; nothing for raw bytes.
    ///
    /// # Errors
    /// As for [`FrameEncoder::data`].
    pub fn ping(&mut self, out: &mut Vec<u8>) -> io::Result<()> {
        self.control(out, capsule::PING, Opcode::Ping, &[])
    }

    /// Appends the answer to a ping with `payload`; nothing for raw bytes.
    ///
    /// # Errors
    /// As for [`FrameEncoder::data`].
    pub fn pong(&mut self, out: &mut Vec<u8>, payload: &[u8]) -> io::Result<()> {
        self.control(out, capsule::PONG, Opcode::Pong, payload)
    }

    /// Appends an acknowledgement of all bytes before `offset`. Only capsules have one.
    pub fn ack(&mut self, out: &mut Vec<u8>, offset: u64) {
        if self.framing == LegFraming::Capsules {
            let mut number = Vec::with_capacity(8);
            capsule::write_number(&mut number, offset);
            write_capsule(out, capsule::ACK, &number);
        }
    }

    /// Appends a Close with a WebSocket status (RFC 6455, 7.4.1): this end gives up. Raw bytes have
    /// none.
    ///
    /// # Errors
    /// As for [`FrameEncoder::data`].
    pub fn close(&mut self, out: &mut Vec<u8>, status: u16, reason: &str) -> io::Result<()> {
        let end = reason.floor_char_boundary(MAX_CONTROL_PAYLOAD as usize - 2);
        let payload = [&status.to_be_bytes(), &reason.as_bytes()[..end]].concat();
        self.control(out, capsule::CLOSE, Opcode::Close, &payload)
    }

    /// Appends that this end of a session will not reconnect. Only capsules can express it.
    pub fn done(&mut self, out: &mut Vec<u8>) {
        if self.framing == LegFraming::Capsules {
            write_capsule(out, capsule::DONE, &[]);
        }
    }

    fn control(&mut self, out: &mut Vec<u8>, kind: u64, opcode: Opcode, payload: &[u8]) -> io::Result<()> {
        match self.framing {
            LegFraming::Raw => {}
            LegFraming::Capsules => write_capsule(out, kind, payload),
            LegFraming::WebSocket => self.write_frame(out, opcode, payload)?,
        }
        Ok(())
    }

    fn write_frame(&mut self, out: &mut Vec<u8>, opcode: Opcode, payload: &[u8]) -> io::Result<()> {
        let key = self.masks.as_mut().map(MaskKeys::next).transpose()?;
        FrameHead::write(out, opcode, payload.len() as u64, key);
        let at = out.len();
        out.extend_from_slice(payload);
        if let Some(key) = key {
            websocket::mask(&mut out[at..], key, 0);
        }
        Ok(())
    }
}

fn write_capsule(out: &mut Vec<u8>, kind: u64, payload: &[u8]) {
    capsule::write_number(out, kind);
    capsule::write_number(out, payload.len() as u64);
    out.extend_from_slice(payload);
}

/// Unpredictable keys, a fresh one for each frame (RFC 6455, 10.3).
#[derive(Default)]
struct MaskKeys {
    drawn: [[u8; 4]; KEYS_DRAWN],
    left: usize,
}

impl MaskKeys {
    fn next(&mut self) -> io::Result<[u8; 4]> {
        if self.left == 0 {
            let none = |_| io::Error::other("the system has no random numbers");
            SystemRandom::new().fill(self.drawn.as_flattened_mut()).map_err(none)?;
            self.left = KEYS_DRAWN;
        }
        self.left -= 1;
        Ok(self.drawn[self.left])
    }
}
