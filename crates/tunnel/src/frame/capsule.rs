//! Capsules: a type, a length, that many bytes (RFC 9297, 3.2).
//!
//! Those of other types than the ones here are skipped, as that section demands. So it does not matter whether the
//! other end knows PING, PONG, ACK, CLOSE and DONE, which nobody else has.

use outflow_wire::websocket::MAX_CONTROL_PAYLOAD;

use super::event::{Event, Malformed};
use super::head::{Partial, part, read_close};

/// Payload (draft-ietf-httpbis-connect-tcp-12; the number is the one for tests between implementations).
pub(super) const DATA: u64 = 0x2028_d7f2;

/// The last of the payload, maybe none: the end of the direction (likewise).
pub(super) const FINAL_DATA: u64 = 0x2028_d7f3;

/// To be answered by a PONG with the same bytes, at most 125.
pub(super) const PING: u64 = 0x2f75_7401;

/// The answer.
pub(super) const PONG: u64 = 0x2f75_7402;

/// One number: all bytes before this offset have been passed on.
pub(super) const ACK: u64 = 0x2f75_7403;

/// The sender gives up, and its far end is lost: what a Close of WebSocket says, at most 125 bytes.
pub(super) const CLOSE: u64 = 0x2f75_7404;

/// The sender of a session has all that it wanted to know, and will not come back for it.
pub(super) const DONE: u64 = 0x2f75_7405;

/// The largest number that can be written (RFC 9000, 16).
const LARGEST: u64 = (1 << 62) - 1;

/// Appends a number as RFC 9000, 16 writes it, in the fewest bytes. One that is too large cannot occur: a stream would
/// have to have four exabytes.
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

/// The number that `bytes` begin with, and what is behind it. `None` if there is not all of it.
fn read_number(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let first = *bytes.first()?;
    let (number, rest) = bytes.split_at_checked(1 << (first >> 6))?;
    let value = number[1..].iter().fold(u64::from(first & 0x3f), |value, byte| value << 8 | u64::from(*byte));
    Some((value, rest))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Head,
    /// In the payload. `last`: of a FINAL_DATA.
    Data {
        left: u64,
        last: bool,
    },
    /// In a capsule that is collected.
    Control {
        kind: u64,
        left: u64,
    },
    /// In one that is not.
    Skip {
        left: u64,
    },
    /// The end has come, and has to be told.
    Fin,
}

#[derive(Debug)]
pub(super) struct Decoder {
    state: State,
    head: Partial,
    control: Vec<u8>,
    /// FINAL_DATA has begun: no more payload may come in another capsule.
    last: bool,
    /// It has been told.
    ended: bool,
}

impl Default for Decoder {
    fn default() -> Decoder {
        Decoder {
            state: State::Head,
            head: Partial::default(),
            control: Vec::new(),
            last: false,
            ended: false,
        }
    }
}

impl Decoder {
    pub(super) fn decode(&mut self, bytes: &mut [u8]) -> Result<(usize, Option<Event>), Malformed> {
        let mut used = 0;
        loop {
            let rest = &bytes[used..];
            match &mut self.state {
                State::Fin => {
                    self.state = State::Head;
                    self.ended = true;
                    return Ok((used, Some(Event::Fin)));
                }
                State::Data { left: 0, last: true } => self.state = State::Fin,
                State::Data { left: 0, .. } | State::Skip { left: 0 } => self.state = State::Head,
                State::Control { kind, left: 0 } => {
                    let kind = *kind;
                    self.state = State::Head;
                    return Ok((used, Some(control(kind, std::mem::take(&mut self.control))?)));
                }
                _ if rest.is_empty() => return Ok((used, None)),
                State::Head => {
                    let (n, head) = self.head.take(rest, |head| Ok(parse(head)))?;
                    used += n;
                    if let Some((kind, length)) = head {
                        self.begin(kind, length)?;
                    }
                }
                State::Data { left, .. } => {
                    let n = part(rest, *left);
                    *left -= n as u64;
                    return Ok((used + n, Some(Event::Data(n))));
                }
                State::Control { left, .. } => {
                    let n = part(rest, *left);
                    *left -= n as u64;
                    self.control.extend_from_slice(&rest[..n]);
                    used += n;
                }
                State::Skip { left } => {
                    let n = part(rest, *left);
                    *left -= n as u64;
                    used += n;
                }
            }
        }
    }

    fn begin(&mut self, kind: u64, left: u64) -> Result<(), Malformed> {
        self.state = match kind {
            DATA | FINAL_DATA if self.last => return Err(Malformed::BehindEnd),
            DATA | FINAL_DATA => {
                self.last = kind == FINAL_DATA;
                State::Data { left, last: self.last }
            }
            PING | PONG | ACK | CLOSE | DONE if left > MAX_CONTROL_PAYLOAD => {
                return Err(Malformed::LongControl);
            }
            PING | PONG | ACK | CLOSE | DONE => State::Control { kind, left },
            _ => State::Skip { left },
        };
        Ok(())
    }

    /// What is missing of the payload that is under way.
    pub(super) fn left(&self) -> u64 {
        match self.state {
            State::Data { left, .. } => left,
            _ => 0,
        }
    }

    pub(super) fn is_ended(&self) -> bool {
        // In the middle of a capsule behind the end, there was nothing more to be said that counts.
        self.ended
    }
}

/// The type and the length that `head` consists of.
fn parse(head: &[u8]) -> Option<(u64, u64)> {
    let (kind, rest) = read_number(head)?;
    let (length, _) = read_number(rest)?;
    Some((kind, length))
}

fn control(kind: u64, bytes: Vec<u8>) -> Result<Event, Malformed> {
    Ok(match kind {
        PING => Event::Ping(bytes),
        PONG => Event::Pong,
        DONE => Event::Done,
        CLOSE => {
            let (status, words) = read_close(&bytes).ok_or(Malformed::Close)?;
            Event::Closed(status, words)
        }
        _ => match read_number(&bytes) {
            Some((offset, [])) => Event::Ack(offset),
            _ => return Err(Malformed::Ack),
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
