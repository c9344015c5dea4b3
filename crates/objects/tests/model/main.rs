//! A model of what the recipients of one object share: the crate's own `fetch/shared.rs` and
//! `fetch/memory.rs`, compiled with locks, timers and a scheduler of `shuttle`, over a store that
//! answers in pieces, breaks off and fails. Thousands of interleavings are tried; a recipient that
//! nobody wakes is a deadlock, which `shuttle` reports with the schedule that leads to it.
//!
//! ```text
//! sync    the primitives, under the scheduler's control
//! store   requests and responses of a store that fails by chance
//! cases   recipients, and what holds for them
//! ```
#![allow(clippy::unwrap_used)]
#![allow(dead_code, unreachable_pub, reason = "the modules of the crate are not all in use here")]

mod cases;
mod store;
mod sync;

#[path = "../../src/object.rs"]
mod object;

mod error {
    /// The kinds of errors that `fetch/retry.rs` distinguishes.
    #[derive(Debug, thiserror::Error)]
    pub(crate) enum StoreErrorKind {
        #[error("unavailable: {0}")]
        Unavailable(String),
        #[error("denied: {0}")]
        Denied(String),
        #[error("missing")]
        Missing,
    }
}

#[path = "../../src/fetch"]
mod fetch {
    pub(crate) use crate::store as requests;

    pub(crate) mod memory;
    pub(crate) mod retry;
    pub(crate) mod shared;
}
