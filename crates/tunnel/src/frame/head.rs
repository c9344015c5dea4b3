//! Heads of frames: the room for one, one that has arrived in part, and what the two decoders
//! share.

use outflow_wire::websocket::MAX_FRAME_HEAD;

use super::event::FrameError;

/// Room in front of a payload that fits the head of any frame, in bytes: 14 for WebSocket, 16 for a
/// capsule.
pub const HEAD_ROOM: usize = 16;

const _: () = assert!(MAX_FRAME_HEAD <= HEAD_ROOM);

/// The part of a frame's head that has arrived.
#[derive(Debug, Default)]
pub(super) struct PartialHead {
    bytes: [u8; HEAD_ROOM],
    len: usize,
}

impl PartialHead {
    /// Takes bytes until `parse` finds a complete head; returns how many it took, and the head.
    pub(super) fn take<T>(
        &mut self,
        bytes: &[u8],
        parse: impl Fn(&[u8]) -> Result<Option<T>, FrameError>,
    ) -> Result<(usize, Option<T>), FrameError> {
        for (at, byte) in bytes.iter().enumerate() {
            // One at a time: heads are short, and `HEAD_ROOM` holds the longest.
            self.bytes[self.len] = *byte;
            self.len += 1;
            if let Some(head) = parse(&self.bytes[..self.len])? {
                self.len = 0;
                return Ok((at + 1, Some(head)));
            }
        }
        Ok((bytes.len(), None))
    }
}

/// How many of `bytes` belong to a payload of which `remaining` bytes are missing.
pub(super) fn payload_len(bytes: &[u8], remaining: u64) -> usize {
    usize::try_from(remaining).unwrap_or(usize::MAX).min(bytes.len())
}

/// The status and the reason of a Close.
pub(super) fn read_close(payload: &[u8]) -> Option<(u16, String)> {
    let (status, reason) = payload.split_first_chunk()?;
    Some((u16::from_be_bytes(*status), String::from_utf8_lossy(reason).into_owned()))
}
