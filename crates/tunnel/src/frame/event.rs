//! Framings, roles, what may come over a leg, and what may not.

use outflow_wire::websocket as wire;

/// How payload is marked as such.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// Not at all.
    Raw,
    /// DATA and FINAL_DATA capsules.
    Capsules,
    /// Binary frames.
    WebSocket,
}

/// Which end of a leg this is: those of WebSocket are not alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It asked for the tunnel.
    Client,
    /// It granted it.
    Server,
}

impl Role {
    /// As whom the other end sends.
    pub(super) fn peer(self) -> wire::FrameSender {
        match self {
            Role::Client => wire::FrameSender::Server,
            Role::Server => wire::FrameSender::Client,
        }
    }
}

/// What came over the leg.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// So many bytes of payload: the last ones of those that were used. Never 0.
    Data(usize),
    /// This direction is complete.
    Fin,
    /// To be answered with the same bytes.
    Ping(Vec<u8>),
    /// The answer.
    Pong,
    /// The other end has passed on what lies before this offset.
    Ack(u64),
    /// The other end gave up, with a status of WebSocket and words.
    Closed(u16, String),
    /// The other end of a session will not come back.
    Done,
}

/// What no peer may send.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// The leg ended, and the direction had not.
    #[error("the leg ended in the middle of the stream")]
    Truncated,
    /// Payload, or a second end, behind the end.
    #[error("there is more behind the end of the stream")]
    BehindEnd,
    /// A control capsule of ours that is longer than any of ours.
    #[error("a control capsule is too long")]
    LongControl,
    /// An acknowledgement that is no number.
    #[error("an acknowledgement is not one number")]
    Ack,
    /// A fragment without a message, or a message within another.
    #[error("the fragments of messages are mixed up")]
    Fragments,
    /// A Close with half a status.
    #[error("a Close frame has half a status")]
    Close,
    /// A frame's head.
    #[error("{0}")]
    Frame(wire::WebSocketError),
}
