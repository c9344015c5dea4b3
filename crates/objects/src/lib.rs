//! Objects in remote stores: S3 and compatible stores, Google Cloud Storage, Azure Blob Storage,
//! HTTP origins.
//!
//! ```text
//! store      an opened store: heads, lists, small reads and writes
//!   listing    keys as folders
//!   runtime    the threads on which all of this happens
//! client/    from an address and the environment to clients; the table of kinds
//! fetch/     objects' bytes while they leave: segments, splicing, memory, retries
//! upload/    files on their way into a store
//! object     what is known of one object
//! sync       locks and timers of what recipients share, which a model replaces
//! key        from an object's key to its path in a store
//! metrics    what is counted
//! error      why a store did not do what it was asked to
//! ```
//!
//! A [`Store`] is opened by its address. [`Store::source`] gives an object's bytes as a
//! [`Source`](outflow_content::Source): they are fetched in segments while they leave, with
//! retries, within the memory of [`StoreOptions::segment_memory`], and from a plain HTTP endpoint
//! the kernel moves them from socket to socket.
//!
//! A new kind of store is a module in `client/` and a row in [`KINDS`]. A kind may also be defined
//! elsewhere, and opened with [`Store::open_among`]:
//!
//! ```
//! use std::sync::{Arc, LazyLock};
//!
//! use object_store::memory::InMemory;
//! use object_store::path::Path;
//! use outflow_objects::{Backend, Store, StoreAddress, StoreKind, StoreOptions};
//!
//! static SHELF: LazyLock<Arc<InMemory>> = LazyLock::new(Arc::default);
//! static MEMORY: StoreKind = StoreKind {
//!     scheme: "memory",
//!     example: "memory://name",
//!     parse: |address| {
//!         let place = address.trim_start_matches("memory://").to_owned();
//!         Ok(StoreAddress { place, prefix: Path::ROOT, text: address.to_owned() })
//!     },
//!     open: |_, _| Ok(Backend::new(SHELF.clone())),
//!     keeps_media_types: true,
//! };
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let store = Store::open_among(&[&MEMORY], "memory://shelf", &StoreOptions::default())?;
//! store.wait(store.put("books/one.txt", "once upon a time".into(), "text/plain"))?;
//! let object = store.wait(store.head("books/one.txt"))?;
//! assert_eq!(object.size, 16);
//! let (folders, objects) = store.wait(store.list_folder("", 10))?;
//! assert_eq!((folders, objects.len()), (vec!["books".to_owned()], 0));
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]
// What only some kinds need is there without them, too, and costs nothing.
#![cfg_attr(not(all(feature = "azure", feature = "gcs", feature = "s3")), allow(dead_code, unused_imports))]

mod client;
mod error;
mod fetch;
mod key;
mod listing;
mod metrics;
mod object;
mod runtime;
mod store;
mod sync;
mod upload;

pub use client::{Backend, ConnectionUse, KINDS, ObjectBytes, StoreAddress, StoreKind, examples_of};
pub use error::{StoreError, StoreErrorKind};
pub use metrics::{FetchPath, StoreMetrics, StoreOutcome, StoreRequest};
pub use object::Object;
pub use store::{SmallRead, Store, StoreOptions};
pub use upload::{UploadError, UploadFile, Uploaded, Uploads};
