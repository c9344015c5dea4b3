//! The facts of one object.

use outflow_content::UnixTime;

/// An object as it was when the store described it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Object {
    /// Its name below the store's address, without a slash at the start.
    pub key: String,
    /// Size in bytes.
    pub size: u64,
    /// The store's entity tag, as it is sent in `If-Match`, with its quotes. Without one a change
    /// is noticed by size only.
    pub etag: Option<String>,
    /// The store's version of it, where it keeps versions.
    pub version: Option<String>,
    /// Modified time, if the store says.
    pub modified: Option<UnixTime>,
    /// CRC-32 of all its bytes, if it is known.
    pub crc32: Option<u32>,
}
