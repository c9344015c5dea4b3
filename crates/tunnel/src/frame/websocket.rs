//! WebSocket frames (RFC 6455). Only the bytes count: messages may have any type, length and
//! fragments.

use outflow_wire::websocket::{FrameHead, FrameSender, Opcode, mask};

use super::event::{FrameError, FrameEvent};
use super::head::{PartialHead, payload_len, read_close};

/// The status of a direction that is complete (RFC 6455, 7.4.1).
pub(super) const NORMAL: u16 = 1000;

#[derive(Debug)]
pub(super) struct WebSocketDecoder {
    sender: FrameSender,
    head: PartialHead,
    /// The frame whose payload is arriving.
    frame: Option<FrameState>,
    control: Vec<u8>,
    /// A message has begun, and its last fragment has not.
    in_message: bool,
    /// A Close has arrived.
    ended: bool,
}

#[derive(Clone, Copy, Debug)]
struct FrameState {
    opcode: Opcode,
    key: Option<[u8; 4]>,
    at: u64,
    remaining: u64,
}

impl WebSocketDecoder {
    pub(super) fn new(sender: FrameSender) -> WebSocketDecoder {
        WebSocketDecoder {
            sender,
            head: PartialHead::default(),
            frame: None,
            control: Vec::new(),
            in_message: false,
            ended: false,
        }
    }

    pub(super) fn decode(&mut self, bytes: &mut [u8]) -> Result<(usize, Option<FrameEvent>), FrameError> {
        let mut used = 0;
        loop {
            let rest = &mut bytes[used..];
            match &mut self.frame {
                Some(FrameState { opcode, remaining: 0, .. }) => {
                    let opcode = *opcode;
                    self.frame = None;
                    if let Some(event) = self.complete(opcode)? {
                        return Ok((used, Some(event)));
                    }
                }
                _ if rest.is_empty() => return Ok((used, None)),
                Some(frame) => {
                    let n = payload_len(rest, frame.remaining);
                    let rest = &mut rest[..n];
                    if let Some(key) = frame.key {
                        mask(rest, key, frame.at);
                    }
                    frame.at += n as u64;
                    frame.remaining -= n as u64;
                    used += n;
                    if !frame.opcode.is_control() {
                        return Ok((used, Some(FrameEvent::Data(n))));
                    }
                    // At most 125 bytes: the head was checked.
                    self.control.extend_from_slice(rest);
                }
                None => {
                    let sender = self.sender;
                    let parse = |head: &[u8]| FrameHead::parse(head, sender).map_err(FrameError::Head);
                    let (n, head) = self.head.take(rest, parse)?;
                    used += n;
                    if let Some(head) = head {
                        self.begin(&head)?;
                    }
                }
            }
        }
    }

    /// Bytes that are missing of the current frame.
    pub(super) fn remaining(&self) -> u64 {
        self.frame.map_or(0, |frame| frame.remaining)
    }

    fn begin(&mut self, head: &FrameHead) -> Result<(), FrameError> {
        if !head.opcode.is_control() {
            if self.ended {
                return Err(FrameError::DataAfterEnd);
            }
            if self.in_message != (head.opcode == Opcode::Continuation) {
                return Err(FrameError::Fragments);
            }
            self.in_message = !head.fin;
        }
        self.frame = Some(FrameState { opcode: head.opcode, key: head.mask, at: 0, remaining: head.payload });
        Ok(())
    }

    /// The event that a complete frame stands for.
    fn complete(&mut self, opcode: Opcode) -> Result<Option<FrameEvent>, FrameError> {
        let bytes = match opcode {
            Opcode::Continuation | Opcode::Text | Opcode::Binary => return Ok(None),
            Opcode::Close | Opcode::Ping | Opcode::Pong => std::mem::take(&mut self.control),
        };
        Ok(match opcode {
            // Nothing may follow a Close, but a ping that was already under way does no harm.
            Opcode::Ping => Some(FrameEvent::Ping(bytes)),
            Opcode::Pong => Some(FrameEvent::Pong),
            _ if self.ended => return Err(FrameError::DataAfterEnd),
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

/// The event that the payload of a Close stands for.
fn close(payload: &[u8]) -> Result<FrameEvent, FrameError> {
    match read_close(payload) {
        None if payload.is_empty() => Ok(FrameEvent::Fin),
        None => Err(FrameError::Close),
        Some((NORMAL, _)) => Ok(FrameEvent::Fin),
        Some((status, reason)) => Ok(FrameEvent::Closed(status, reason)),
    }
}
