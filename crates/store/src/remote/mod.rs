//! Objects in stores that are far away: S3 and its kin, GCS, Azure, any HTTP origin; folders behave alike.
//!
//! ```text
//! store      an opened store: heads, lists, small reads and writes
//! object     what is known of one object; its bytes as a source
//! address    what an address means
//! clients    from an address and the environment to clients
//! connector  the HTTP client under them, and the checksums it hands on
//! profile    the files that the AWS tools share
//! s3         what only S3 can
//! plain      addresses for requests whose answers are spliced
//! listing    keys as folders
//! failure    what a client's error means, without a secret
//! upload     files on their way into a store; upload_s3: with sums that the server checks
//! runtime    the threads on which all of this happens
//! ```

mod address;
mod clients;
mod connector;
mod failure;
mod listing;
mod object;
mod plain;
mod profile;
mod runtime;
mod s3;
mod store;
mod upload;
mod upload_s3;

pub use object::{Object, RemoteFile};
pub use store::{Small, Store, StoreError, StoreErrorKind, StoreOptions};
pub use upload::{UploadError, Uploaded, Uploads};
