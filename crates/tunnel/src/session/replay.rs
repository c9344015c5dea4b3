//! Bytes that were sent and are not acknowledged.

use std::collections::VecDeque;

/// The bytes of one direction from the last acknowledged offset on. Frees its memory when it is
/// empty.
#[derive(Debug)]
pub(super) struct ReplayBuffer {
    bytes: VecDeque<u8>,
    /// The offset of the first byte.
    start: u64,
    window: usize,
    /// No more bytes will follow.
    ended: bool,
    /// Everything is acknowledged, including the end.
    settled: bool,
}

/// An offset of bytes that were never sent.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct OutOfWindow;

impl ReplayBuffer {
    pub(super) fn new(window: usize) -> ReplayBuffer {
        ReplayBuffer { bytes: VecDeque::new(), start: 0, window, ended: false, settled: false }
    }

    /// The offset of the first byte that is not acknowledged.
    pub(super) fn start(&self) -> u64 {
        self.start
    }

    /// The offset after the last byte.
    pub(super) fn end(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }

    /// How many bytes may be added.
    pub(super) fn capacity(&self) -> usize {
        self.window.saturating_sub(self.bytes.len())
    }

    /// Adds bytes, at most [`ReplayBuffer::capacity`].
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend(bytes);
    }

    /// Notes that no more bytes will follow.
    pub(super) fn finish(&mut self) {
        self.ended = true;
    }

    /// Copies bytes from `offset` on, and returns how many.
    pub(super) fn copy(&self, offset: u64, buffer: &mut [u8]) -> usize {
        let skip = usize::try_from(offset.saturating_sub(self.start)).unwrap_or(usize::MAX);
        let (one, other) = self.bytes.as_slices();
        let from_one = &one[skip.min(one.len())..];
        let part = if from_one.is_empty() { &other[(skip - one.len()).min(other.len())..] } else { from_one };
        let n = part.len().min(buffer.len());
        buffer[..n].copy_from_slice(&part[..n]);
        n
    }

    /// Drops everything before `offset`, which the other end has. The end counts as one byte.
    pub(super) fn acknowledge(&mut self, offset: u64) -> Result<(), OutOfWindow> {
        let last = self.end() + u64::from(self.ended);
        if offset > last {
            return Err(OutOfWindow);
        }
        // Bytes that were acknowledged before are gone already.
        let fresh = offset.min(self.end()).saturating_sub(self.start);
        self.bytes.drain(..usize::try_from(fresh).unwrap_or(usize::MAX));
        self.start += fresh;
        self.settled |= self.ended && offset == last;
        if self.bytes.is_empty() {
            self.bytes = VecDeque::new();
        }
        Ok(())
    }

    /// Whether the bytes from `offset` on can be sent again.
    pub(super) fn can_resume(&self, offset: u64) -> bool {
        let last = self.end() + u64::from(self.ended);
        (self.start..=last).contains(&offset) && (!self.settled || offset == last)
    }

    /// Whether no more bytes will follow.
    pub(super) fn has_ended(&self) -> bool {
        self.ended
    }

    /// Whether everything is acknowledged, including the end.
    pub(super) fn is_settled(&self) -> bool {
        self.settled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_acknowledged_goes_and_the_rest_can_be_had_again() {
        let mut replay = ReplayBuffer::new(10);
        replay.push(b"abcdef");
        assert_eq!((replay.capacity(), replay.end()), (4, 6));
        assert_eq!(replay.acknowledge(7), Err(OutOfWindow));
        assert_eq!(replay.acknowledge(4), Ok(()));
        assert_eq!(replay.acknowledge(2), Ok(()), "old news");
        replay.push(b"ghijklmn");
        assert_eq!((replay.capacity(), replay.end()), (0, 14));

        // In up to two steps, as the bytes may wrap around.
        for offset in 4..=14 {
            let (mut out, mut at) = (Vec::new(), offset);
            loop {
                let mut room = [0; 20];
                let n = replay.copy(at, &mut room);
                if n == 0 {
                    break;
                }
                out.extend_from_slice(&room[..n]);
                at += n as u64;
            }
            assert_eq!(out, b"abcdefghijklmn"[offset as usize..]);
        }
        assert!(replay.can_resume(4) && replay.can_resume(14));
        assert!(!replay.can_resume(3) && !replay.can_resume(15));
    }

    #[test]
    fn the_end_is_one_more() {
        let mut replay = ReplayBuffer::new(10);
        replay.push(b"abc");
        assert!(!replay.can_resume(4));
        replay.finish();
        assert!(replay.can_resume(3) && replay.can_resume(4));
        assert_eq!(replay.acknowledge(3), Ok(()));
        assert!(!replay.is_settled());
        assert_eq!(replay.acknowledge(4), Ok(()));
        assert!(replay.is_settled());
        assert!(replay.can_resume(4) && !replay.can_resume(3), "whoever had the end cannot miss it again");
    }
}
