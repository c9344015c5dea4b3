//! What the tests of several crates use: programs, clients and servers that play their part in a test.
//!
//! ```text
//! s3/   an S3 server that plays faults by plan, also as the program `outflow-s3-double`
//! ```

#![forbid(unsafe_code)]

#[cfg(feature = "s3")]
pub mod s3;
