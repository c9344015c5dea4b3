//! Sending bodies: contents by the kernel where it can, any other body by copying.
//!
//! ```text
//! spans      a content, span by span: sendfile, splice, or gathered in one buffer
//!   begun      a delivery whose bytes leave, and its observer
//!   at_once    the same for what the socket takes in one call
//!   feeding    the feed whose bytes are leaving, and backpressure on it
//!   file       files without waiting for a disk
//! copy       any other body
//! failure    why a response did not leave whole
//! ```

mod at_once;
mod begun;
pub(crate) mod copy;
mod failure;
pub(crate) mod feeding;
pub(crate) mod file;
mod spans;

pub(crate) use at_once::poll_at_once;
pub(crate) use begun::BegunDelivery;
pub(crate) use failure::SendFailure;
pub(crate) use spans::outgoing;
