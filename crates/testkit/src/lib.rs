//! What the tests of several crates share: clients, trees of files, processes, and other programs'
//! servers.
//!
//! ```text
//! bytes     bytes without a pattern, comparison of large bodies
//! wait      polling a condition until a deadline
//! tree      folders of files to serve
//! tunnel    targets of tunnels, and clients that frame their legs by hand
//! tls       a certificate authority of the test's own, and clients that trust it
//! http/     HTTP/1 by hand, HTTP/2 by frames and by the `h2` crate, server-sent events
//! process/  child processes, downloaders, a browser, a slow network, memory
//! peers/    servers of others: nginx, HAProxy, OpenSSH, Pebble, PostgreSQL, moto, Garage
//! s3/       an S3 server that plays faults by plan, also as the program `outflow-s3-double`
//! ```
//!
//! It depends on none of the other crates, so that their tests can depend on it. Its functions
//! panic where a test would fail.
//!
//! ```
//! use outflow_testkit::{FileTree, noise};
//!
//! let tree = FileTree::new();
//! tree.file("films/a.bin", noise(1, 1000));
//! assert_eq!(FileTree::read(&tree.root()).len(), 1);
//! ```

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

pub mod bytes;
pub mod http;
pub mod peers;
pub mod process;
#[cfg(feature = "s3")]
pub mod s3;
pub mod tls;
mod tree;
pub mod tunnel;
mod wait;

pub use bytes::{Random, assert_same, noise};
pub use tree::{FileTree, Files};
pub use wait::{PATIENCE, until};
