//! A tunnel that outlives its legs: bytes that are not acknowledged are kept, and sent again over
//! the next leg.
//!
//! ```text
//! field      `Outflow-Resume`, the header field by which both ends agree
//! registry   the server's sessions: begun, resumed, expired
//! client     reconnects whenever the leg is lost
//! engine     one leg of a session
//! state      what outlives a leg
//! replay     bytes that were sent and are not acknowledged
//! ```
//!
//! # Protocol
//!
//! Only legs of capsules can be followed by others. The request for a tunnel has `Outflow-Resume:
//! new`; if the server agrees, its response has `Outflow-Resume: <id>; window=1048576; for=60`.
//! After a loss the client requests the same URL with `Outflow-Resume: <id>; received=<offset>`
//! within those 60 seconds. The response is 101 with `Outflow-Resume: <id>; received=<offset>`, and
//! both ends send from these offsets on.
//!
//! An offset counts the bytes of one direction, from the first leg on; its end (`FINAL_DATA`)
//! counts as one more. Each end sends ACK capsules with the offset up to which it has passed
//! everything to its far end: every [`ACK_EVERY`] bytes, after [`ACK_AFTER`], and at once for the
//! end of the direction. The sender keeps what is not acknowledged, at most `window` bytes; when
//! the window is full it stops reading its far end.
//!
//! A session is over when both directions have ended and both ends know it. The client reports that
//! with a DONE capsule. A server that does not receive it keeps the session for as long as any
//! other, so that a client whose leg was lost just then can still learn that the session is
//! complete. If a far end breaks, its end sends a CLOSE capsule, and the other far end is reset.
//!
//! # At the server
//!
//! ```no_run
//! # use outflow_tunnel::session::Sessions;
//! # use outflow_wire::upgrade::Upgraded;
//! # use tokio::net::TcpStream;
//! # async fn serve(sessions: &Sessions<TcpStream>, leg: Upgraded, far: TcpStream, header: &str) {
//! use outflow_tunnel::session::{AttachError, ResumeRequest};
//!
//! let session = match header.parse::<ResumeRequest>() {
//!     // `Err` gives the far end back: there are too many sessions, the tunnel is not resumable.
//!     Ok(ResumeRequest::New) => sessions.begin("anna", far).ok(),
//!     Ok(ResumeRequest::Again { id, received }) => {
//!         match sessions.attach(id, "anna", received).await {
//!             Ok(session) => Some(session),
//!             Err(AttachError::Unknown) => return,     // 404
//!             Err(AttachError::NotYours) => return,    // 403
//!             Err(AttachError::OutOfWindow) => return, // 409
//!         }
//!     }
//!     Err(_) => return, // 400
//! };
//! let Some(session) = session else { return };
//! // Sent with the 101, in the field `RESUME_FIELD`. If the 101 cannot be sent, the session is
//! // dropped, and waits for its client as after any other loss.
//! let field = session.response().to_string();
//! let outcome = session.run(leg, bytes::Bytes::new(), &Default::default()).await;
//! # }
//! ```
//!
//! A value that has to live as long as the far end (a permit, a log entry) is best kept within it:
//! any [`crate::carry::TunnelStream`] will do.

mod client;
mod engine;
mod field;
mod registry;
mod replay;
mod state;

pub use self::client::{Reconnect, ReconnectError, ResumeGrant, ResumedLeg, carry};
pub use self::engine::LegOutcome;
pub use self::field::{InvalidResumeField, RESUME_FIELD, ResumeRequest, ResumeResponse, SessionId};
pub use self::registry::{AttachError, SessionLimits, Sessions, TunnelSession};
pub use self::state::{ACK_AFTER, ACK_EVERY, WINDOW_BYTES};
