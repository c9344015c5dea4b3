//! The ZIP format as a layout: exact size, strong ETag and the bytes at any offset. No I/O, no async, no clock.
#![forbid(unsafe_code)]

mod archive;
mod builder;
mod layout;

pub use archive::{Archive, Bodies};
pub use builder::{File, LayoutBuilder, LayoutError};
pub use layout::{Form, Layout};
