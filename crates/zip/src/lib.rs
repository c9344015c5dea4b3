//! The ZIP format as a layout: exact size, strong ETag and the bytes at any offset. No I/O, no async, no clock.
#![forbid(unsafe_code)]
