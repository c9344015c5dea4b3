//! The ZIP format as a layout: exact size, strong ETag and the bytes at any offset. No I/O, no
//! async, no clock.
//!
//! An archive of many files need never exist. Its [`Layout`] says where each of its bytes lies, and
//! an [`Archive`] hands them out as spans: a piece of a file here, a few bytes of header there,
//! from any offset. Length, ETag, Range and the bytes themselves all come from the same layout, so
//! they cannot disagree.
//!
//! ```text
//!   entry 0: CRC known (Form::Stored)        entry 1: CRC not known (Form::Streamed)
//!  +--------------+-----------------------+--------------+-----------------------+------------+
//!  | local header | the file's bytes,     | local header | the file's bytes in   | descriptor |..
//!  | CRC, sizes   | by sendfile           | zeros        | stored deflate blocks | CRC, sizes |
//!  +--------------+-----------------------+--------------+-----------------------+------------+
//!
//!       +------------------+------------------+-----+----------------------------+-----+
//!   ... | central record 0 | central record 1 | ... | Zip64 end, locator         | end |
//!       | name, CRC, where | name, CRC, where |     | only where numbers need it |     |
//!       +------------------+------------------+-----+----------------------------+-----+
//! ```
//!
//! Both forms have an exact length before the first byte is read, and both open in every reader of
//! the test matrix: Info-ZIP, 7-Zip, libarchive (from a pipe too), Python, Java's `ZipFile` and
//! `ZipInputStream`. Stored bytes with a descriptor would be simpler than the second form, but
//! Java's `ZipInputStream` refuses them.
//!
//! The CRC of a streamed entry is the one of the bytes that were sent; when they are sent elsewhere
//! or later, it is computed on demand ([`Bodies::compute_crc32`]). A download that started before
//! the CRCs were known continues under the same layout afterwards, with the same bytes.
//!
//! Not in this crate: compression, encryption, reading archives, symbolic links, comments. Names
//! that differ only in case stay unchanged.
//!
//! ```text
//! builder    a list of files -> a layout
//!   name       safe and unique names
//!   table        the set of names that are taken
//! layout     the part of the archive at an offset
//! record     headers, every field with its APPNOTE section
//!   framing    "stored" deflate blocks
//!   time       DOS and UNIX times
//! archive    a layout and the files' bytes -> spans
//!   feed       spans that need reading or computing
//! ```
//!
//! ```
//! use outflow_zip::{ArchiveFile, LayoutBuilder};
//!
//! let mut builder = LayoutBuilder::new();
//! let crc32 = Some(0x3610_a686);
//! let hello = ArchiveFile { name: "hello.txt", size: 5, crc32, ..ArchiveFile::default() };
//! let film = ArchiveFile { name: "film.mp4", size: 5 << 30, ..ArchiveFile::default() };
//! let (hello, film) = (builder.file(hello)?, builder.file(film)?);
//! let layout = builder.finish()?;
//!
//! // The length and the ETag are known before a byte of the files is read.
//! assert_eq!(layout.len(), 5_369_119_083);
//! assert_eq!(layout.etag().len(), 32);
//! // So is the place of each file's bytes.
//! assert_eq!(layout.body_range(hello), 39..44);
//! assert_eq!(layout.entry_at(1 << 30), Some(film));
//! # Ok::<(), outflow_zip::LayoutError>(())
//! ```
#![forbid(unsafe_code)]

mod archive;
mod builder;
mod feed;
mod framing;
mod layout;
mod name;
mod record;
mod table;
mod time;

pub use archive::{Archive, Bodies};
pub use builder::{ArchiveFile, LayoutBuilder, LayoutError};
pub use layout::{Form, Layout};
