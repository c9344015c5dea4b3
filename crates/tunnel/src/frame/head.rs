//! Heads of frames: the room for one, one that has come in part, and what the two decoders share.

use outflow_wire::websocket::MAX_FRAME_HEAD;

use super::event::Malformed;

/// Room in front of a payload that the head of any frame fits in, in bytes: 14 for WebSocket, 16 for a capsule.
pub const HEAD_ROOM: usize = 16;

const _: () = assert!(MAX_FRAME_HEAD <= HEAD_ROOM);

/// The head of a frame, as far as it has come.
#[derive(Debug, Default)]
pub(super) struct Partial {
    bytes: [u8; HEAD_ROOM],
    len: usize,
}

impl Partial {
    /// Takes bytes until `parse` finds a head in them: how many were used, and what was found.
    pub(super) fn take<T>(
        &mut self,
        bytes: &[u8],
        parse: impl Fn(&[u8]) -> Result<Option<T>, Malformed>,
    ) -> Result<(usize, Option<T>), Malformed> {
        for (at, byte) in bytes.iter().enumerate() {
            // One at a time: heads are short, and none is longer than the room.
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

/// How much of `bytes` belongs to a payload of which `left` bytes are missing.
pub(super) fn part(bytes: &[u8], left: u64) -> usize {
    usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len())
}

/// A Close's status and words.
pub(super) fn read_close(payload: &[u8]) -> Option<(u16, String)> {
    let (status, words) = payload.split_first_chunk()?;
    Some((u16::from_be_bytes(*status), String::from_utf8_lossy(words).into_owned()))
}
