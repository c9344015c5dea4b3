//! What programs that work with sockets share. It knows no HTTP, and opens no sockets.

#![forbid(unsafe_code)]

pub mod pipe;
pub mod public;

pub use self::public::is_public;
