//! Follows the frames that leave a connection (RFC 9113, 4.1), to know which bytes of which stream have left.

const HEAD: usize = 9;
const DATA: u8 = 0;
const END_STREAM: u8 = 1;

/// Reads frames' heads in a stream of bytes that comes in pieces of any size.
#[derive(Default)]
pub(crate) struct Scanner {
    head: [u8; HEAD],
    have: usize,
    /// Bytes of the frame's payload that are still to come.
    left: usize,
}

/// Some of a stream's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) stream: u32,
    pub(crate) bytes: usize,
    /// It is the last one.
    pub(crate) last: bool,
}

impl Scanner {
    /// Tells of the parts in the next `bytes` that leave.
    pub(crate) fn scan(&mut self, mut bytes: &[u8], mut tell: impl FnMut(Part)) {
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
                tell(Part { stream: u32::from_be_bytes(stream) & 0x7fff_ffff, bytes: n, last });
            }
            if self.left == 0 {
                self.have = 0;
            }
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
            let (mut scanner, mut sums, mut ends) = (Scanner::default(), [0; 6], Vec::new());
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
}
