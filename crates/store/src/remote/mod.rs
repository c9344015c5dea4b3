//! Objects in stores that are far away: S3 and its kin, GCS, Azure, any HTTP origin; folders behave alike.
//!
//! ```text
//! store      an opened store: heads, lists, small reads and writes
//! object     what is known of one object; its bytes as a source
//! ```

mod object;
mod store;

pub use object::{Object, RemoteFile};
pub use store::{Small, Store, StoreError, StoreErrorKind, StoreOptions};
