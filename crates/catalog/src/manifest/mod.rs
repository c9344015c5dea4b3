//! Manifests of transfers: `manifest.json`, version 1, described in `docs/manifest.md`.
//!
//! ```text
//! parse   reads hostile bytes, and says what is wrong with them
//! write   writes a manifest, always with the same bytes
//! id      names of transfers
//! ```

mod id;
mod parse;
mod write;

pub use id::{is_transfer_id, new_transfer_id};
pub use parse::ManifestError;

/// A transfer: objects below `<id>/` in a store, and what people see of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// The transfer's name, which is its folder in the store: see [`is_transfer_id`].
    pub id: String,
    /// A line for people.
    pub title: Option<String>,
    /// Some lines for people.
    pub message: Option<String>,
    /// When it was made, in nanoseconds since 1970.
    pub created: i64,
    /// When it ends, in nanoseconds since 1970.
    pub expires: Option<i64>,
    /// Its files in any order.
    pub files: Vec<ManifestFile>,
}

/// One file of a transfer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ManifestFile {
    /// Relative path with slashes; no empty component, `.` or `..`, no backslash, no control
    /// character.
    pub name: String,
    /// The object, below the transfer's folder. By the same rules as the name.
    pub key: String,
    /// In bytes.
    pub size: u64,
    /// In nanoseconds since 1970.
    pub modified: Option<i64>,
    /// Of all its bytes.
    pub crc32: Option<u32>,
    /// The store's tag of the object, with its quotes.
    pub etag: Option<String>,
    /// Such as `image/png`; guessed from the name where it is missing.
    pub media_type: Option<String>,
}

impl Manifest {
    /// The name of a manifest in its transfer's folder.
    pub const NAME: &'static str = "manifest.json";
    /// Maximum length of a manifest in bytes.
    ///
    /// Bound: transfers.
    pub const MAX_BYTES: usize = 64 << 20;
    /// Maximum number of files in a manifest.
    ///
    /// Bound: transfers.
    pub const MAX_FILES: usize = 1_000_000;
    /// Maximum length of a name or key in bytes.
    ///
    /// Bound: transfers.
    pub const MAX_NAME: usize = 4096;

    /// Where the manifest of the transfer `id` is, below the store's address.
    #[must_use]
    pub fn key_of(id: &str) -> String {
        format!("{id}/{}", Manifest::NAME)
    }

    /// Where a file's object is, below the store's address.
    #[must_use]
    pub fn object_key(&self, file: &ManifestFile) -> String {
        format!("{}/{}", self.id, file.key)
    }

    /// Bytes of all files together.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.size).sum()
    }

    /// Whether it has ended at `now`, in nanoseconds since 1970.
    #[must_use]
    pub fn is_expired(&self, now: i64) -> bool {
        self.expires.is_some_and(|expires| now >= expires)
    }
}

impl ManifestFile {
    /// The key that a file of this name has when none is written.
    #[must_use]
    pub fn default_key(name: &str) -> String {
        format!("files/{name}")
    }
}
