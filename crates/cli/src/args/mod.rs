//! Values of options, as people write them.
//!
//! ```text
//! duration   45s, 30m, 12h, 7d, 2w
//! expiry     a duration from now, or a time
//! network    10.0.0.0/8, ::1
//! size       256MiB
//! words      elements of lists, secrets
//! ```

pub(crate) mod duration;
pub(crate) mod expiry;
pub(crate) mod network;
pub(crate) mod size;
pub(crate) mod words;
