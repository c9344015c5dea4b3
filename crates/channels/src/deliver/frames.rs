//! WebSocket frames from clients: pings, pongs and close frames; anything else ends the connection.

use outflow_wire::websocket::{FrameHead, FrameSender, MAX_CONTROL_PAYLOAD, MAX_FRAME_HEAD, Opcode, mask};

use super::wire_format::CloseReason;
use crate::channel::event::MAX_DATA;

/// Size of a client's frame that is read, in bytes: the longest head and the longest control frame.
///
/// Bound: channels. 139 bytes
pub(crate) const MAX_FRAME: usize = MAX_FRAME_HEAD + MAX_CONTROL_PAYLOAD as usize;

/// The first frame in a buffer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ClientFrame<'a> {
    /// The frame is not complete.
    Incomplete,
    /// A frame without an effect, of this length.
    Ignored(usize),
    /// A ping of this length, and its payload.
    Ping(usize, &'a [u8]),
    /// The connection has to be closed.
    Close(CloseReason),
}

/// Reads the first frame in `bytes`, and unmasks its payload in place.
pub(crate) fn read_frame(bytes: &mut [u8]) -> ClientFrame<'_> {
    let rejected = |code, why| ClientFrame::Close(CloseReason::Rejected(code, why));
    let head = match FrameHead::parse(bytes, FrameSender::Client) {
        Ok(Some(head)) => head,
        Ok(None) => return ClientFrame::Incomplete,
        Err(_) if bytes.get(1).is_some_and(|second| second & 0x80 == 0) => {
            return rejected(1002, "a frame without a mask");
        }
        Err(_) => return rejected(1002, "a malformed frame"),
    };
    if !head.opcode.is_control() {
        return if head.payload > MAX_DATA as u64 {
            rejected(1009, "the frame is too long")
        } else {
            rejected(1003, "publish with POST, not by frames")
        };
    }
    // `parse` limits the payload of a control frame to 125 bytes.
    let end = head.len + head.payload as usize;
    let Some(payload) = bytes.get_mut(head.len..end) else { return ClientFrame::Incomplete };
    match head.opcode {
        Opcode::Close => ClientFrame::Close(CloseReason::ClosedByClient),
        Opcode::Ping => {
            if let Some(key) = head.mask {
                mask(payload, key, 0);
            }
            ClientFrame::Ping(end, payload)
        }
        _ => ClientFrame::Ignored(end),
    }
}

/// The frame that answers a ping.
pub(crate) fn pong(payload: &[u8]) -> Vec<u8> {
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
        assert!(ping.len() <= MAX_FRAME);
        for end in 0..ping.len() {
            assert_eq!(read_frame(&mut ping[..end]), ClientFrame::Incomplete);
        }
        let len = ping.len();
        ping.push(0);
        assert_eq!(read_frame(&mut ping), ClientFrame::Ping(len, b"hello"));
        assert_eq!(pong(b"hello"), b"\x8a\x05hello");
        assert_eq!(read_frame(&mut frame(Opcode::Pong, b"")), ClientFrame::Ignored(6));
        assert_eq!(
            read_frame(&mut frame(Opcode::Close, b"\x03\xe8")),
            ClientFrame::Close(CloseReason::ClosedByClient)
        );
    }

    #[test]
    fn what_may_not_be_said_is_refused_with_its_code() {
        let code = |bytes: &mut [u8]| match read_frame(bytes) {
            ClientFrame::Close(CloseReason::Rejected(code, _)) => code,
            other => panic!("{other:?}"),
        };
        assert_eq!(code(&mut [0x89, 0x00]), 1002);
        assert_eq!(code(&mut [0xff, 0x80]), 1002);
        assert_eq!(code(&mut frame(Opcode::Text, b"x")), 1003);
        assert_eq!(code(&mut frame(Opcode::Continuation, b"x")), 1003);
        // The head alone is enough to reject it.
        assert_eq!(code(&mut frame(Opcode::Binary, &[0; MAX_DATA + 1])[..MAX_FRAME_HEAD]), 1009);
    }
}
