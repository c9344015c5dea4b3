//! What can be served: ordered sets of files under one address, wherever the bytes lie.
//!
//! ```text
//! collection   what all of them have in common: finding, listing, walking
//!   local        a folder on disk
//!   stores/      objects in a store: transfers, plain stores, and the kinds of stores
//!   manifest/    what a transfer consists of
//! tree/        what a walk found, small enough for millions of files; built by any crate
//! entry        files and folders as they are listed and found
//! crc/         the CRC-32s of files: remembered, computed, learned in quiet times
//! fingerprint  what a file is known by in caches
//! ```
//!
//! Paths, local folders and walks come from `outflow-fs`, stores from `outflow-objects`; what of
//! them belongs to a collection is exported here as well.
//!
//! # A collection of one's own
//!
//! A [`Collection`] may be written anywhere. It builds a [`Tree`] of what it has, which finds,
//! lists and walks; a [`FileOpener`] says where the bytes come from.
//!
//! ```
//! use std::sync::Arc;
//!
//! use outflow_catalog::*;
//! use outflow_content::{Source, Span, Wait};
//!
//! /// Two poems that lie in the program itself.
//! #[derive(Debug)]
//! struct Poems {
//!     tree: Tree,
//! }
//!
//! #[derive(Debug)]
//! struct Text(&'static str);
//!
//! impl Source for Text {
//!     fn span(self: Arc<Self>, offset: u64, len: u64) -> Span {
//!         Span::Memory(self.0.as_bytes()[offset as usize..(offset + len) as usize].into())
//!     }
//! }
//!
//! #[derive(Debug)]
//! struct Texts(Vec<&'static str>);
//!
//! impl FileOpener for Texts {
//!     fn source(&self, file: TreeFile<'_>) -> Arc<dyn Source> {
//!         Arc::new(Text(self.0[file.slot() as usize]))
//!     }
//! }
//!
//! impl Poems {
//!     fn new() -> Result<Poems, Box<dyn std::error::Error>> {
//!         let mut builder = TreeBuilder::new();
//!         let mut texts = Vec::new();
//!         for (path, text) in [("old/fog.txt", "The fog comes"), ("new/rain.txt", "Rain")] {
//!             let fingerprint = Fingerprint::of(&[b"poems", path.as_bytes(), text.as_bytes()]);
//!             let size = text.len() as u64;
//!             let record = FileRecord { size, modified: None, fingerprint, executable: false };
//!             assert_eq!(builder.file(path.as_bytes(), record)?, texts.len() as u32);
//!             texts.push(text);
//!         }
//!         let tree = builder.build(Arc::new(Texts(texts)), WalkLimits::default())?;
//!         Ok(Poems { tree })
//!     }
//! }
//!
//! impl Collection for Poems {
//!     fn name(&self) -> &[u8] {
//!         b"poems"
//!     }
//!     fn identity(&self) -> [u8; 32] {
//!         self.tree.digest().exact
//!     }
//!     fn is_immutable(&self) -> bool {
//!         true
//!     }
//!     fn find(&self, path: &RelPath, _: Wait) -> Result<FoundPath, OpenError> {
//!         self.tree.find(path)
//!     }
//!     fn list(&self, folder: &RelPath, limit: usize) -> Result<Vec<FolderEntry>, OpenError> {
//!         self.tree.list(folder, limit)
//!     }
//!     fn walk(
//!         self: Arc<Self>,
//!         folder: &RelPath,
//!         scope: &WalkScope,
//!         limits: WalkLimits,
//!     ) -> Result<Tree, WalkError> {
//!         self.tree.part(folder, scope, limits)
//!     }
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let poems: Arc<dyn Collection> = Arc::new(Poems::new()?);
//! let path = RelPath::new(b"old/fog.txt")?;
//! let FoundPath::File(fog) = poems.find(&path, Wait::No)? else { panic!("a folder") };
//! assert_eq!(fog.size, 13);
//! let tree = poems.walk(&RelPath::root(), &WalkScope::All, WalkLimits::default())?;
//! assert_eq!((tree.files(), tree.bytes()), (2, 17));
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]

mod collection;
mod crc;
mod entry;
mod fingerprint;
mod local;
mod manifest;
mod stores;
mod tree;

pub use collection::{Collection, TransferInfo};
pub use crc::{Background, CrcCache, CrcMetrics, CrcReason, Memo};
pub use entry::{FileTag, FolderEntry, FoundFile, FoundPath};
pub use fingerprint::Fingerprint;
pub use manifest::{Manifest, ManifestError, ManifestFile, is_transfer_id, new_transfer_id};
pub use outflow_fs::{
    BadPath, EntryKind, ExpectedFile, Identity, LocalFile, LocalFolder, OpenError, OpenErrorKind, Opened,
    RelPath, Root, RootOptions, Unreadable, WalkError, WalkLimits, WalkScope,
};
pub use outflow_objects::{
    Object, SmallRead, Store, StoreError, StoreErrorKind, StoreKind, StoreOptions, UploadError, UploadFile,
    Uploaded, Uploads,
};
pub use stores::{PlainStore, Transfer, open_store, store_examples, store_kinds};
pub use tree::{
    FileCrc32, FileOpener, FileRecord, LearnedCrc32, OpenerFuture, Tree, TreeBuilder, TreeDigest, TreeEntry,
    TreeFile,
};
