//! A local folder that no request can leave.
//!
//! ```text
//! root       the folder, opened once; opens what a path names
//!   resolve    from a path to a descriptor, by openat2(2) or step by step
//!   file       an open file, and what it was when it was opened
//!   folder     an open folder
//! list       what is directly in a folder
//! walk       everything in a folder, or a selection of it, for a visitor
//! expected   a file that is opened when its bytes leave, and refused if it was replaced
//!   feed       a file's bytes through memory, for servers that cannot send from a descriptor
//! identity   what tells a file from another one, and from itself after a change
//! error      why something cannot be opened
//! ```
//!
//! [`Root::open`] is the one door to files: symbolic links that lead out of the root, names that
//! begin with a dot (unless the root shows them), FIFOs, sockets and devices are refused there,
//! whatever a request asks for.
//!
//! ```
//! use outflow_content::{OpenFile, Wait};
//! use outflow_fs::{OpenErrorKind, Opened, RelPath, Root, RootOptions};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let folder = tempfile::tempdir()?;
//! std::fs::write(folder.path().join("film.mp4"), "bytes")?;
//! std::os::unix::fs::symlink("/etc", folder.path().join("out"))?;
//!
//! let root = Root::new(folder.path(), RootOptions::default())?;
//! let path = RelPath::new(b"film.mp4")?;
//! let Opened::File(film) = root.open(&path, Wait::Yes)? else { panic!("a folder") };
//! assert_eq!(film.size(), 5);
//! film.verify()?;
//!
//! let out = root.open(&RelPath::new(b"out/passwd")?, Wait::Yes).unwrap_err();
//! assert!(matches!(out.kind, OpenErrorKind::LinkRefused));
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]

mod error;
mod expected;
mod feed;
mod file;
mod folder;
mod identity;
mod list;
mod resolve;
mod root;
mod walk;

pub use error::{OpenError, OpenErrorKind};
pub use expected::ExpectedFile;
pub use file::LocalFile;
pub use folder::{EntryKind, LocalFolder};
pub use identity::Identity;
pub use list::LocalEntry;
pub use outflow_content::{BadPath, RelPath};
pub use root::{Opened, Root, RootOptions};
pub use walk::{Unreadable, WalkEntry, WalkError, WalkLimits, WalkScope, WalkVisitor};
