//! Objects in stores that are far away: S3 and its kin, GCS, Azure, any HTTP origin; folders behave alike.
//!
//! ```text
//! store      an opened store: heads, lists, small reads and writes
//!   address    what an address means
//!   clients    from an address and the environment to clients
//!   connector  the HTTP client under them, and the checksums it hands on
//!   profile    the files that the AWS tools share
//!   s3         what only S3 can
//!   listing    keys as folders
//!   failure    what a client's error means, without a secret
//!   runtime    the threads on which all of this happens
//!   upload     files on their way into a store; upload_s3: with sums that the server checks
//! object     what is known of one object; its bytes as a source
//!   reader     one recipient's bytes: from memory, or straight from the store's socket
//!     pace       how far ahead is fetched
//!     splicing   segments that the kernel moves
//!   shared     pieces and segments that the recipients of one object share
//!   memory     the budget for all of them
//!   engine     requests for segments: how many at a time, by which way
//!     reach      back to the store
//!     plain      addresses for plain sockets
//!     direct     over plain sockets
//!     through    by `object_store`
//!     retry      what becomes of a request that failed
//! ```

mod address;
mod clients;
mod connector;
mod direct;
mod engine;
mod failure;
mod listing;
mod memory;
mod object;
mod pace;
mod plain;
mod profile;
mod reach;
mod reader;
mod retry;
mod runtime;
mod s3;
mod shared;
mod splicing;
mod store;
#[cfg(test)]
mod tests;
mod through;
mod upload;
mod upload_s3;

pub use object::{Object, RemoteFile};
pub use store::{Small, Store, StoreError, StoreErrorKind, StoreOptions};
pub use upload::{UploadError, Uploaded, Uploads};
