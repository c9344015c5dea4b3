//! An object's bytes: in memory, computed or in a file.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_core::Stream;
use s3s::StdError;
use s3s::stream::{ByteStream, RemainingLength};

/// Bytes per chunk of a response.
const CHUNK: u64 = 256 * 1024;

/// An object's bytes.
#[derive(Clone, Debug)]
pub enum ObjectBody {
    /// In memory.
    Bytes(Bytes),
    /// Computed when they are read, see [`pattern`]: a hundred gigabytes take no memory.
    Pattern {
        /// Other seeds give other bytes.
        seed: u64,
        /// The object's size in bytes.
        len: u64,
    },
    /// A file, which must not change while it is served.
    File {
        /// Open for reading.
        file: Arc<File>,
        /// Its size in bytes.
        len: u64,
    },
}

impl ObjectBody {
    /// The size in bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        match self {
            ObjectBody::Bytes(bytes) => bytes.len() as u64,
            ObjectBody::Pattern { len, .. } | ObjectBody::File { len, .. } => *len,
        }
    }

    /// Whether there is no byte.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Reads `len` bytes from `offset`, which must be within the object.
    ///
    /// # Errors
    /// Those of reading the file.
    pub fn read(&self, offset: u64, len: usize) -> io::Result<Bytes> {
        match self {
            ObjectBody::Bytes(bytes) => Ok(bytes.slice(offset as usize..offset as usize + len)),
            ObjectBody::Pattern { seed, .. } => Ok(pattern(*seed, offset, len).into()),
            ObjectBody::File { file, .. } => {
                let mut piece = vec![0; len];
                file.read_exact_at(&mut piece, offset)?;
                Ok(piece.into())
            }
        }
    }

    /// The CRC-32 of all bytes, all of which are read or computed.
    ///
    /// # Errors
    /// Those of reading the file.
    pub fn crc32(&self) -> io::Result<u32> {
        let mut hasher = crc32fast::Hasher::new();
        let mut at = 0;
        while at < self.len() {
            let piece = self.read(at, CHUNK.min(self.len() - at) as usize)?;
            hasher.update(&piece);
            at += piece.len() as u64;
        }
        Ok(hasher.finalize())
    }

    /// The bytes of `range` as a stream whose length is known.
    pub(crate) fn stream(&self, range: std::ops::Range<u64>) -> ObjectStream {
        ObjectStream { body: self.clone(), range }
    }
}

impl From<Vec<u8>> for ObjectBody {
    fn from(bytes: Vec<u8>) -> ObjectBody {
        ObjectBody::Bytes(bytes.into())
    }
}

impl From<Bytes> for ObjectBody {
    fn from(bytes: Bytes) -> ObjectBody {
        ObjectBody::Bytes(bytes)
    }
}

impl From<&'static [u8]> for ObjectBody {
    fn from(bytes: &'static [u8]) -> ObjectBody {
        ObjectBody::Bytes(Bytes::from_static(bytes))
    }
}

impl From<&'static str> for ObjectBody {
    fn from(text: &'static str) -> ObjectBody {
        text.as_bytes().into()
    }
}

/// Bytes of a pattern. No two places of it look alike, so that a client that confuses ranges or
/// objects fails.
#[must_use]
pub fn pattern(seed: u64, offset: u64, len: usize) -> Vec<u8> {
    let start = (offset % 8) as usize;
    let mut words = vec![0; (start + len).div_ceil(8) * 8];
    fill(seed, offset / 8, &mut words);
    words.truncate(start + len);
    if start > 0 {
        words.drain(..start);
    }
    words
}

/// Without iterators, which make debug builds ten times slower.
fn fill(seed: u64, mut number: u64, words: &mut [u8]) {
    let mut at = 0;
    while at < words.len() {
        let word = mix(seed.wrapping_add(mix(number)));
        let end = at + 8;
        let mut shift = 0;
        while at < end {
            words[at] = (word >> shift) as u8;
            shift += 8;
            at += 1;
        }
        number += 1;
    }
}

/// The finisher of splitmix64: every bit of the result depends on every bit of `value`.
#[inline(always)]
pub(crate) fn mix(value: u64) -> u64 {
    let mut mixed = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// A range of an object as a stream, read as it is polled.
pub(crate) struct ObjectStream {
    body: ObjectBody,
    range: std::ops::Range<u64>,
}

impl Stream for ObjectStream {
    type Item = Result<Bytes, StdError>;

    fn poll_next(mut self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let left = self.range.end - self.range.start;
        if left == 0 {
            return Poll::Ready(None);
        }
        // Blocking reads: the files are in the page cache, and only tests wait.
        let piece = self.body.read(self.range.start, CHUNK.min(left) as usize)?;
        self.range.start += piece.len() as u64;
        Poll::Ready(Some(Ok(piece)))
    }
}

impl ByteStream for ObjectStream {
    fn remaining_length(&self) -> RemainingLength {
        RemainingLength::new_exact((self.range.end - self.range.start) as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_range_of_a_pattern_is_part_of_the_whole() {
        let whole = pattern(7, 0, 1000);
        for (offset, len) in [(0, 0), (0, 1), (1, 7), (7, 2), (8, 8), (13, 500), (993, 7)] {
            assert_eq!(
                pattern(7, offset, len),
                whole[offset as usize..offset as usize + len],
                "{offset}+{len}"
            );
        }
        assert_ne!(pattern(8, 0, 1000), whole);
        assert_ne!(whole[..8], whole[8..16]);
    }

    #[test]
    fn a_crc_is_that_of_all_bytes() {
        let body = ObjectBody::Pattern { seed: 1, len: CHUNK * 2 + 5 };
        assert_eq!(body.crc32().unwrap(), crc32fast::hash(&pattern(1, 0, CHUNK as usize * 2 + 5)));
    }
}
