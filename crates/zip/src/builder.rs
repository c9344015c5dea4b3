//! Turns a list of files into a layout, in one pass and in their order.

use crate::layout::{LayoutRecord, MAX_LEN};
use crate::name::{MAX_NAME, NamePlacement, NameSet, NamedKind};
use crate::record::{EntryHeader, framed_len};
use crate::{Form, Layout};

/// Part of the ETag. Change it whenever the same files would give other bytes: older ETags must not
/// match.
const LAYOUT_VERSION: &[u8] = b"outflow-zip 1\n";

/// One file of an archive.
#[derive(Clone, Copy, Debug, Default)]
pub struct ArchiveFile<'a> {
    /// Path inside the archive, separated by `/`. The builder makes it safe and unique.
    pub name: &'a str,
    /// Length in bytes.
    pub size: u64,
    /// Seconds since 1970-01-01T00:00:00Z, if known. Without it there is no timestamp, and
    /// 1980-01-01 where the format must have a date.
    pub modified: Option<i64>,
    /// The CRC-32 if it is known. With it a file is [`Form::Stored`], without [`Form::Streamed`]. A
    /// file without bytes is always stored.
    pub crc32: Option<u32>,
    /// Mode 0755 instead of 0644.
    pub executable: bool,
    /// A number that changes whenever the bytes may have changed. Only the ETag depends on it.
    pub version: u64,
}

/// Collects files and folders for a [`Layout`].
///
/// ```
/// use outflow_zip::{ArchiveFile, LayoutBuilder};
///
/// let mut builder = LayoutBuilder::new();
/// let a = builder.file(ArchiveFile { name: "docs/a.txt", size: 10, ..ArchiveFile::default() })?;
/// let b = builder.file(ArchiveFile { name: "docs/a.txt", size: 20, ..ArchiveFile::default() })?;
/// builder.directory("empty", None)?;
/// let layout = builder.finish()?;
/// assert_eq!(layout.name(a), "docs/a.txt");
/// assert_eq!(layout.name(b), "docs/a (1).txt");
/// # Ok::<(), outflow_zip::LayoutError>(())
/// ```
#[derive(Debug)]
pub struct LayoutBuilder {
    records: Vec<LayoutRecord>,
    names: NameSet,
    /// Offset of the next entry.
    offset: u64,
    digest: LayoutDigest,
}

impl Default for LayoutBuilder {
    fn default() -> LayoutBuilder {
        LayoutBuilder::new()
    }
}

impl LayoutBuilder {
    /// A builder without entries.
    #[must_use]
    pub fn new() -> LayoutBuilder {
        LayoutBuilder::with_capacity(0, 0)
    }

    /// A builder with capacity for `entries` entries whose names have `name_bytes` bytes in total.
    #[must_use]
    pub fn with_capacity(entries: usize, name_bytes: usize) -> LayoutBuilder {
        LayoutBuilder {
            records: Vec::with_capacity(entries),
            names: NameSet::with_capacity(entries, name_bytes),
            offset: 0,
            digest: LayoutDigest::new(),
        }
    }

    /// Adds a file and returns its index: 0 for the first entry, 1 for the second and so on.
    ///
    /// Characters that a system cannot store become `_`; empty, `.` and `..` parts are removed;
    /// parts of more than 255 bytes are shortened; a name that is taken gets a number.
    /// [`Layout::name`] has the result.
    ///
    /// # Errors
    /// [`LayoutError`]. The builder is unchanged then, and can continue without that file.
    pub fn file(&mut self, file: ArchiveFile<'_>) -> Result<usize, LayoutError> {
        let (form, crc32) = match (file.size, file.crc32) {
            // Never deflated: some readers fail on an empty deflated entry (sharpcompress PR #452).
            (0, _) => (Form::Stored, 0),
            (_, Some(crc32)) => (Form::Stored, crc32),
            (_, None) => (Form::Streamed, 0),
        };
        self.names.place(file.name, NamedKind::File)?;
        let Some(framed) = framed_len(form, file.size) else { return Err(self.too_large(file.size)) };
        let entry = EntryHeader {
            name: "",
            offset: self.offset,
            size: file.size,
            framed,
            crc32,
            modified: file.modified,
            form,
            directory: false,
            executable: file.executable,
        };
        self.push(entry, file.version)
    }

    /// Adds an entry for a folder, which an empty folder needs, and one whose time matters. Returns
    /// its index, or the first index if the folder was added before.
    ///
    /// The name is made safe like a file's.
    ///
    /// # Errors
    /// [`LayoutError`]. The builder can continue without that folder then.
    pub fn directory(&mut self, name: &str, modified: Option<i64>) -> Result<usize, LayoutError> {
        if let NamePlacement::Known(start) = self.names.place(name, NamedKind::Directory)? {
            return Ok(self.records.partition_point(|record| record.name_end() <= start));
        }
        let entry = EntryHeader {
            name: "",
            offset: self.offset,
            size: 0,
            framed: 0,
            crc32: 0,
            modified,
            form: Form::Stored,
            directory: true,
            executable: false,
        };
        self.push(entry, 0)
    }

    /// Returns the layout of all entries.
    ///
    /// # Errors
    /// [`LayoutError::TooLarge`].
    pub fn finish(self) -> Result<Layout, LayoutError> {
        let LayoutBuilder { mut records, names, offset, digest } = self;
        let names = names.into_all();
        records.shrink_to_fit();
        Layout::new(records, names, offset, digest.finish()).ok_or(LayoutError::TooLarge)
    }

    /// Completes an entry by the name that was found, and adds it.
    fn push(&mut self, entry: EntryHeader<'_>, version: u64) -> Result<usize, LayoutError> {
        let entry = EntryHeader { name: self.names.placed(), ..entry };
        let Some(end) = entry.end().filter(|end| *end <= MAX_LEN) else {
            return Err(self.too_large(entry.size));
        };
        self.digest.entry(&entry, version);
        // A name that was found ends within 32 bits.
        self.records.push(LayoutRecord::new(&entry, self.names.placed_end() as u32));
        self.names.commit();
        self.offset = end;
        Ok(self.records.len() - 1)
    }

    fn too_large(&self, size: u64) -> LayoutError {
        LayoutError::FileTooLarge { name: self.names.placed().to_owned(), size }
    }
}

/// The hash behind the ETag: of everything that determines a byte, and of the versions.
#[derive(Debug)]
struct LayoutDigest {
    hasher: blake3::Hasher,
    /// Hashing is several times faster in large pieces.
    buffer: Vec<u8>,
}

impl LayoutDigest {
    const PIECE: usize = 64 * 1024;

    fn new() -> LayoutDigest {
        LayoutDigest { hasher: blake3::Hasher::new(), buffer: LAYOUT_VERSION.to_vec() }
    }

    /// The length of each name is part of it, so that different lists of entries never hash the
    /// same bytes. Destructured in full: a new field of the header has to be hashed or left out on
    /// purpose.
    fn entry(&mut self, entry: &EntryHeader<'_>, version: u64) {
        let EntryHeader { name, offset: _, size, framed: _, crc32, modified, form, directory, executable } =
            *entry;
        let flags = [
            u8::from(form == Form::Streamed),
            u8::from(directory),
            u8::from(executable),
            u8::from(modified.is_some()),
        ];
        let out = &mut self.buffer;
        out.extend_from_slice(&(name.len() as u64).to_le_bytes());
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(&size.to_le_bytes());
        out.extend_from_slice(&modified.unwrap_or(0).to_le_bytes());
        out.extend_from_slice(&flags);
        out.extend_from_slice(&crc32.to_le_bytes());
        out.extend_from_slice(&version.to_le_bytes());
        if out.len() >= LayoutDigest::PIECE {
            self.hasher.update(out);
            out.clear();
        }
    }

    fn finish(mut self) -> [u8; 16] {
        self.hasher.update(&self.buffer);
        let mut short = [0; 16];
        self.hasher.finalize_xof().fill(&mut short);
        short
    }
}

/// Why a list of files cannot become an archive, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LayoutError {
    /// A name is longer than 4,096 bytes even after its parts were shortened.
    #[error(
        "the name {name:?}... has more than {MAX_NAME} bytes, which no system can extract; \
        leave the file out or use a shorter path"
    )]
    NameTooLong {
        /// The first characters of the name.
        name: String,
    },
    /// All names together have more than 4 GiB.
    #[error("the names of all files have more than 4 GiB; select fewer files for one archive")]
    NamesTooLong,
    /// With this file the archive would be longer than a file can be.
    #[error(
        "{name} of {size} bytes would make the archive longer than {MAX_LEN} bytes; \
        leave it out or make several archives"
    )]
    FileTooLarge {
        /// Its name in the archive.
        name: String,
        /// Its length in bytes.
        size: u64,
    },
    /// With the central directory the archive would be longer than a file can be.
    #[error("the archive would be longer than {MAX_LEN} bytes; make several archives")]
    TooLarge,
}

impl LayoutError {
    /// Of a name that may be very long.
    pub(crate) fn name_too_long(name: &str) -> LayoutError {
        LayoutError::NameTooLong { name: name.chars().take(60).collect() }
    }
}
