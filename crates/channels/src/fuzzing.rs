//! Entry point for a fuzz target; compiled for it only.

use outflow_wire::websocket::{FrameHead, FrameSender, Opcode};

use crate::deliver::frames::{ClientFrame, MAX_FRAME, pong, read_frame};

/// Reads `bytes` as frames of a subscriber. What is decided about a frame stays decided, however
/// many bytes follow it, and a pong carries the payload of its ping.
pub fn frames(bytes: &[u8]) {
    let mut at = 0;
    loop {
        let rest = &bytes[at..];
        let mut lengths = 0..=rest.len().min(MAX_FRAME);
        let decided = lengths.find(|len| read_frame(&mut rest[..*len].to_vec()) != ClientFrame::Incomplete);
        let Some(len) = decided else {
            assert!(rest.len() < MAX_FRAME, "a frame without a bound");
            return;
        };
        let (mut short, mut long) = (rest[..len].to_vec(), rest.to_vec());
        let frame = read_frame(&mut short);
        assert_eq!(frame, read_frame(&mut long), "what follows byte {len} changes it");
        let used = match frame {
            ClientFrame::Ping(used, payload) => {
                let answer = pong(payload);
                let head = FrameHead::parse(&answer, FrameSender::Server);
                let Ok(Some(FrameHead { fin: true, opcode: Opcode::Pong, payload: n, len, .. })) = head
                else {
                    panic!("no pong: {head:?}");
                };
                assert_eq!((n as usize, &answer[len..]), (payload.len(), payload));
                used
            }
            ClientFrame::Ignored(used) => used,
            ClientFrame::Close(_) | ClientFrame::Incomplete => return,
        };
        assert_eq!(used, len, "complete before its last byte, or after it");
        at += used;
    }
}
