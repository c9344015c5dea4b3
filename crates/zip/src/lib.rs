//! The ZIP format as a layout: exact size, strong ETag and the bytes at any offset. No I/O, no async, no clock.
//!
//! An archive of many files need never exist. Its [`Layout`] says where each of its bytes lies, and an
//! [`Archive`] hands them out as spans: a piece of a file here, a few bytes of header there, from any offset.
//! Length, ETag, Range and the bytes themselves all come from the same layout, so they cannot disagree.
//!
//! ```text
//!   entry 0: CRC known (Form::Stored)        entry 1: CRC not known (Form::Streamed)
//!  +--------------+-----------------------+--------------+-----------------------+------------+
//!  | local header | the file's bytes      | local header | the file's bytes in   | descriptor | ...
//!  | CRC, sizes   | as they are: sendfile | zeros        | stored deflate blocks | CRC, sizes |
//!  +--------------+-----------------------+--------------+-----------------------+------------+
//!
//!       +------------------+------------------+-----+----------------------------+-----+
//!   ... | central record 0 | central record 1 | ... | Zip64 end, locator         | end |
//!       | name, CRC, where | name, CRC, where |     | only where numbers need it |     |
//!       +------------------+------------------+-----+----------------------------+-----+
//! ```
//!
//! Both forms have an exact length before the first byte is read, and both open in every reader that was
//! tried: Info-ZIP, 7-Zip, libarchive (from a pipe too), Python, Java's `ZipFile` and `ZipInputStream`. Stored
//! bytes with a descriptor would be simpler than the second form, but Java's `ZipInputStream` refuses them.
//!
//! Where the CRC of a streamed entry is needed, it is the one that its bytes had when they flowed; when they
//! flow elsewhere or later, it is computed on demand ([`Bodies::compute_crc32`]). A download that began
//! before the CRCs were known goes on under the same layout afterwards, to the same bytes.
//!
//! What this crate does not do: compress, encrypt, read archives, store symbolic links or comments. Names that
//! differ in case only stay as they are.
//!
//! Where to look: `builder` makes a layout from a list of files, `name` their names, `layout` finds what lies
//! at an offset, `record` encodes headers, `framing` deflate blocks, `archive` turns all this into spans,
//! and `feed` produces those bytes that have to wait for something.
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
pub use builder::{File, LayoutBuilder, LayoutError};
pub use layout::{Form, Layout};
