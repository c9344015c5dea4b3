//! What WebSocket clients say: they may ping, answer and say farewell, and nothing else.

use outflow_wire::websocket::{FrameHead, FrameSender, MAX_CONTROL_PAYLOAD, MAX_FRAME_HEAD, Opcode, mask};

use super::DATA;
use super::words::Farewell;

/// As much as it takes to read one frame, in bytes.
pub(super) const ROOM: usize = MAX_FRAME_HEAD + MAX_CONTROL_PAYLOAD as usize;

/// What a client has said.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Said<'a> {
    /// Not all of it is there.
    Part,
    /// Nothing that matters, in so many bytes.
    Nothing(usize),
    /// A ping in so many bytes; what it has to be answered with.
    Ping(usize, &'a [u8]),
    /// What the connection ends with.
    Over(Farewell),
}

/// Reads the first frame in `bytes`, and unmasks it there.
pub(super) fn said(bytes: &mut [u8]) -> Said<'_> {
    let refused = |code, why| Said::Over(Farewell::Refused(code, why));
    let head = match FrameHead::parse(bytes, FrameSender::Client) {
        Ok(Some(head)) => head,
        Ok(None) => return Said::Part,
        Err(_) if bytes.get(1).is_some_and(|second| second & 0x80 == 0) => {
            return refused(1002, "a frame without a mask");
        }
        Err(_) => return refused(1002, "a malformed frame"),
    };
    if !head.opcode.is_control() {
        return if head.payload > DATA as u64 {
            refused(1009, "a frame that is too long")
        } else {
            refused(1003, "nothing is published here but by POST")
        };
    }
    // 125 at the most.
    let end = head.len + head.payload as usize;
    let Some(payload) = bytes.get_mut(head.len..end) else { return Said::Part };
    match head.opcode {
        Opcode::Close => Said::Over(Farewell::Answered),
        Opcode::Ping => {
            if let Some(key) = head.mask {
                mask(payload, key, 0);
            }
            Said::Ping(end, payload)
        }
        _ => Said::Nothing(end),
    }
}

/// The answer to a ping.
pub(super) fn pong(payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(2 + payload.len());
    FrameHead::write(&mut frame, Opcode::Pong, payload.len() as u64, None);
    frame.extend_from_slice(payload);
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(opcode: Opcode, payload: &[u8]) -> Vec<u8> {
        let (mut bytes, key) = (Vec::new(), [1, 2, 3, 4]);
        FrameHead::write(&mut bytes, opcode, payload.len() as u64, Some(key));
        let at = bytes.len();
        bytes.extend_from_slice(payload);
        mask(&mut bytes[at..], key, 0);
        bytes
    }

    #[test]
    fn pings_are_heard_once_they_are_there() {
        let mut ping = frame(Opcode::Ping, b"hello");
        assert!(ping.len() <= ROOM);
        for end in 0..ping.len() {
            assert_eq!(said(&mut ping[..end]), Said::Part);
        }
        let len = ping.len();
        ping.push(0);
        assert_eq!(said(&mut ping), Said::Ping(len, b"hello"));
        assert_eq!(pong(b"hello"), b"\x8a\x05hello");
        assert_eq!(said(&mut frame(Opcode::Pong, b"")), Said::Nothing(6));
        assert_eq!(said(&mut frame(Opcode::Close, b"\x03\xe8")), Said::Over(Farewell::Answered));
    }

    #[test]
    fn what_may_not_be_said_is_refused_with_its_code() {
        let code = |bytes: &mut [u8]| match said(bytes) {
            Said::Over(Farewell::Refused(code, _)) => code,
            other => panic!("{other:?}"),
        };
        assert_eq!(code(&mut [0x89, 0x00]), 1002);
        assert_eq!(code(&mut [0xff, 0x80]), 1002);
        assert_eq!(code(&mut frame(Opcode::Text, b"x")), 1003);
        assert_eq!(code(&mut frame(Opcode::Continuation, b"x")), 1003);
        // The head is enough.
        assert_eq!(code(&mut frame(Opcode::Binary, &[0; DATA + 1])[..MAX_FRAME_HEAD]), 1009);
    }
}
