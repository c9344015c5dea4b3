//! Turns a list of files into a layout.

use crate::Layout;

/// One file of an archive.
#[derive(Clone, Copy, Debug)]
pub struct File<'a> {
    /// Path inside the archive, separated by `/`. The builder makes it safe and unique.
    pub name: &'a str,
    /// Length in bytes.
    pub size: u64,
    /// Seconds since 1970-01-01T00:00:00Z, if known.
    pub modified: Option<i64>,
    /// The CRC-32 if known: such a file is stored, any other is streamed.
    pub crc32: Option<u32>,
    /// Mode 0755 instead of 0644.
    pub executable: bool,
    /// Any number that changes whenever the bytes may have changed. It is part of the ETag, nothing else.
    pub version: u64,
}

/// Collects entries for a [`Layout`].
#[derive(Debug, Default)]
pub struct LayoutBuilder {}

impl LayoutBuilder {
    /// A builder without entries.
    #[must_use]
    pub fn new() -> LayoutBuilder {
        LayoutBuilder::default()
    }

    /// A builder with room for `entries` entries whose names have `name_bytes` bytes together.
    #[must_use]
    pub fn with_capacity(entries: usize, name_bytes: usize) -> LayoutBuilder {
        let _ = (entries, name_bytes);
        LayoutBuilder::default()
    }

    /// Adds a file and returns its index.
    ///
    /// # Errors
    /// [`LayoutError`]
    pub fn file(&mut self, file: File<'_>) -> Result<usize, LayoutError> {
        let _ = file;
        Ok(0)
    }

    /// Adds a folder entry and returns its index; the index of the first if there is one of that name.
    ///
    /// # Errors
    /// [`LayoutError`]
    pub fn directory(&mut self, name: &str, modified: Option<i64>) -> Result<usize, LayoutError> {
        let _ = (name, modified);
        Ok(0)
    }

    /// The layout of what was added.
    ///
    /// # Errors
    /// [`LayoutError`]
    pub fn finish(self) -> Result<Layout, LayoutError> {
        Err(LayoutError::TooLarge)
    }
}

/// Why a list of files cannot become an archive.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LayoutError {
    /// Too long.
    #[error("the archive would be longer than 8 EiB")]
    TooLarge,
}
