//! What the recipients of one object synchronise by. The model in `tests/model` compiles
//! `fetch/shared.rs` and `fetch/memory.rs` with its own version of this module, whose scheduler
//! tries many interleavings.

pub(crate) use std::sync::atomic::AtomicUsize;
pub(crate) use std::time::Instant;

pub(crate) use parking_lot::{Mutex, MutexGuard};
pub(crate) use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
pub(crate) use tokio::task::{AbortHandle, yield_now};
pub(crate) use tokio::time::{sleep, timeout};
