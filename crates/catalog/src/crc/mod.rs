//! The CRC-32s of files: known, computed, and computed in the background.
//!
//! ```text
//! cache       remembers them, and computes each only once
//! background  learns those of whole trees while there is little else to do
//! memo        small facts by fingerprint, in memory and on disk
//!   memo_file   the file behind it
//! ```

mod background;
mod cache;
mod memo;
mod memo_file;
mod metrics;

pub use background::Background;
pub use cache::CrcCache;
pub use memo::Memo;
pub use metrics::{CrcMetrics, CrcReason};
