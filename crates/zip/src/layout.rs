//! The layout of an archive: where each byte lies. Length, ETag, ranges and bytes all come from it.

use std::ops::Range;

use crate::record::{self, EndRecord, EntryHeader};

/// How the bytes of an entry are framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Form {
    /// The CRC-32 is known: the file's bytes unchanged, CRC and sizes in the local header, no data
    /// descriptor. Every reader accepts it, and `sendfile` can send the bytes.
    Stored,
    /// The CRC-32 is not known yet: method 8 with "stored" deflate blocks and a data descriptor.
    /// The length is still exact: `n + 5 * max(1, ceil(n / 65535))` bytes for a file of `n`.
    Streamed,
}

/// Where each byte of an archive lies. Made by [`crate::LayoutBuilder`], never changed.
///
/// Functions that take an `entry` panic when there is no entry of that index.
#[derive(Debug)]
pub struct Layout {
    records: Vec<LayoutRecord>,
    names: String,
    /// Offset in the central directory of each [`STEP`]th record.
    milestones: Vec<u64>,
    directory: u64,
    directory_len: u64,
    len: u64,
    etag: [u8; 16],
}

/// Records of the central directory between two milestones.
const STEP: usize = 64;

/// An entry in 32 bytes. Records are most of a layout's memory: 32 MB for a million.
#[derive(Debug)]
pub(crate) struct LayoutRecord {
    offset: u64,
    size: u64,
    /// End of its name in [`Layout::names`]; it starts at the end of the one before.
    name_end: u32,
    crc32: u32,
    modified_low: u32,
    modified_high: i16,
    flags: u8,
}

const STREAMED: u8 = 1;
const DIRECTORY: u8 = 2;
const EXECUTABLE: u8 = 4;
const DATED: u8 = 8;

impl LayoutRecord {
    /// The record of an entry whose name ends at `name_end` of all names. Times beyond 48 bits of
    /// seconds, four million years from now, are clamped.
    pub(crate) fn new(entry: &EntryHeader<'_>, name_end: u32) -> LayoutRecord {
        let modified = entry.modified.unwrap_or(0).clamp(-1 << 47, (1 << 47) - 1);
        let flag = |condition: bool, bit: u8| if condition { bit } else { 0 };
        LayoutRecord {
            offset: entry.offset,
            size: entry.size,
            name_end,
            crc32: entry.crc32,
            modified_low: modified as u32, // the lower 32 of 48 bits
            modified_high: (modified >> 32) as i16,
            flags: flag(entry.form == Form::Streamed, STREAMED)
                | flag(entry.directory, DIRECTORY)
                | flag(entry.executable, EXECUTABLE)
                | flag(entry.modified.is_some(), DATED),
        }
    }

    pub(crate) fn name_end(&self) -> u32 {
        self.name_end
    }

    fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    fn form(&self) -> Form {
        if self.has(STREAMED) { Form::Streamed } else { Form::Stored }
    }

    fn modified(&self) -> Option<i64> {
        let modified = i64::from(self.modified_high) << 32 | i64::from(self.modified_low);
        self.has(DATED).then_some(modified)
    }
}

/// The part of an archive at an offset.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum LayoutPosition {
    /// The `at`th byte of an entry, from its local header to its descriptor.
    Entry { entry: usize, at: u64 },
    /// The `at`th byte of the record of `entry` in the central directory.
    Central { entry: usize, at: u64 },
    /// The `at`th byte of the records after it.
    End { at: u64 },
    /// Past the end of the archive.
    Beyond,
}

impl Layout {
    /// Completes a layout from its records, the first of which begins at 0 and the last of which
    /// ends at `directory`. `None` when the archive would be longer than [`MAX_LEN`] bytes.
    pub(crate) fn new(
        records: Vec<LayoutRecord>,
        names: String,
        directory: u64,
        etag: [u8; 16],
    ) -> Option<Layout> {
        let mut layout = Layout {
            milestones: Vec::with_capacity(records.len().div_ceil(STEP)),
            records,
            names,
            directory,
            directory_len: 0,
            len: 0,
            etag,
        };
        // Names are bounded by 4 GiB and entries by their names, so that this sum stays far below
        // 2^64.
        for entry in 0..layout.entries() {
            if entry.is_multiple_of(STEP) {
                layout.milestones.push(layout.directory_len);
            }
            layout.directory_len += layout.entry(entry).central_len();
        }
        let end = layout.end();
        layout.len = directory.checked_add(end.len)?.checked_add(end.end_len())?;
        (layout.len <= MAX_LEN).then_some(layout)
    }

    /// Length of the archive in bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Never true: an archive without entries has 22 bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The opaque part of a strong ETag: 32 hexadecimal digits that depend on every byte of the
    /// archive, by way of names, sizes, times, modes, forms, CRCs and versions. Equal on every
    /// machine.
    #[must_use]
    pub fn etag(&self) -> String {
        self.etag.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// How many entries there are.
    #[must_use]
    pub fn entries(&self) -> usize {
        self.records.len()
    }

    /// The entry's name as it is in the archive: safe, unique, for a folder with a `/` at the end.
    #[must_use]
    pub fn name(&self, entry: usize) -> &str {
        let start = entry.checked_sub(1).map_or(0, |before| self.records[before].name_end);
        &self.names[start as usize..self.records[entry].name_end as usize]
    }

    /// Length of the entry's file in bytes.
    #[must_use]
    pub fn size(&self, entry: usize) -> u64 {
        self.records[entry].size
    }

    /// How the entry's bytes are framed.
    #[must_use]
    pub fn form(&self, entry: usize) -> Form {
        self.records[entry].form()
    }

    /// True for a folder.
    #[must_use]
    pub fn is_directory(&self, entry: usize) -> bool {
        self.records[entry].has(DIRECTORY)
    }

    /// When the entry was modified, in seconds since 1970.
    #[must_use]
    pub fn modified(&self, entry: usize) -> Option<i64> {
        self.records[entry].modified()
    }

    /// The entry's CRC-32, if it was known when the layout was made. 0 for folders and files
    /// without bytes.
    #[must_use]
    pub fn crc32(&self, entry: usize) -> Option<u32> {
        let record = &self.records[entry];
        (record.form() == Form::Stored).then_some(record.crc32)
    }

    /// Memory of the layout on the heap, in bytes.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.records.capacity() * size_of::<LayoutRecord>()
            + self.names.capacity()
            + self.milestones.capacity() * size_of::<u64>()
    }

    /// The entry that contains the byte at `offset`, headers included. `None` from the central
    /// directory on.
    #[must_use]
    pub fn entry_at(&self, offset: u64) -> Option<usize> {
        match self.position(offset) {
            LayoutPosition::Entry { entry, .. } => Some(entry),
            _ => None,
        }
    }

    /// The range of the entry's framed bytes in the archive, without header and descriptor.
    #[must_use]
    pub fn body_range(&self, entry: usize) -> Range<u64> {
        let entry = self.entry(entry);
        let start = entry.offset + entry.local_len();
        start..start + entry.framed
    }

    /// The range of the entry in the archive, from its header to its descriptor.
    #[must_use]
    pub fn entry_range(&self, entry: usize) -> Range<u64> {
        let end = self.records.get(entry + 1).map_or(self.directory, |next| next.offset);
        self.records[entry].offset..end
    }

    /// The values in the headers of an entry.
    pub(crate) fn entry(&self, entry: usize) -> EntryHeader<'_> {
        let record = &self.records[entry];
        EntryHeader {
            name: self.name(entry),
            offset: record.offset,
            size: record.size,
            // The builder refuses files whose framed length overflows.
            framed: record::framed_len(record.form(), record.size).unwrap_or(u64::MAX),
            crc32: record.crc32,
            modified: record.modified(),
            form: record.form(),
            directory: record.has(DIRECTORY),
            executable: record.has(EXECUTABLE),
        }
    }

    /// The values in the records at the end.
    pub(crate) fn end(&self) -> EndRecord {
        EndRecord { entries: self.records.len() as u64, offset: self.directory, len: self.directory_len }
    }

    /// Finds the part at `offset`: a binary search, and fewer than [`STEP`] steps in the central
    /// directory.
    pub(crate) fn position(&self, offset: u64) -> LayoutPosition {
        let Some(at) = offset.checked_sub(self.directory) else {
            // The first entry begins at 0, so that at least one begins at or before any offset.
            let entry = self.records.partition_point(|record| record.offset <= offset) - 1;
            return LayoutPosition::Entry { entry, at: offset - self.records[entry].offset };
        };
        if offset >= self.len {
            return LayoutPosition::Beyond;
        }
        if at >= self.directory_len {
            return LayoutPosition::End { at: at - self.directory_len };
        }
        // The first milestone is at 0.
        let milestone = self.milestones.partition_point(|start| *start <= at) - 1;
        let (mut entry, mut at) = (milestone * STEP, at - self.milestones[milestone]);
        loop {
            let len = self.entry(entry).central_len();
            if at < len {
                return LayoutPosition::Central { entry, at };
            }
            at -= len;
            entry += 1;
        }
    }
}

/// Maximum length of an archive, in bytes: file offsets have 63 bits.
///
/// Bound: archives.
pub(crate) const MAX_LEN: u64 = i64::MAX as u64;
