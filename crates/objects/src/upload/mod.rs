//! Files on their way into a store: whole or in parts, and never half.
//!
//! ```text
//! job        one file, by the library
//!   s3         the same with sums that the server checks and keeps
//! uploads    what uploads that run at the same time share
//! ```

mod job;
#[cfg(feature = "s3")]
mod s3;
mod uploads;

pub use uploads::{UploadError, UploadFile, Uploaded, Uploads};
