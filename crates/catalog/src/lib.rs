//! Where bytes come from: local folders, and what is known about their files.
//!
//! A [`Root`] is a folder that was opened once; nothing outside it can be reached through it. It opens
//! a [`RelPath`] as a [`LocalFile`] or a [`LocalFolder`], and it walks a folder into a [`Tree`], which
//! is small enough to hold a million files. A [`LazyFile`] is a file of such a tree: it is opened when
//! its bytes leave, and refuses to be anything but the file that the walk saw.
//!
//! A [`Store`] is a folder that is far away: S3 and its kin, GCS, Azure, an HTTP origin. A [`Manifest`] says of what
//! a transfer in a store consists. A [`Transfer`] has the files that its manifest names; a [`Prefix`] is a part of a
//! store as it lies there. What both and a root have in common is [`Collection`].
//!
//! A [`Memo`] keeps small facts by key, on disk and in memory. A [`CrcCache`] remembers the CRC-32 of files by their [`Identity`], so that an
//! archive needs to be read only once before the kernel can send its files unread.
#![forbid(unsafe_code)]

#[path = "crc/background.rs"]
mod background;
mod collection;
#[path = "crc/cache.rs"]
mod crc;
#[path = "../../fs/src/error.rs"]
mod error;
#[path = "../../fs/src/feed.rs"]
mod feed;
#[path = "../../fs/src/file.rs"]
mod file;
#[path = "../../fs/src/folder.rs"]
mod folder;
#[path = "../../fs/src/identity.rs"]
mod identity;
mod manifest;
#[path = "crc/memo.rs"]
mod memo;
#[path = "crc/memo_file.rs"]
mod memo_file;
#[path = "tree/build.rs"]
mod objects;
#[path = "tree/retain.rs"]
mod only;
mod path;
#[path = "stores/plain.rs"]
mod prefix;
mod remote;
#[path = "../../fs/src/resolve.rs"]
mod resolve;
#[path = "../../fs/src/root.rs"]
mod root;
#[path = "stores/transfer.rs"]
mod transfer;
#[path = "tree/entries.rs"]
mod tree;
#[path = "../../fs/src/walk.rs"]
mod walk;

pub use background::Background;
pub use collection::{About, Collection, Found, FoundFile};
pub use crc::CrcCache;
pub use error::{OpenError, OpenErrorKind};
pub use file::{LazyFile, LocalFile};
pub use folder::{FolderEntry, LocalFolder};
pub use identity::{Identity, nanos_of, time_of};
pub use manifest::{Manifest, ManifestError, ManifestFile, is_transfer_id, new_transfer_id};
pub use memo::{Key, Memo};
pub use path::{BadPath, RelPath};
pub use prefix::Prefix;
pub use remote::{
    Object, RemoteFile, Small, Store, StoreError, StoreErrorKind, StoreOptions, UploadError, Uploaded,
    Uploads,
};
pub use root::{Opened, Root, RootOptions};
pub use transfer::Transfer;
pub use tree::{Entry, EntryKind, FileTag, NO_TIME, Tree, TreeFile, Unreadable};
pub use walk::{Bounds, WalkError, Wanted};
