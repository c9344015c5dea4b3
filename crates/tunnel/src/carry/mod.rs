//! One tunnel: its leg and its far end, until both have said all.
//!
//! ```text
//! tunnel     both directions, until both have ended
//! outcome    limits, totals, why a tunnel is over
//! stream     what a leg and a far end can do besides reading and writing: be reset
//! inbound    leg -> far end
//! outbound   far end -> leg
//! clock      silence: when to ask, when to give up
//! ```
//!
//! For whoever has both (`outflow_wire::upgrade::Upgraded` is a [`Side`], so is a `TcpStream`):
//!
//! ```no_run
//! # async fn serve(leg: outflow_wire::upgrade::Upgraded, far: tokio::net::TcpStream) {
//! use outflow_tunnel::carry::{End, Limits, carry};
//! use outflow_tunnel::frame::{Framing, Role};
//!
//! let early = bytes::Bytes::new(); // What came behind the head, if whoever read the head has it.
//! let (totals, end) = carry(leg, early, Framing::Capsules, Role::Server, far, &Limits::default()).await;
//! match end {
//!     End::Complete => println!("{} bytes in, {} out", totals.to_far, totals.from_far),
//!     broken => println!("{broken}"), // The far end has been reset, the leg closed without an end.
//! }
//! # }
//! ```
//!
//! The future may be dropped at any time: what was not complete is reset then, as with any other end. Half-closing works
//! each way for itself: the end of the leg's direction shuts the far end's writing down, the far end's end
//! becomes that of the other direction.
//!
//! Where both are sockets and the framing is raw, [`outflow_relay::flow`] does the same with splice(2).

pub(crate) mod clock;
pub(crate) mod inbound;
pub(crate) mod outbound;
mod outcome;
pub(crate) mod stream;
mod tunnel;

pub use self::outcome::{End, Limits, Totals};
pub use self::stream::{Joined, Side};
pub use self::tunnel::carry;
pub use crate::frame::CHUNK;
