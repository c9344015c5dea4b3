//! Archives seen from outside: read back, taken in ranges, resumed, and far larger than any disk.

mod boundaries;
mod layouts;
mod ranges;
mod readback;
mod resume;
mod support;
