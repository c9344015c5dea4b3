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

#[path = "../../../objects/src/client/address.rs"]
mod address;
#[path = "../../../objects/src/client/s3.rs"]
mod clients;
#[path = "../../../objects/src/client/connector.rs"]
mod connector;
#[path = "../../../objects/src/fetch/direct.rs"]
mod direct;
#[path = "../../../objects/src/fetch/requests.rs"]
mod engine;
#[path = "../../../objects/src/client/failure.rs"]
mod failure;
#[path = "../../../objects/src/listing.rs"]
mod listing;
#[path = "../../../objects/src/fetch/memory.rs"]
mod memory;
#[path = "../../../objects/src/fetch/source.rs"]
mod object;
#[path = "../../../objects/src/fetch/pace.rs"]
mod pace;
#[path = "../../../objects/src/fetch/plain.rs"]
mod plain;
#[path = "../../../objects/src/client/profile.rs"]
mod profile;
mod reach;
#[path = "../../../objects/src/fetch/reader.rs"]
mod reader;
#[path = "../../../objects/src/fetch/retry.rs"]
mod retry;
#[path = "../../../objects/src/runtime.rs"]
mod runtime;
#[path = "../../../objects/src/client/requests.rs"]
mod s3;
#[path = "../../../objects/src/fetch/shared.rs"]
mod shared;
#[path = "../../../objects/src/fetch/splicing.rs"]
mod splicing;
#[path = "../../../objects/src/store.rs"]
mod store;
#[cfg(test)]
#[path = "../../../objects/src/fetch/tests.rs"]
mod tests;
#[path = "../../../objects/src/fetch/through.rs"]
mod through;
#[path = "../../../objects/src/upload/job.rs"]
mod upload;
#[path = "../../../objects/src/upload/s3.rs"]
mod upload_s3;

pub use object::{Object, RemoteFile};
pub use store::{Small, Store, StoreError, StoreErrorKind, StoreOptions};
pub use upload::{UploadError, Uploaded, Uploads};
