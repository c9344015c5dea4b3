//! Archives seen from outside: read back, taken in ranges, resumed, and far larger than any disk.
#![allow(clippy::unwrap_used)] // a test that fails says where

mod boundaries;
mod layouts;
mod ranges;
mod readback;
mod resume;
mod support;
