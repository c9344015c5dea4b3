//! The helpers of tests, tested themselves.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test, in helpers as well")]

mod s3;
