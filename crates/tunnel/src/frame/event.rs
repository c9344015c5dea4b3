//! Framings, roles, what may arrive over a leg, and what may not.

use outflow_wire::websocket as wire;

/// How payload is framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LegFraming {
    /// Not at all.
    Raw,
    /// DATA and FINAL_DATA capsules.
    Capsules,
    /// Binary frames.
    WebSocket,
}

/// Which end of a leg this is. WebSocket treats the two differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LegRole {
    /// It requested the tunnel.
    Client,
    /// It granted the tunnel.
    Server,
}

impl LegRole {
    /// The role in which the other end sends.
    pub(super) fn peer(self) -> wire::FrameSender {
        match self {
            LegRole::Client => wire::FrameSender::Server,
            LegRole::Server => wire::FrameSender::Client,
        }
    }
}

/// What arrived over the leg.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FrameEvent {
    /// This many bytes of payload, the last of the bytes that were used. Never 0.
    Data(usize),
    /// This direction is complete.
    Fin,
    /// To be answered with the same bytes.
    Ping(Vec<u8>),
    /// The answer to a ping.
    Pong,
    /// The other end has passed on all bytes before this offset.
    Ack(u64),
    /// The other end gave up, with a WebSocket status and a reason.
    Closed(u16, String),
    /// The other end of a session will not reconnect.
    Done,
}

/// What a peer may not send.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The leg ended before its direction did.
    #[error("the leg ended in the middle of the stream")]
    Truncated,
    /// Payload, or a second end, after the end.
    #[error("more data follows the end of the stream")]
    DataAfterEnd,
    /// A control capsule of ours that is longer than any we define.
    #[error("a control capsule is too long")]
    LongControl,
    /// An acknowledgement that is not one number.
    #[error("an acknowledgement is not one number")]
    Ack,
    /// A fragment outside a message, or a message within another.
    #[error("a message fragment is out of order")]
    Fragments,
    /// A Close with one byte of a status.
    #[error("a Close frame has half a status")]
    Close,
    /// An invalid head.
    #[error("{0}")]
    Head(wire::WebSocketError),
}
