//! Why a response did not leave whole.

use outflow_content::AbortReason;

/// A response that did not leave whole. Its observer has been notified.
#[derive(Debug)]
pub(crate) enum SendFailure {
    /// Some of it has left: the connection has to be reset. Earlier deliveries end for this reason.
    Cut(AbortReason),
    /// The content failed before one byte of the response had left: another answer can be given.
    Unsent,
}
