//! Turns a list of files into a layout, in one pass and in the order in which they come.

use crate::layout::{MAX_LEN, Record};
use crate::name::{Kind, MAX_NAME, Names, Place};
use crate::record::{Entry, framed_len};
use crate::{Form, Layout};

/// Changes whenever the same files would make other bytes: an ETag of before must not match then.
const LAYOUT_VERSION: &[u8] = b"outflow-zip 1\n";

/// One file of an archive.
#[derive(Clone, Copy, Debug, Default)]
pub struct File<'a> {
    /// Path inside the archive, separated by `/`. The builder makes it safe and unique.
    pub name: &'a str,
    /// Length in bytes.
    pub size: u64,
    /// Seconds since 1970-01-01T00:00:00Z, if known. Without it there is no timestamp, and 1980-01-01 where
    /// the format must have a date.
    pub modified: Option<i64>,
    /// The CRC-32 if it is known: such a file is [`Form::Stored`], any other [`Form::Streamed`]. A file without
    /// bytes is always stored, whatever this says.
    pub crc32: Option<u32>,
    /// Mode 0755 instead of 0644.
    pub executable: bool,
    /// Any number that changes whenever the bytes may have changed. It is part of the ETag and nothing else.
    pub version: u64,
}

/// Collects files and folders for a [`Layout`].
///
/// ```
/// use outflow_zip::{File, LayoutBuilder};
///
/// let mut builder = LayoutBuilder::new();
/// let a = builder.file(File { name: "docs/a.txt", size: 10, ..File::default() })?;
/// let b = builder.file(File { name: "docs/a.txt", size: 20, ..File::default() })?;
/// builder.directory("empty", None)?;
/// let layout = builder.finish()?;
/// assert_eq!(layout.name(a), "docs/a.txt");
/// assert_eq!(layout.name(b), "docs/a (1).txt");
/// # Ok::<(), outflow_zip::LayoutError>(())
/// ```
#[derive(Debug)]
pub struct LayoutBuilder {
    records: Vec<Record>,
    names: Names,
    /// Where the next entry begins.
    offset: u64,
    digest: Digest,
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

    /// A builder with room for `entries` entries whose names have `name_bytes` bytes together.
    #[must_use]
    pub fn with_capacity(entries: usize, name_bytes: usize) -> LayoutBuilder {
        LayoutBuilder {
            records: Vec::with_capacity(entries),
            names: Names::with_capacity(entries, name_bytes),
            offset: 0,
            digest: Digest::new(),
        }
    }

    /// Adds a file and returns its index: 0 for the first entry, 1 for the second and so on.
    ///
    /// What the name has in it that some system cannot store becomes `_`; empty, `.` and `..` parts go; parts of
    /// more than 255 bytes are shortened; a name that is taken gets a number. [`Layout::name`] has the result.
    ///
    /// # Errors
    /// [`LayoutError`]. The builder is as before then, and can go on without that file.
    pub fn file(&mut self, file: File<'_>) -> Result<usize, LayoutError> {
        let (form, crc32) = match (file.size, file.crc32) {
            // Never deflated: some readers stumble over a deflated nothing (sharpcompress PR #452).
            (0, _) => (Form::Stored, 0),
            (_, Some(crc32)) => (Form::Stored, crc32),
            (_, None) => (Form::Streamed, 0),
        };
        self.names.place(file.name, Kind::File)?;
        let Some(framed) = framed_len(form, file.size) else { return Err(self.too_large(file.size)) };
        let entry = Entry {
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

    /// Adds a folder of its own, for one that would be missing because nothing is in it, or for its time. Returns
    /// its index, and that of the first if the folder has been added before.
    ///
    /// The name is made safe like a file's.
    ///
    /// # Errors
    /// [`LayoutError`]. The builder can go on without that folder then.
    pub fn directory(&mut self, name: &str, modified: Option<i64>) -> Result<usize, LayoutError> {
        if let Place::Known(start) = self.names.place(name, Kind::Directory)? {
            return Ok(self.records.partition_point(|record| record.name_end() <= start));
        }
        let entry = Entry {
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

    /// The layout of all that was added.
    ///
    /// # Errors
    /// [`LayoutError::TooLarge`].
    pub fn finish(self) -> Result<Layout, LayoutError> {
        let LayoutBuilder { mut records, names, offset, digest } = self;
        let names = names.into_all();
        records.shrink_to_fit();
        Layout::new(records, names, offset, digest.finish()).ok_or(LayoutError::TooLarge)
    }

    /// Takes the name that was found, for an entry that is complete but for it.
    fn push(&mut self, entry: Entry<'_>, version: u64) -> Result<usize, LayoutError> {
        let entry = Entry { name: self.names.placed(), ..entry };
        let Some(end) = entry.end().filter(|end| *end <= MAX_LEN) else {
            return Err(self.too_large(entry.size));
        };
        self.digest.entry(&entry, version);
        // A name that was found ends within 32 bits.
        self.records.push(Record::new(&entry, self.names.placed_end() as u32));
        self.names.commit();
        self.offset = end;
        Ok(self.records.len() - 1)
    }

    fn too_large(&self, size: u64) -> LayoutError {
        LayoutError::FileTooLarge { name: self.names.placed().to_owned(), size }
    }
}

/// The hash behind the ETag: of everything that decides about a byte, and of the versions.
#[derive(Debug)]
struct Digest {
    hasher: blake3::Hasher,
    /// Hashing is several times faster in large pieces.
    buffer: Vec<u8>,
}

impl Digest {
    const PIECE: usize = 64 * 1024;

    fn new() -> Digest {
        Digest { hasher: blake3::Hasher::new(), buffer: LAYOUT_VERSION.to_vec() }
    }

    /// Each entry says how long its name is, so that no two lists of entries read alike.
    fn entry(&mut self, entry: &Entry<'_>, version: u64) {
        let flags = [
            u8::from(entry.form == Form::Streamed),
            u8::from(entry.directory),
            u8::from(entry.executable),
            u8::from(entry.modified.is_some()),
        ];
        let out = &mut self.buffer;
        out.extend_from_slice(&(entry.name.len() as u64).to_le_bytes());
        out.extend_from_slice(entry.name.as_bytes());
        out.extend_from_slice(&entry.size.to_le_bytes());
        out.extend_from_slice(&entry.modified.unwrap_or(0).to_le_bytes());
        out.extend_from_slice(&flags);
        out.extend_from_slice(&entry.crc32.to_le_bytes());
        out.extend_from_slice(&version.to_le_bytes());
        if out.len() >= Digest::PIECE {
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
        "the name {name:?}... has more than {MAX_NAME} bytes, which no system can unpack: \
        leave the file out or use a shorter path"
    )]
    NameTooLong {
        /// How the name begins.
        name: String,
    },
    /// All names together have more than 4 GiB.
    #[error("the names of all files have more than 4 GiB: take fewer files into one archive")]
    NamesTooLong,
    /// With this file the archive would be longer than a file can be.
    #[error(
        "{name} of {size} bytes would make the archive longer than {MAX_LEN} bytes: \
        leave it out or make several archives"
    )]
    FileTooLarge {
        /// Its name in the archive.
        name: String,
        /// Its length in bytes.
        size: u64,
    },
    /// With the central directory the archive would be longer than a file can be.
    #[error("the archive would be longer than {MAX_LEN} bytes: make several archives")]
    TooLarge,
}

impl LayoutError {
    /// Of a name that may be very long.
    pub(crate) fn name_too_long(name: &str) -> LayoutError {
        LayoutError::NameTooLong { name: name.chars().take(60).collect() }
    }
}
