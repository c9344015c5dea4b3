//! When a tunnel is given up, what it carried, and why it has ended.

use std::fmt;
use std::io;
use std::time::Duration;

use crate::frame::FrameError;

/// When a tunnel is given up. Its memory is bounded without a setting: one
/// [`crate::frame::CHUNK_BYTES`] in each direction while bytes are in flight.
#[derive(Clone, Debug)]
pub struct TunnelTimeouts {
    /// How long no payload may move in either direction. 1 hour.
    pub idle: Option<Duration>,
    /// How long nothing may arrive over the leg before a ping is sent; after 2.5 times as long the
    /// leg counts as lost. 25 seconds, which is shorter than the idle timeout of most proxies. Raw
    /// legs have no ping. With capsules, an end that has never answered is not given up, because
    /// other implementations do not know our ping.
    pub ping: Option<Duration>,
}

impl Default for TunnelTimeouts {
    fn default() -> TunnelTimeouts {
        TunnelTimeouts { idle: Some(Duration::from_secs(3600)), ping: Some(Duration::from_secs(25)) }
    }
}

/// Bytes of payload that were passed on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TunnelTotals {
    /// From the leg into the far end.
    pub to_far: u64,
    /// From the far end into the leg.
    pub from_far: u64,
}

/// Why a tunnel has ended.
#[derive(Debug)]
pub enum TunnelEnd {
    /// Both directions ended in order.
    Complete,
    /// No payload for too long.
    Idle,
    /// The leg broke.
    LegLost(io::Error),
    /// The other end of the leg gave up, with a WebSocket status and a reason.
    GivenUp(u16, String),
    /// The far end broke.
    FarLost(io::Error),
    /// The other end of the leg broke the protocol.
    Malformed(FrameError),
}

impl fmt::Display for TunnelEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TunnelEnd::Complete => f.write_str("complete"),
            TunnelEnd::Idle => f.write_str("idle for too long"),
            TunnelEnd::LegLost(error) => write!(f, "the tunnel broke: {error}"),
            TunnelEnd::GivenUp(status, reason) => write!(f, "the other end gave up: {reason} ({status})"),
            TunnelEnd::FarLost(error) => write!(f, "the tunnelled connection broke: {error}"),
            TunnelEnd::Malformed(error) => write!(f, "the other end broke the protocol: {error}"),
        }
    }
}
