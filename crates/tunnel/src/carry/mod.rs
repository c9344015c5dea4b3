//! One tunnel: its leg and its far end, until both directions have ended.
//!
//! ```text
//! tunnel     both directions at once
//! inbound    leg -> far end
//! outbound   far end -> leg
//! clock      silence: when to ping, when to give up
//! outcome    timeouts, totals, why a tunnel has ended
//! stream     what a leg and a far end can do besides reading and writing: be reset
//! ```
//!
//! For a caller that has both ends (`outflow_wire::upgrade::Upgraded` is a [`TunnelStream`], so is
//! a `TcpStream`):
//!
//! ```no_run
//! # async fn serve(leg: outflow_wire::upgrade::Upgraded, far: tokio::net::TcpStream) {
//! use outflow_tunnel::carry::{TunnelEnd, TunnelTimeouts, carry};
//! use outflow_tunnel::frame::{LegFraming, LegRole};
//!
//! let early = bytes::Bytes::new(); // Bytes that were read from the leg together with the head.
//! let timeouts = TunnelTimeouts::default();
//! let (framing, role) = (LegFraming::Capsules, LegRole::Server);
//! let (totals, end) = carry(leg, early, framing, role, far, &timeouts).await;
//! match end {
//!     TunnelEnd::Complete => println!("{} bytes in, {} out", totals.to_far, totals.from_far),
//!     // The far end has been reset, and the leg closed without an end.
//!     broken => println!("{broken}"),
//! }
//! # }
//! ```
//!
//! The future may be dropped at any time; an incomplete tunnel is then reset, as with any other
//! failure. Each direction half-closes by itself: the end of the leg's direction shuts down writing
//! to the far end, and the far end's end is sent as the end of the other direction.
//!
//! Where both ends are sockets and the framing is raw, [`outflow_relay::flow`] does the same with
//! splice(2).

pub(crate) mod clock;
pub(crate) mod inbound;
pub(crate) mod outbound;
mod outcome;
pub(crate) mod stream;
mod tunnel;

pub use self::outcome::{TunnelEnd, TunnelTimeouts, TunnelTotals};
pub use self::stream::{JoinedStream, TunnelStream};
pub use self::tunnel::carry;
