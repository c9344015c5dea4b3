//! Deliveries whose last byte has been handed to the kernel, until it is known whether they
//! arrived.
//!
//! ```text
//! pending    one delivery: where its bytes lie in the connection's, when they were acknowledged
//! queue      all of one connection, and what the kernel says of them
//!
//! all sent  ->  acknowledged to the last byte  ->  a next request or an orderly end: confirmed
//!                                              ->  neither within `confirm_timeout`: acknowledged
//! a reset at any time, or no progress for too long: aborted, with what was acknowledged
//! ```
//!
//! The connection goes on meanwhile: a next request never waits. All bytes written to a socket are
//! counted, so that the kernel's one number (`SIOCOUTQ`) says for each delivery how much of it has
//! arrived. The number is read when something happens anyway (a next request, an end), on the tick
//! that all busy connections share, and after a large body by a timer of its own.
//!
//! There would be an event for the acknowledgement of a body's last byte (`SO_TIMESTAMPING`,
//! `TX_ACK`), but it wakes a socket's waiters with `EPOLLERR`, which mio takes for the end of the
//! writing side, and tokio never forgets that: from then on, waiting for space in that socket
//! spins.

mod pending;
mod queue;

pub(crate) use pending::{PendingDelivery, abort_all, disconnected, is_large, is_worth_measuring};
pub(crate) use queue::{MAX_PENDING, PROGRESS_INTERVAL, PendingDeliveries};
