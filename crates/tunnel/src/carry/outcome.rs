//! When a tunnel is given up, what it carried, and why it is over.

use std::fmt;
use std::io;
use std::time::Duration;

use crate::frame::Malformed;

/// When a tunnel is given up. Its memory is bounded by itself: one [`CHUNK`] each way, while bytes are in it.
#[derive(Clone, Debug)]
pub struct Limits {
    /// How long there may be no payload either way. 1 hour.
    pub idle: Option<Duration>,
    /// How long nothing at all may come over the leg before the other end is asked; after 2.5 times as long the leg is
    /// taken for lost. 25 seconds, which is less than what proxies usually wait. Raw legs cannot be asked, and those with
    /// capsules are not taken for lost if the other end has never answered: others do not know our question.
    pub ping: Option<Duration>,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { idle: Some(Duration::from_secs(3600)), ping: Some(Duration::from_secs(25)) }
    }
}

/// Bytes of payload that were passed on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// From the leg, into the far end.
    pub to_far: u64,
    /// From the far end, into the leg.
    pub from_far: u64,
}

/// Why a tunnel is over.
#[derive(Debug)]
pub enum End {
    /// Both directions ended in order.
    Complete,
    /// No payload for too long.
    Idle,
    /// The leg broke.
    LegLost(io::Error),
    /// Its other end gave up, with a status of WebSocket and words.
    GivenUp(u16, String),
    /// The far end did.
    FarLost(io::Error),
    /// The leg brought what it may not.
    Malformed(Malformed),
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            End::Complete => f.write_str("complete"),
            End::Idle => f.write_str("idle for too long"),
            End::LegLost(error) => write!(f, "the tunnel broke: {error}"),
            End::GivenUp(status, words) => write!(f, "the other end gave up: {words} ({status})"),
            End::FarLost(error) => write!(f, "the tunnelled connection broke: {error}"),
            End::Malformed(error) => write!(f, "the other end does not keep to the protocol: {error}"),
        }
    }
}
