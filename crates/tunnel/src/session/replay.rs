//! What was sent and is not acknowledged.

use std::collections::VecDeque;

/// The bytes of one direction from the last acknowledged offset on. It takes the memory that they need, and gives it
/// back when it is empty.
#[derive(Debug)]
pub(super) struct Ring {
    bytes: VecDeque<u8>,
    /// The offset of the first.
    start: u64,
    window: usize,
    /// There will be no more; that is known at the other end.
    ended: bool,
    settled: bool,
}

/// Nothing that could be acknowledged or sent again.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct OutOfWindow;

impl Ring {
    pub(super) fn new(window: usize) -> Ring {
        Ring { bytes: VecDeque::new(), start: 0, window, ended: false, settled: false }
    }

    /// The offset of the first byte that is not acknowledged.
    pub(super) fn start(&self) -> u64 {
        self.start
    }

    /// The offset behind the last byte.
    pub(super) fn end(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }

    /// How many bytes may be added.
    pub(super) fn room(&self) -> usize {
        self.window.saturating_sub(self.bytes.len())
    }

    /// Adds bytes: no more than there is room for.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend(bytes);
    }

    /// Notes that there will be no more.
    pub(super) fn finish(&mut self) {
        self.ended = true;
    }

    /// Copies what there is from `offset` on: how many bytes.
    pub(super) fn copy(&self, offset: u64, room: &mut [u8]) -> usize {
        let skip = usize::try_from(offset.saturating_sub(self.start)).unwrap_or(usize::MAX);
        let (one, other) = self.bytes.as_slices();
        let from_one = &one[skip.min(one.len())..];
        let part = if from_one.is_empty() { &other[(skip - one.len()).min(other.len())..] } else { from_one };
        let n = part.len().min(room.len());
        room[..n].copy_from_slice(&part[..n]);
        n
    }

    /// The other end has everything before `offset`. The end counts as one byte.
    pub(super) fn acknowledge(&mut self, offset: u64) -> Result<(), OutOfWindow> {
        let last = self.end() + u64::from(self.ended);
        if offset > last {
            return Err(OutOfWindow);
        }
        // What was acknowledged before needs no second time.
        let fresh = offset.min(self.end()).saturating_sub(self.start);
        self.bytes.drain(..usize::try_from(fresh).unwrap_or(usize::MAX));
        self.start += fresh;
        self.settled |= self.ended && offset == last;
        if self.bytes.is_empty() {
            self.bytes = VecDeque::new();
        }
        Ok(())
    }

    /// Whether an other end that has everything before `offset` can be served.
    pub(super) fn can_resume(&self, offset: u64) -> bool {
        let last = self.end() + u64::from(self.ended);
        (self.start..=last).contains(&offset) && (!self.settled || offset == last)
    }

    /// There will be no more.
    pub(super) fn has_ended(&self) -> bool {
        self.ended
    }

    /// All is acknowledged, the end too.
    pub(super) fn is_settled(&self) -> bool {
        self.settled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_acknowledged_goes_and_the_rest_can_be_had_again() {
        let mut ring = Ring::new(10);
        ring.push(b"abcdef");
        assert_eq!((ring.room(), ring.end()), (4, 6));
        assert_eq!(ring.acknowledge(7), Err(OutOfWindow));
        assert_eq!(ring.acknowledge(4), Ok(()));
        assert_eq!(ring.acknowledge(2), Ok(()), "old news");
        ring.push(b"ghijklmn");
        assert_eq!((ring.room(), ring.end()), (0, 14));

        // In up to two steps: it may lie around the corner.
        for offset in 4..=14 {
            let (mut out, mut at) = (Vec::new(), offset);
            loop {
                let mut room = [0; 20];
                let n = ring.copy(at, &mut room);
                if n == 0 {
                    break;
                }
                out.extend_from_slice(&room[..n]);
                at += n as u64;
            }
            assert_eq!(out, b"abcdefghijklmn"[offset as usize..]);
        }
        assert!(ring.can_resume(4) && ring.can_resume(14));
        assert!(!ring.can_resume(3) && !ring.can_resume(15));
    }

    #[test]
    fn the_end_is_one_more() {
        let mut ring = Ring::new(10);
        ring.push(b"abc");
        assert!(!ring.can_resume(4));
        ring.finish();
        assert!(ring.can_resume(3) && ring.can_resume(4));
        assert_eq!(ring.acknowledge(3), Ok(()));
        assert!(!ring.is_settled());
        assert_eq!(ring.acknowledge(4), Ok(()));
        assert!(ring.is_settled());
        assert!(ring.can_resume(4) && !ring.can_resume(3), "whoever had the end cannot miss it again");
    }
}
