//! Capsules: a type, a length, that many bytes (RFC 9297, 3.2).
//!
//! Capsules of unknown types are skipped, as that section requires. So the other end need not know
//! PING, PONG, ACK, CLOSE and DONE, which are our own.

use outflow_wire::websocket::MAX_CONTROL_PAYLOAD;

use super::event::{FrameError, FrameEvent};
use super::head::{PartialHead, payload_len, read_close};

/// Payload (draft-ietf-httpbis-connect-tcp-12; the number is that for interoperability tests).
pub(super) const DATA: u64 = 0x2028_d7f2;

/// The last of the payload, possibly empty: the end of the direction (likewise).
pub(super) const FINAL_DATA: u64 = 0x2028_d7f3;

/// Asks for a PONG with the same bytes, at most 125.
pub(super) const PING: u64 = 0x2f75_7401;

/// Answers a PING.
pub(super) const PONG: u64 = 0x2f75_7402;

/// One number: all bytes before this offset have been passed on.
pub(super) const ACK: u64 = 0x2f75_7403;

/// The sender gives up, its far end is lost: the payload of a WebSocket Close, at most 125 bytes.
pub(super) const CLOSE: u64 = 0x2f75_7404;

/// The sender's session is complete; it will not reconnect.
pub(super) const DONE: u64 = 0x2f75_7405;

/// The largest number of the encoding (RFC 9000, 16).
const LARGEST: u64 = (1 << 62) - 1;

/// Appends a number in the encoding of RFC 9000, 16, in the fewest bytes. A larger number cannot
/// occur: a stream would need four exabytes.
pub(super) fn write_number(out: &mut Vec<u8>, number: u64) {
    let number = number.min(LARGEST);
    let wide = number.to_be_bytes();
    let (len, mark) = match number {
        0..=0x3f => (1, 0x00),
        0x40..=0x3fff => (2, 0x40),
        0x4000..=0x3fff_ffff => (4, 0x80),
        _ => (8, 0xc0),
    };
    let at = out.len();
    out.extend_from_slice(&wide[8 - len..]);
    out[at] |= mark;
}

/// The number at the front of `bytes`, and the rest. `None` if it is incomplete.
fn read_number(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let first = *bytes.first()?;
    let (number, rest) = bytes.split_at_checked(1 << (first >> 6))?;
    let value = number[1..].iter().fold(u64::from(first & 0x3f), |value, byte| value << 8 | u64::from(*byte));
    Some((value, rest))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CapsuleState {
    Head,
    /// In the payload; `last` for a FINAL_DATA.
    Data {
        remaining: u64,
        last: bool,
    },
    /// In a capsule whose payload is collected.
    Control {
        kind: u64,
        remaining: u64,
    },
    /// In a capsule of an unknown type.
    Skip {
        remaining: u64,
    },
    /// The end has arrived and is not reported yet.
    Fin,
}

#[derive(Debug)]
pub(super) struct CapsuleDecoder {
    state: CapsuleState,
    head: PartialHead,
    control: Vec<u8>,
    /// FINAL_DATA has begun: no other capsule may carry payload.
    last: bool,
    /// The end has been reported.
    ended: bool,
}

impl Default for CapsuleDecoder {
    fn default() -> CapsuleDecoder {
        CapsuleDecoder {
            state: CapsuleState::Head,
            head: PartialHead::default(),
            control: Vec::new(),
            last: false,
            ended: false,
        }
    }
}

impl CapsuleDecoder {
    pub(super) fn decode(&mut self, bytes: &mut [u8]) -> Result<(usize, Option<FrameEvent>), FrameError> {
        let mut used = 0;
        loop {
            let rest = &bytes[used..];
            match &mut self.state {
                CapsuleState::Fin => {
                    self.state = CapsuleState::Head;
                    self.ended = true;
                    return Ok((used, Some(FrameEvent::Fin)));
                }
                CapsuleState::Data { remaining: 0, last: true } => self.state = CapsuleState::Fin,
                CapsuleState::Data { remaining: 0, .. } | CapsuleState::Skip { remaining: 0 } => {
                    self.state = CapsuleState::Head
                }
                CapsuleState::Control { kind, remaining: 0 } => {
                    let kind = *kind;
                    self.state = CapsuleState::Head;
                    return Ok((used, Some(control(kind, std::mem::take(&mut self.control))?)));
                }
                _ if rest.is_empty() => return Ok((used, None)),
                CapsuleState::Head => {
                    let (n, head) = self.head.take(rest, |head| Ok(parse(head)))?;
                    used += n;
                    if let Some((kind, length)) = head {
                        self.begin(kind, length)?;
                    }
                }
                CapsuleState::Data { remaining, .. } => {
                    let n = payload_len(rest, *remaining);
                    *remaining -= n as u64;
                    return Ok((used + n, Some(FrameEvent::Data(n))));
                }
                CapsuleState::Control { remaining, .. } => {
                    let n = payload_len(rest, *remaining);
                    *remaining -= n as u64;
                    self.control.extend_from_slice(&rest[..n]);
                    used += n;
                }
                CapsuleState::Skip { remaining } => {
                    let n = payload_len(rest, *remaining);
                    *remaining -= n as u64;
                    used += n;
                }
            }
        }
    }

    fn begin(&mut self, kind: u64, remaining: u64) -> Result<(), FrameError> {
        self.state = match kind {
            DATA | FINAL_DATA if self.last => return Err(FrameError::DataAfterEnd),
            DATA | FINAL_DATA => {
                self.last = kind == FINAL_DATA;
                CapsuleState::Data { remaining, last: self.last }
            }
            PING | PONG | ACK | CLOSE | DONE if remaining > MAX_CONTROL_PAYLOAD => {
                return Err(FrameError::LongControl);
            }
            PING | PONG | ACK | CLOSE | DONE => CapsuleState::Control { kind, remaining },
            _ => CapsuleState::Skip { remaining },
        };
        Ok(())
    }

    /// Bytes that are missing of the current payload.
    pub(super) fn remaining(&self) -> u64 {
        match self.state {
            CapsuleState::Data { remaining, .. } => remaining,
            _ => 0,
        }
    }

    pub(super) fn is_ended(&self) -> bool {
        // A leg may break within a capsule after the end: none that counts may follow.
        self.ended
    }
}

/// The type and the length in a head.
fn parse(head: &[u8]) -> Option<(u64, u64)> {
    let (kind, rest) = read_number(head)?;
    let (length, _) = read_number(rest)?;
    Some((kind, length))
}

fn control(kind: u64, bytes: Vec<u8>) -> Result<FrameEvent, FrameError> {
    Ok(match kind {
        PING => FrameEvent::Ping(bytes),
        PONG => FrameEvent::Pong,
        DONE => FrameEvent::Done,
        CLOSE => {
            let (status, reason) = read_close(&bytes).ok_or(FrameError::Close)?;
            FrameEvent::Closed(status, reason)
        }
        _ => match read_number(&bytes) {
            Some((offset, [])) => FrameEvent::Ack(offset),
            _ => return Err(FrameError::Ack),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_the_rfc() {
        // RFC 9000, A.1.
        for (number, bytes) in [
            (151_288_809_941_952_652, &[0xc2, 0x19, 0x7c, 0x5e, 0xff, 0x14, 0xe8, 0x8c][..]),
            (494_878_333, &[0x9d, 0x7f, 0x3e, 0x7d]),
            (15_293, &[0x7b, 0xbd]),
            (37, &[0x25]),
        ] {
            let mut out = Vec::new();
            write_number(&mut out, number);
            assert_eq!(out, bytes);
            assert_eq!(read_number(bytes), Some((number, &[][..])));
            assert_eq!(read_number(&bytes[..bytes.len() - 1]), None);
        }
        assert_eq!(read_number(&[0x40, 0x25, 7]), Some((37, &[7][..])), "a longer form is fine");
    }

    #[test]
    fn our_types_are_not_among_those_that_are_sent_to_be_skipped() {
        for kind in [PING, PONG, ACK, CLOSE, DONE] {
            assert_ne!((kind - 0x17) % 0x29, 0, "RFC 9297, 5.4");
        }
    }
}
