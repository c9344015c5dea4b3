//! The layout of an archive: where each byte lies. Everything else is asked of it.

use std::ops::Range;

use crate::record::{self, End, Entry};

/// How an entry's bytes are framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Form {
    /// The CRC-32 is known: the file's bytes as they are, CRC and sizes in the local header, no data
    /// descriptor. Every reader takes it, and the bytes can go by `sendfile`.
    Stored,
    /// The CRC-32 is not known yet: method 8 with "stored" deflate blocks and a data descriptor. The length is
    /// exact all the same: `n + 5 * max(1, ceil(n / 65535))` bytes for a file of `n`.
    Streamed,
}

/// Where each byte of an archive lies. Made by [`crate::LayoutBuilder`], never changed.
///
/// Functions that take an `entry` panic when there is no entry of that index.
#[derive(Debug)]
pub struct Layout {
    records: Vec<Record>,
    names: String,
    /// Where each [`STEP`]th record of the central directory begins, from the directory's start.
    milestones: Vec<u64>,
    directory: u64,
    directory_len: u64,
    len: u64,
    etag: [u8; 16],
}

/// How many records of the central directory lie between two milestones.
const STEP: usize = 64;

/// An entry in 32 bytes. A million of them are 32 MB, and that is most of what a layout needs.
#[derive(Debug)]
pub(crate) struct Record {
    offset: u64,
    size: u64,
    /// Where its name ends in [`Layout::names`]; it begins where the one before ends.
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

impl Record {
    /// The record of an entry whose name ends at `name_end` of all names. Times beyond 48 bits of seconds,
    /// four million years from now, are clamped.
    pub(crate) fn new(entry: &Entry<'_>, name_end: u32) -> Record {
        let modified = entry.modified.unwrap_or(0).clamp(-1 << 47, (1 << 47) - 1);
        let flag = |condition: bool, bit: u8| if condition { bit } else { 0 };
        Record {
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

/// What lies at an offset.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// The `at`th byte of an entry, from its local header to its descriptor.
    Entry { entry: usize, at: u64 },
    /// The `at`th byte of the record of `entry` in the central directory.
    Central { entry: usize, at: u64 },
    /// The `at`th byte of the records after it.
    End { at: u64 },
    /// Nothing: the archive has ended.
    Beyond,
}

impl Layout {
    /// Completes a layout from its records, the first of which begins at 0 and the last of which ends at
    /// `directory`. `None` when the archive would be longer than [`MAX_LEN`] bytes.
    pub(crate) fn new(records: Vec<Record>, names: String, directory: u64, etag: [u8; 16]) -> Option<Layout> {
        let mut layout = Layout {
            milestones: Vec::with_capacity(records.len().div_ceil(STEP)),
            records,
            names,
            directory,
            directory_len: 0,
            len: 0,
            etag,
        };
        // Names are bounded by 4 GiB and entries by their names, so that this sum stays far below 2^64.
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

    /// The opaque part of a strong ETag: 32 hexadecimal digits that depend on every byte of the archive, by way
    /// of names, sizes, times, modes, forms, CRCs and versions. Equal on every machine.
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

    /// The entry's CRC-32, if it was known when the layout was made. 0 for folders and files without bytes.
    #[must_use]
    pub fn crc32(&self, entry: usize) -> Option<u32> {
        let record = &self.records[entry];
        (record.form() == Form::Stored).then_some(record.crc32)
    }

    /// Memory of the layout on the heap, in bytes.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.records.capacity() * size_of::<Record>()
            + self.names.capacity()
            + self.milestones.capacity() * size_of::<u64>()
    }

    /// The entry that the byte at `offset` belongs to (its headers included). `None` from the central directory on.
    #[must_use]
    pub fn entry_at(&self, offset: u64) -> Option<usize> {
        match self.place(offset) {
            Place::Entry { entry, .. } => Some(entry),
            _ => None,
        }
    }

    /// Where the entry's bytes lie in the archive, in their framing, without header and descriptor.
    #[must_use]
    pub fn body_range(&self, entry: usize) -> Range<u64> {
        let entry = self.entry(entry);
        let start = entry.offset + entry.local_len();
        start..start + entry.framed
    }

    /// Where the entry lies in the archive, from the first byte of its header to the last of its descriptor.
    #[must_use]
    pub fn entry_range(&self, entry: usize) -> Range<u64> {
        let end = self.records.get(entry + 1).map_or(self.directory, |next| next.offset);
        self.records[entry].offset..end
    }

    /// What the records of an entry say.
    pub(crate) fn entry(&self, entry: usize) -> Entry<'_> {
        let record = &self.records[entry];
        Entry {
            name: self.name(entry),
            offset: record.offset,
            size: record.size,
            // The builder refused every file whose framed length is no number.
            framed: record::framed_len(record.form(), record.size).unwrap_or(u64::MAX),
            crc32: record.crc32,
            modified: record.modified(),
            form: record.form(),
            directory: record.has(DIRECTORY),
            executable: record.has(EXECUTABLE),
        }
    }

    /// What the records at the end say.
    pub(crate) fn end(&self) -> End {
        End { entries: self.records.len() as u64, offset: self.directory, len: self.directory_len }
    }

    /// Finds what lies at `offset`: a binary search, and fewer than [`STEP`] steps in the central directory.
    pub(crate) fn place(&self, offset: u64) -> Place {
        let Some(at) = offset.checked_sub(self.directory) else {
            // The first entry begins at 0, so that at least one begins at or before any offset.
            let entry = self.records.partition_point(|record| record.offset <= offset) - 1;
            return Place::Entry { entry, at: offset - self.records[entry].offset };
        };
        if offset >= self.len {
            return Place::Beyond;
        }
        if at >= self.directory_len {
            return Place::End { at: at - self.directory_len };
        }
        // The first milestone is at 0.
        let milestone = self.milestones.partition_point(|start| *start <= at) - 1;
        let (mut entry, mut at) = (milestone * STEP, at - self.milestones[milestone]);
        loop {
            let len = self.entry(entry).central_len();
            if at < len {
                return Place::Central { entry, at };
            }
            at -= len;
            entry += 1;
        }
    }
}

/// The longest archive: file offsets of every system have 63 bits.
pub(crate) const MAX_LEN: u64 = i64::MAX as u64;
