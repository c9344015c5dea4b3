//! What is sent over a leg: heads in front of payloads, and all that is no payload.

use std::io;
use std::ops::Range;

use outflow_wire::websocket::{self, FrameHead, MAX_CONTROL_PAYLOAD, Opcode, mask};
use ring::rand::{SecureRandom as _, SystemRandom};

use super::capsule;
use super::event::{Framing, Role};
use super::websocket::NORMAL;

/// Keys that are drawn at once.
const KEYS: usize = 16;

/// Makes frames.
pub struct Encoder {
    framing: Framing,
    masks: Option<Masks>,
    /// Where heads are written before they are put in front.
    head: Vec<u8>,
}

impl Encoder {
    /// For the end that is `role`.
    #[must_use]
    pub fn new(framing: Framing, role: Role) -> Encoder {
        let masks = (framing == Framing::WebSocket && role == Role::Client).then(Masks::default);
        Encoder { framing, masks, head: Vec::new() }
    }

    /// Makes a frame of the payload at `buffer[payload]`, which begins at [`super::HEAD_ROOM`] or later: the head goes in front
    /// of it. Says where the frame lies.
    ///
    /// # Errors
    /// When the system has no random numbers.
    pub fn data(&mut self, buffer: &mut [u8], payload: Range<usize>) -> io::Result<Range<usize>> {
        self.head.clear();
        match self.framing {
            Framing::Raw => {}
            Framing::Capsules => {
                capsule::write_number(&mut self.head, capsule::DATA);
                capsule::write_number(&mut self.head, payload.len() as u64);
            }
            Framing::WebSocket => {
                let key = self.masks.as_mut().map(Masks::next).transpose()?;
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

    /// Appends the end of the direction. For raw bytes it is nothing: the leg itself has to end.
    ///
    /// # Errors
    /// As those of [`Encoder::data`].
    pub fn fin(&mut self, out: &mut Vec<u8>) -> io::Result<()> {
        match self.framing {
            Framing::Raw => Ok(()),
            Framing::Capsules => {
                write_capsule(out, capsule::FINAL_DATA, &[]);
                Ok(())
            }
            Framing::WebSocket => self.close(out, NORMAL, ""),
        }
    }

    /// Appends a question whether the other end is there. For raw bytes it is nothing.
    ///
    /// # Errors
    /// As those of [`Encoder::data`].
    pub fn ping(&mut self, out: &mut Vec<u8>) -> io::Result<()> {
        self.control(out, capsule::PING, Opcode::Ping, &[])
    }

    /// Appends the answer to a ping with `payload`.
    ///
    /// # Errors
    /// As those of [`Encoder::data`].
    pub fn pong(&mut self, out: &mut Vec<u8>, payload: &[u8]) -> io::Result<()> {
        self.control(out, capsule::PONG, Opcode::Pong, payload)
    }

    /// Appends that all bytes before `offset` have been passed on. Only capsules can say so.
    pub fn ack(&mut self, out: &mut Vec<u8>, offset: u64) {
        if self.framing == Framing::Capsules {
            let mut number = Vec::with_capacity(8);
            capsule::write_number(&mut number, offset);
            write_capsule(out, capsule::ACK, &number);
        }
    }

    /// Appends that this end gives up, with a status of WebSocket (RFC 6455, 7.4.1). Raw bytes cannot say so.
    ///
    /// # Errors
    /// As those of [`Encoder::data`].
    pub fn close(&mut self, out: &mut Vec<u8>, status: u16, words: &str) -> io::Result<()> {
        let end = words.floor_char_boundary(MAX_CONTROL_PAYLOAD as usize - 2);
        let payload = [&status.to_be_bytes(), &words.as_bytes()[..end]].concat();
        self.control(out, capsule::CLOSE, Opcode::Close, &payload)
    }

    /// Appends that this end of a session will not come back. Only capsules can say so.
    pub fn done(&mut self, out: &mut Vec<u8>) {
        if self.framing == Framing::Capsules {
            write_capsule(out, capsule::DONE, &[]);
        }
    }

    fn control(&mut self, out: &mut Vec<u8>, kind: u64, opcode: Opcode, payload: &[u8]) -> io::Result<()> {
        match self.framing {
            Framing::Raw => {}
            Framing::Capsules => write_capsule(out, kind, payload),
            Framing::WebSocket => self.write_frame(out, opcode, payload)?,
        }
        Ok(())
    }

    fn write_frame(&mut self, out: &mut Vec<u8>, opcode: Opcode, payload: &[u8]) -> io::Result<()> {
        let key = self.masks.as_mut().map(Masks::next).transpose()?;
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

/// Keys that nobody can know beforehand, as RFC 6455, 10.3 demands: a fresh one for each frame.
#[derive(Default)]
struct Masks {
    drawn: [[u8; 4]; KEYS],
    left: usize,
}

impl Masks {
    fn next(&mut self) -> io::Result<[u8; 4]> {
        if self.left == 0 {
            let none = |_| io::Error::other("the system has no random numbers");
            SystemRandom::new().fill(self.drawn.as_flattened_mut()).map_err(none)?;
            self.left = KEYS;
        }
        self.left -= 1;
        Ok(self.drawn[self.left])
    }
}
