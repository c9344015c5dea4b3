//! WebSocket frames (RFC 6455), of which only the bytes count: messages of any kind and length, in any fragments.

use outflow_wire::websocket::{FrameHead, FrameSender, Opcode, mask};

use super::event::{Event, Malformed};
use super::head::{Partial, part, read_close};

/// The status of a direction that is complete (RFC 6455, 7.4.1).
pub(super) const NORMAL: u16 = 1000;

#[derive(Debug)]
pub(super) struct Decoder {
    sender: FrameSender,
    head: Partial,
    /// The frame that is under way.
    frame: Option<Frame>,
    control: Vec<u8>,
    /// A message has begun whose last fragment has not.
    in_message: bool,
    /// A Close has come.
    ended: bool,
}

#[derive(Clone, Copy, Debug)]
struct Frame {
    opcode: Opcode,
    key: Option<[u8; 4]>,
    at: u64,
    left: u64,
}

impl Decoder {
    pub(super) fn new(sender: FrameSender) -> Decoder {
        Decoder {
            sender,
            head: Partial::default(),
            frame: None,
            control: Vec::new(),
            in_message: false,
            ended: false,
        }
    }

    pub(super) fn decode(&mut self, bytes: &mut [u8]) -> Result<(usize, Option<Event>), Malformed> {
        let mut used = 0;
        loop {
            let rest = &mut bytes[used..];
            match &mut self.frame {
                Some(Frame { opcode, left: 0, .. }) => {
                    let opcode = *opcode;
                    self.frame = None;
                    if let Some(event) = self.end_of(opcode)? {
                        return Ok((used, Some(event)));
                    }
                }
                _ if rest.is_empty() => return Ok((used, None)),
                Some(frame) => {
                    let n = part(rest, frame.left);
                    let rest = &mut rest[..n];
                    if let Some(key) = frame.key {
                        mask(rest, key, frame.at);
                    }
                    frame.at += n as u64;
                    frame.left -= n as u64;
                    used += n;
                    if !frame.opcode.is_control() {
                        return Ok((used, Some(Event::Data(n))));
                    }
                    // No more than 125 bytes: the head was checked.
                    self.control.extend_from_slice(rest);
                }
                None => {
                    let sender = self.sender;
                    let parse = |head: &[u8]| FrameHead::parse(head, sender).map_err(Malformed::Frame);
                    let (n, head) = self.head.take(rest, parse)?;
                    used += n;
                    if let Some(head) = head {
                        self.begin(&head)?;
                    }
                }
            }
        }
    }

    /// What is missing of the frame that is under way.
    pub(super) fn left(&self) -> u64 {
        self.frame.map_or(0, |frame| frame.left)
    }

    fn begin(&mut self, head: &FrameHead) -> Result<(), Malformed> {
        if !head.opcode.is_control() {
            if self.ended {
                return Err(Malformed::BehindEnd);
            }
            if self.in_message != (head.opcode == Opcode::Continuation) {
                return Err(Malformed::Fragments);
            }
            self.in_message = !head.fin;
        }
        self.frame = Some(Frame { opcode: head.opcode, key: head.mask, at: 0, left: head.payload });
        Ok(())
    }

    /// What a frame means now that all of it is there.
    fn end_of(&mut self, opcode: Opcode) -> Result<Option<Event>, Malformed> {
        let bytes = match opcode {
            Opcode::Continuation | Opcode::Text | Opcode::Binary => return Ok(None),
            Opcode::Close | Opcode::Ping | Opcode::Pong => std::mem::take(&mut self.control),
        };
        Ok(match opcode {
            // Nothing may follow a Close, but a ping that had been under way does no harm.
            Opcode::Ping => Some(Event::Ping(bytes)),
            Opcode::Pong => Some(Event::Pong),
            _ if self.ended => return Err(Malformed::BehindEnd),
            _ => {
                self.ended = true;
                Some(close(&bytes)?)
            }
        })
    }

    pub(super) fn is_ended(&self) -> bool {
        self.ended
    }
}

/// What a Close's payload means.
fn close(payload: &[u8]) -> Result<Event, Malformed> {
    match read_close(payload) {
        None if payload.is_empty() => Ok(Event::Fin),
        None => Err(Malformed::Close),
        Some((NORMAL, _)) => Ok(Event::Fin),
        Some((status, words)) => Ok(Event::Closed(status, words)),
    }
}
