//! "Stored" deflate blocks: every inflater reads them, and their length is known in advance.
//!
//! ```text
//! +----------+----------+----------+-----------------------+
//! | 00 or 01 | LEN      | NLEN     | LEN bytes as they are |   RFC 1951, section 3.2.4
//! | 1 byte   | 2 bytes  | 2 bytes  | 65,535 but in the last|   01: the last block
//! +----------+----------+----------+-----------------------+
//! ```
//!
//! A block's header begins on a byte boundary, because what precedes it ends on one: so the three
//! header bits (BFINAL, BTYPE = 00) and the padding are one byte. A file without bytes is one empty
//! last block.

use bytes::{Buf, Bytes};

/// Maximum size of a block (RFC 1951, section 3.2.4: LEN has 16 bits).
pub(crate) const BLOCK: u64 = 65_535;
const HEADER: u64 = 5;
/// A full block with its header.
pub(crate) const FRAMED_BLOCK: u64 = HEADER + BLOCK;

/// Length of `size` bytes in blocks, or `None` when it exceeds 64 bits.
pub(crate) fn framed_len(size: u64) -> Option<u64> {
    size.checked_add(HEADER * size.div_ceil(BLOCK).max(1))
}

/// Frames the bytes of a file from any offset of the framed bytes.
#[derive(Debug)]
pub(crate) struct Framer {
    size: u64,
    end: u64,
    at: u64,
    /// The CRC-32 of all bytes so far; `None` when framing did not start with the first byte.
    crc32: Option<crc32fast::Hasher>,
}

impl Framer {
    /// Frames a file of `size` bytes (`framed` in blocks) from the framed offset `at` on.
    pub(crate) fn new(size: u64, framed: u64, at: u64) -> Framer {
        let mut framer = Framer { size, end: framed, at, crc32: None };
        framer.crc32 = (framer.raw_offset() == 0).then(crc32fast::Hasher::new);
        framer
    }

    /// Offset in the file of the next byte to frame.
    pub(crate) fn raw_offset(&self) -> u64 {
        let (block, within) = (self.at / FRAMED_BLOCK, self.at % FRAMED_BLOCK);
        (block * BLOCK + within.saturating_sub(HEADER)).min(self.size)
    }

    /// True when the last block is complete.
    pub(crate) fn is_done(&self) -> bool {
        self.at >= self.end
    }

    /// The CRC-32 of the file, if all of it was framed here.
    pub(crate) fn crc32(&self) -> Option<u32> {
        if !self.is_done() {
            return None;
        }
        self.crc32.clone().map(crc32fast::Hasher::finalize)
    }

    /// Moves bytes from `raw` to `out`, with block headers between them, until `raw` is empty or
    /// `out` has `limit` bytes.
    pub(crate) fn frame(&mut self, raw: &mut Bytes, out: &mut Vec<u8>, limit: usize) {
        while !self.is_done() && out.len() < limit {
            let room = (limit - out.len()) as u64;
            let (block, within) = (self.at / FRAMED_BLOCK, self.at % FRAMED_BLOCK);
            let moved = if within < HEADER {
                let header = self.header(block);
                let rest = &header[within as usize..];
                let count = room.min(rest.len() as u64);
                out.extend_from_slice(&rest[..count as usize]);
                count
            } else {
                let block_end = self.end.min((block + 1) * FRAMED_BLOCK);
                let count = room.min(raw.len() as u64).min(block_end - self.at);
                if count == 0 {
                    return;
                }
                let bytes = &raw[..count as usize];
                out.extend_from_slice(bytes);
                if let Some(crc32) = &mut self.crc32 {
                    crc32.update(bytes);
                }
                raw.advance(count as usize);
                count
            };
            self.at += moved;
        }
    }

    fn header(&self, block: u64) -> [u8; HEADER as usize] {
        let rest = self.size.saturating_sub(block * BLOCK);
        let len = rest.min(BLOCK) as u16;
        let [l0, l1] = len.to_le_bytes();
        [u8::from(rest <= BLOCK), l0, l1, !l0, !l1]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framed(size: usize, from: u64, step: usize, limit: usize) -> (Vec<u8>, Option<u32>) {
        let file: Vec<u8> = (0..size).map(|i| (i % 251) as u8).collect();
        let mut framer = Framer::new(size as u64, framed_len(size as u64).unwrap(), from);
        let mut all = Vec::new();
        while !framer.is_done() {
            let start = framer.raw_offset() as usize;
            let mut raw = Bytes::copy_from_slice(&file[start..size.min(start + step)]);
            let mut out = Vec::new();
            framer.frame(&mut raw, &mut out, limit);
            assert!(out.len() <= limit);
            all.extend(out);
        }
        (all, framer.crc32())
    }

    #[test]
    fn blocks_have_known_bytes() {
        assert_eq!(framed(0, 0, 1, 100).0, [1, 0, 0, 0xff, 0xff]);
        assert_eq!(framed(3, 0, 100, 100).0, [1, 3, 0, 0xfc, 0xff, 0, 1, 2]);
        let (two, _) = framed(65_536, 0, 100_000, 1 << 20);
        assert_eq!(two.len(), 65_546);
        assert_eq!(two[..5], [0, 0xff, 0xff, 0, 0]);
        assert_eq!(two[65_540..], [1, 1, 0, 0xfe, 0xff, (65_535 % 251) as u8]);
    }

    #[test]
    fn the_length_is_known_before() {
        for size in [0, 1, 65_534, 65_535, 65_536, 131_070, 131_071, 200_000] {
            let (bytes, crc32) = framed(size, 0, 7_777, 10_000);
            assert_eq!(Some(bytes.len() as u64), framed_len(size as u64), "{size}");
            let inflated = miniz_oxide::inflate::decompress_to_vec(&bytes).unwrap();
            assert_eq!(inflated.len(), size);
            assert_eq!(crc32, Some(crc32fast::hash(&inflated)));
        }
        assert_eq!(framed_len(u64::MAX), None);
    }

    #[test]
    fn any_offset_continues_the_whole() {
        let size = 140_000;
        let (whole, _) = framed(size, 0, 1 << 20, 1 << 20);
        for from in [1, 4, 5, 6, 65_539, 65_540, 65_541, 65_545, 131_079, 131_081, whole.len() as u64 - 1] {
            let (rest, crc32) = framed(size, from, 50_001, 33_333);
            assert!(rest == whole[from as usize..], "{from}");
            assert_eq!(crc32.is_some(), from <= 5, "{from}");
        }
    }
}
