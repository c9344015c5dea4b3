//! Servers that are not ours, each a process with a folder of its own.
//!
//! A server that cannot choose a port itself is given one that the kernel chose; if another process
//! takes it in between, the server is started again with another port.

mod haproxy;
mod nginx;
mod pebble;
mod postgres;
mod s3;
mod sshd;

pub use haproxy::Haproxy;
pub use nginx::Nginx;
pub use pebble::{Pebble, PebbleSite};
pub use postgres::Postgres;
pub use s3::{BUCKET, Garage, Moto, S3Access};
pub use sshd::Sshd;
