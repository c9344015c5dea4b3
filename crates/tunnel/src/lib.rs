//! TCP through HTTP: tunnels that a client requests from a server, through any proxy that forwards
//! upgrades or CONNECT.
//!
//! ```text
//! client/    requests tunnels, exposes local services, reconnects after losses
//! server/    a tower service that grants requests for targets that are allowed
//! session/   a tunnel that outlives its legs: what is not acknowledged is sent again
//! carry/     one tunnel over one leg, until both directions have ended
//! frame/     what goes over a leg: capsules, WebSocket frames, or raw bytes
//! ```
//!
//! A **leg** is what carries a tunnel between client and server: a connection that was HTTP, or one
//! of its streams. The **far end** is what the tunnel leads to: the target's socket at the server;
//! a program's socket, or standard input and output, at the client.
//!
//! Programs start with [`client::TunnelClient`] and [`server::TunnelService`]. The other modules
//! are for programs that have their own HTTP. The two ends of a tunnel, without HTTP in front:
//!
//! ```
//! use outflow_tunnel::carry::{TunnelEnd, TunnelTimeouts, carry};
//! use outflow_tunnel::frame::{LegFraming, LegRole};
//! use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let (client_leg, server_leg) = duplex(4096);
//! let (mut program, client_far) = duplex(4096);
//! let (mut target, server_far) = duplex(4096);
//! for (leg, role, far) in
//!     [(client_leg, LegRole::Client, client_far), (server_leg, LegRole::Server, server_far)]
//! {
//!     tokio::spawn(async move {
//!         let timeouts = TunnelTimeouts::default();
//!         let early = bytes::Bytes::new();
//!         let (totals, end) = carry(leg, early, LegFraming::Capsules, role, far, &timeouts).await;
//!         assert!(matches!(end, TunnelEnd::Complete), "{end}");
//!         assert_eq!(totals.to_far + totals.from_far, 9);
//!     });
//! }
//!
//! program.write_all(b"ping").await?;
//! program.shutdown().await?;
//! let mut received = String::new();
//! target.read_to_string(&mut received).await?;
//! assert_eq!(received, "ping");
//!
//! // Each direction ends by itself.
//! target.write_all(b"pong!").await?;
//! target.shutdown().await?;
//! received.clear();
//! program.read_to_string(&mut received).await?;
//! assert_eq!(received, "pong!");
//! # Ok(())
//! # }
//! ```

#![forbid(unsafe_code)]

pub mod carry;
pub mod client;
pub mod frame;
pub mod server;
pub mod session;
