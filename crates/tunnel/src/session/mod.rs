//! A tunnel that outlives its legs: what is not acknowledged is kept, and sent again over the next one.
//!
//! ```text
//! field      `Outflow-Resume`, by which it is agreed on
//! state      what outlives a leg
//! replay     what was sent and is not acknowledged
//! engine     one leg of it
//! registry   the server's sessions: begun, attached to again, expired
//! client     comes back whenever the leg is lost
//! ```
//!
//! # Protocol
//!
//! Only legs of capsules can be followed by others. The request that asks for a tunnel says `Outflow-Resume: new`, and
//! the answer `Outflow-Resume: <id>; window=1048576; for=60`, if the server is willing. After a loss the client asks
//! for the same URL with `Outflow-Resume: <id>; received=<offset>`, within those 60 seconds, and the answer is 101
//! with `Outflow-Resume: <id>; received=<offset>`: from these offsets on both ends send.
//!
//! An offset counts the bytes of one direction, from the first leg on; its end (`FINAL_DATA`) counts as one more. Each end
//! says in ACK capsules up to which offset it has handed everything to its far end: every [`ACK_EVERY`] bytes, after
//! [`ACK_AFTER`], and at once for the end of the direction. Who sends keeps what is not acknowledged, at most `window`
//! bytes; then it reads its far end no further.
//!
//! A session is over when both directions have ended and both ends know it. The client says so with a DONE capsule; a
//! server that does not hear it keeps the session for as long as any other, so that a client whose leg was lost just
//! then learns the good news. If a far end breaks, the other one is told by a CLOSE capsule, and is reset.
//!
//! # At the server
//!
//! ```no_run
//! # async fn serve(
//! #     sessions: &outflow_tunnel::session::Sessions<tokio::net::TcpStream>,
//! #     leg: outflow_wire::upgrade::Upgraded, far: tokio::net::TcpStream, header: &str, user: &str,
//! # ) {
//! use outflow_tunnel::session::{Ask, AttachError};
//!
//! let session = match header.parse::<Ask>() {
//!     // `Err` gives the far end back: there are too many sessions, so the tunnel is a plain one.
//!     Ok(Ask::New) => sessions.begin(user, far).ok(),
//!     Ok(Ask::Again { id, received }) => match sessions.attach(id, user, received).await {
//!         Ok(session) => Some(session),
//!         Err(AttachError::Unknown) => return,     // 404
//!         Err(AttachError::NotYours) => return,    // 403
//!         Err(AttachError::OutOfWindow) => return, // 409
//!     },
//!     Err(_) => return, // 400
//! };
//! let Some(session) = session else { return };
//! let answer = session.answer(); // For the 101: `answer.to_string()` in the field `NAME`.
//! // If the 101 cannot be sent, the session is dropped, and waits for its client as after any other loss.
//! let ran = session.run(leg, bytes::Bytes::new(), &Default::default()).await;
//! # }
//! ```
//!
//! What has to live as long as the far end (a place among those allowed, an entry of the log) is best kept within it: any
//! [`Side`] will do.

mod client;
mod engine;
mod field;
mod registry;
mod replay;
mod state;

pub use self::client::{Attached, NoLeg, Reconnect, Resume, carry};
pub use self::engine::Ran;
pub use self::field::{Answer, Ask, BadField, Id, NAME};
pub use self::registry::{AttachError, Limits, Session, Sessions};
pub use self::state::{ACK_AFTER, ACK_EVERY, WINDOW};
