//! The layout of an archive.

use std::ops::Range;

/// How an entry's bytes are framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// CRC known: the bytes as they are, CRC and sizes in the local header, no data descriptor.
    Stored,
    /// CRC not known: "stored" deflate blocks and a data descriptor.
    Streamed,
}

/// Where each byte of an archive lies.
#[derive(Debug)]
pub struct Layout {}

#[allow(clippy::len_without_is_empty)]
impl Layout {
    /// Length of the archive in bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        0
    }
    /// The opaque part of a strong ETag.
    #[must_use]
    pub fn etag(&self) -> String {
        String::new()
    }
    /// How many entries.
    #[must_use]
    pub fn entries(&self) -> usize {
        0
    }
    /// Name in the archive.
    #[must_use]
    pub fn name(&self, entry: usize) -> &str {
        let _ = entry;
        ""
    }
    /// Size of the file.
    #[must_use]
    pub fn size(&self, entry: usize) -> u64 {
        let _ = entry;
        0
    }
    /// How the entry is framed.
    #[must_use]
    pub fn form(&self, entry: usize) -> Form {
        let _ = entry;
        Form::Stored
    }
    /// Seconds since 1970.
    #[must_use]
    pub fn modified(&self, entry: usize) -> Option<i64> {
        let _ = entry;
        None
    }
    /// The CRC-32 as the layout was made.
    #[must_use]
    pub fn crc32(&self, entry: usize) -> Option<u32> {
        let _ = entry;
        None
    }
    /// Heap memory in bytes.
    #[must_use]
    pub fn memory(&self) -> usize {
        0
    }
    /// The entry that the byte at `offset` belongs to; `None` from the central directory on.
    #[must_use]
    pub fn entry_at(&self, offset: u64) -> Option<usize> {
        let _ = offset;
        None
    }
    /// Where the entry's bytes lie in the archive.
    #[must_use]
    pub fn body_range(&self, entry: usize) -> Range<u64> {
        let _ = entry;
        0..0
    }
}
