//! Follows the frames on a connection (RFC 9113, 4.1): which bytes of which stream leave, and which
//! streams the client resets.

/// What a client that speaks HTTP/2 begins with (RFC 9113, 3.4).
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

const HEAD: usize = 9;
const DATA: u8 = 0;
const END_STREAM: u8 = 1;

/// Reads frames' heads in a stream of bytes that comes in pieces of any size.
#[derive(Default)]
pub(crate) struct FrameScanner {
    head: [u8; HEAD],
    have: usize,
    /// Bytes of the frame's payload that are still to come.
    left: usize,
}

/// A piece of a stream's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DataPart {
    pub(crate) stream: u32,
    pub(crate) bytes: usize,
    /// The stream ends with it.
    pub(crate) last: bool,
}

impl FrameScanner {
    /// Calls `report` for each part in the next `bytes` that leave.
    pub(crate) fn scan(&mut self, mut bytes: &[u8], mut report: impl FnMut(DataPart)) {
        while !bytes.is_empty() {
            if self.have < HEAD {
                let n = bytes.len().min(HEAD - self.have);
                self.head[self.have..self.have + n].copy_from_slice(&bytes[..n]);
                self.have += n;
                bytes = &bytes[n..];
                if self.have < HEAD {
                    return;
                }
                let [high, middle, low, ..] = self.head;
                self.left = u32::from_be_bytes([0, high, middle, low]) as usize;
            }
            let n = bytes.len().min(self.left);
            self.left -= n;
            bytes = &bytes[n..];
            let [_, _, _, kind, flags, stream @ ..] = self.head;
            let last = self.left == 0 && flags & END_STREAM != 0;
            if kind == DATA && (n > 0 || last) {
                report(DataPart { stream: u32::from_be_bytes(stream) & 0x7fff_ffff, bytes: n, last });
            }
            if self.left == 0 {
                self.have = 0;
            }
        }
    }
}

const RST_STREAM: u8 = 3;

/// Follows the frames that arrive, to know which streams the client has reset: h2 does not report
/// that for streams that have ended on our side.
pub(crate) struct ResetScanner {
    /// Bytes before the next frame.
    skip: usize,
    /// A frame's head, and the error code of a RST_STREAM.
    head: [u8; HEAD + 4],
    have: usize,
}

impl ResetScanner {
    /// Starts at a connection's first byte.
    pub(crate) fn new() -> ResetScanner {
        ResetScanner { skip: PREFACE.len(), head: [0; HEAD + 4], have: 0 }
    }

    /// Calls `report` for each stream that the next `bytes` reset, with the error code (RFC 9113,
    /// 7).
    pub(crate) fn scan(&mut self, mut bytes: &[u8], mut report: impl FnMut(u32, u32)) {
        while !bytes.is_empty() {
            let n = bytes.len().min(self.skip);
            self.skip -= n;
            bytes = &bytes[n..];
            if self.skip > 0 || bytes.is_empty() {
                return;
            }
            let want = if self.have >= HEAD { HEAD + 4 } else { HEAD };
            let n = bytes.len().min(want - self.have);
            self.head[self.have..self.have + n].copy_from_slice(&bytes[..n]);
            self.have += n;
            bytes = &bytes[n..];
            if self.have < want {
                return;
            }
            let [high, middle, low, kind, _, s0, s1, s2, s3, code @ ..] = self.head;
            let length = u32::from_be_bytes([0, high, middle, low]) as usize;
            let resets = kind == RST_STREAM && length == 4;
            if self.have == HEAD && resets {
                continue;
            }
            if resets {
                report(u32::from_be_bytes([s0, s1, s2, s3]) & 0x7fff_ffff, u32::from_be_bytes(code));
            } else {
                self.skip = length;
            }
            self.have = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, stream: u32, payload: usize) -> Vec<u8> {
        let mut frame = (payload as u32).to_be_bytes()[1..].to_vec();
        frame.extend([kind, flags]);
        frame.extend(stream.to_be_bytes());
        frame.extend(vec![7; payload]);
        frame
    }

    #[test]
    fn parts_are_told_of_however_the_bytes_are_cut() {
        let mut bytes = frame(4, 0, 0, 18);
        bytes.extend(frame(1, 5, 1, 20));
        bytes.extend(frame(DATA, 0, 3, 100));
        bytes.extend(frame(DATA, END_STREAM, 5, 0));
        bytes.extend(frame(6, 1, 0, 8));
        bytes.extend(frame(DATA, END_STREAM, 3, 33));
        for size in 1..bytes.len() {
            let (mut scanner, mut sums, mut ends) = (FrameScanner::default(), [0; 6], Vec::new());
            for piece in bytes.chunks(size) {
                scanner.scan(piece, |part| {
                    sums[part.stream as usize] += part.bytes;
                    if part.last {
                        ends.push(part.stream);
                    }
                });
            }
            assert_eq!((sums, &ends[..]), ([0, 0, 0, 133, 0, 0], &[5, 3][..]), "in pieces of {size}");
        }
    }

    #[test]
    fn resets_are_told_of_however_the_bytes_are_cut() {
        let mut bytes = PREFACE.to_vec();
        bytes.extend(frame(4, 0, 0, 0));
        bytes.extend(frame(RST_STREAM, 0, 7, 4));
        bytes.extend(frame(1, 5, 9, 40));
        // One that is malformed is h2's to refuse.
        bytes.extend(frame(RST_STREAM, 0, 11, 5));
        bytes.extend(frame(RST_STREAM, 0, 0x8000_0005, 4));
        bytes.extend(frame(DATA, 0, 9, 4));
        for size in 1..bytes.len() {
            let (mut resets, mut told) = (ResetScanner::new(), Vec::new());
            for piece in bytes.chunks(size) {
                resets.scan(piece, |stream, code| told.push((stream, code)));
            }
            assert_eq!(told, [(7, 0x0707_0707), (5, 0x0707_0707)], "in pieces of {size}");
        }
    }
}
