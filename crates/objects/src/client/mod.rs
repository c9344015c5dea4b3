//! From an address and the environment to clients of a store.
//!
//! ```text
//! kinds      the table of kinds: which schemes there are
//!   s3 gcs azure http    one kind each: how its addresses look, how it is opened
//! kind       what a row of the table says, and what an opened store consists of
//! address    addresses, checked and without secrets
//! options    what all HTTP clients have in common: timeouts, retries, connections
//! connector  the HTTP client under them, and the checksums that it hands on
//! profile    the files that the AWS tools share
//! requests   requests that only S3 knows, signed with the same credentials
//! failure    what a client's error means, without a secret
//! ```

pub(crate) mod address;
#[cfg(feature = "azure")]
mod azure;
pub(crate) mod connector;
pub(crate) mod failure;
#[cfg(feature = "gcs")]
mod gcs;
mod http;
pub(crate) mod kind;
pub(crate) mod kinds;
mod options;
#[cfg(feature = "s3")]
mod profile;
#[cfg(feature = "s3")]
pub(crate) mod requests;
#[cfg(feature = "s3")]
mod s3;

pub use address::StoreAddress;
pub use kind::{Backend, ConnectionUse, ObjectBytes, StoreKind};
pub use kinds::{KINDS, examples_of};
