//! Trees: what a walk found, small enough for millions of files.
//!
//! ```text
//! entries   records and names; visiting them, and the way from an entry to its file
//!   record    one record of 40 bytes
//! opener    where the files' bytes come from: the door for collections written elsewhere
//! build     from a list of paths, or level by level, to a tree
//! part      a folder or a selection of a tree as a tree; finding and listing
//! retain    a tree without some of its entries
//! digest    hashes that tell one state of a tree from another
//! ```

mod build;
mod digest;
mod entries;
mod opener;
mod part;
mod record;
mod retain;

pub use build::{FileRecord, TreeBuilder};
pub(crate) use build::{LevelBuilder, NamedFile, by_components};
pub use digest::TreeDigest;
pub use entries::{Tree, TreeEntry, TreeFile};
pub use opener::{FileCrc32, FileOpener, LearnedCrc32, OpenerFuture};
