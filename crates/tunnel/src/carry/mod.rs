//! One tunnel: its leg and its far end, until both have said all.
//!
//! ```text
//! side       what a leg and a far end can do besides reading and writing: be reset
//! chunk      buffers that are borrowed while there are bytes in them
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

mod chunk;
pub(crate) mod clock;
pub(crate) mod inbound;
pub(crate) mod outbound;
mod side;

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use self::clock::{Clock, Due};
use self::inbound::{Inbound, Said};
use self::outbound::{Outbound, Straight};
use crate::frame::{Encoder, Framing, Malformed, Role};

pub use self::chunk::CHUNK;
pub use self::side::{Joined, Side};

/// How long a leg that is done with may take to take its end, or a last word.
pub(crate) const LINGER: Duration = Duration::from_secs(1);

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

/// Carries bytes both ways between `leg` and `far` until both directions have ended or something breaks. `early` is
/// what came over the leg already. `role` is this end's.
pub async fn carry<L: Side, F: Side>(
    leg: L,
    early: Bytes,
    framing: Framing,
    role: Role,
    far: F,
    limits: &Limits,
) -> (Totals, End) {
    let mut tunnel = Tunnel {
        leg,
        far,
        framing,
        inbound: Inbound::new(framing, role, early),
        outbound: Outbound::new(framing, Encoder::new(framing, role), Straight),
        clock: Clock::new(limits.idle, limits.ping.filter(|_| framing != Framing::Raw)),
        settled: false,
    };
    // Whoever answers pings in capsules is one of us; to WebSocket they belong.
    if framing == Framing::WebSocket {
        tunnel.clock.answers();
    }
    let end = poll_fn(|cx| tunnel.poll(cx)).await;
    tunnel.settle(&end).await;
    (Totals { to_far: tunnel.inbound.passed(), from_far: tunnel.outbound.taken() }, end)
}

struct Tunnel<L: Side, F: Side> {
    leg: L,
    far: F,
    framing: Framing,
    inbound: Inbound,
    outbound: Outbound<Straight>,
    clock: Clock,
    /// Nothing is left to be reset.
    settled: bool,
}

impl<L: Side, F: Side> Tunnel<L, F> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        match self.advance(cx) {
            Err(end) => Poll::Ready(end),
            Ok(()) if self.inbound.is_done() && self.outbound.is_done() => Poll::Ready(End::Complete),
            Ok(()) => Poll::Pending,
        }
    }

    /// As far as it goes now.
    fn advance(&mut self, cx: &mut Context<'_>) -> Result<(), End> {
        while let Poll::Ready(said) = self.inbound.poll(cx, &mut self.leg, &mut self.far) {
            match said? {
                Said::Ping(payload) => {
                    self.clock.answers();
                    self.outbound.pong(payload);
                }
                Said::Pong => self.clock.answers(),
                Said::Ack(_) | Said::Passed | Said::Done => {}
                Said::Ended if self.outbound.is_done() => return Ok(()),
                Said::Ended => {}
            }
        }
        let listening = self.inbound.is_listening();
        let mut moved = self.inbound.take_moved();
        match self.clock.poll(cx, moved, self.inbound.take_heard(), listening) {
            Some(Due::Idle) => return Err(End::Idle),
            Some(Due::Lost) => return Err(End::LegLost(silent())),
            Some(Due::Ping) => self.outbound.ping(),
            None => {}
        }
        self.outbound.advance(cx, &mut self.leg, &mut self.far)?;
        moved = self.outbound.take_moved();
        if moved {
            self.clock.moved();
        }
        Ok(())
    }

    /// Leaves both sides as the end demands: nobody may take a stream that broke for a whole one.
    async fn settle(&mut self, end: &End) {
        if matches!(end, End::Complete) {
            // With something unread in it, a socket that is closed is reset, which may take our last bytes along: so it
            // ends, and takes what comes until the other end's does.
            self.settled = true;
            let _ = tokio::time::timeout(LINGER, linger(&mut self.leg)).await;
            return;
        }
        self.far.reset();
        if let Some(last) = self.outbound.last_words(end) {
            say_last(&mut self.leg, &last).await;
        }
        self.reset();
    }

    fn reset(&mut self) {
        self.settled = true;
        self.far.reset();
        // Where frames say where the end is, a leg that is closed without is broken enough. A reset would take along
        // what has been sent and not been read.
        if self.framing == Framing::Raw {
            self.leg.reset();
        }
    }
}

impl<L: Side, F: Side> Drop for Tunnel<L, F> {
    fn drop(&mut self) {
        if !self.settled {
            self.reset();
        }
    }
}

/// Ends a leg with these bytes, if it takes them in time.
pub(crate) async fn say_last(leg: &mut impl Side, last: &[u8]) {
    let said = async {
        leg.write_all(last).await?;
        linger(leg).await
    };
    // Who does not hear it will find out.
    let _ = tokio::time::timeout(LINGER, said).await;
}

/// Ends a leg, and waits until its other end does.
pub(crate) async fn linger(leg: &mut impl Side) -> io::Result<()> {
    leg.shutdown().await?;
    let mut rest = [0; 512];
    while leg.read(&mut rest).await? > 0 {}
    Ok(())
}

/// What a leg is lost by that says nothing.
pub(crate) fn silent() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "nothing was heard from the other end for too long")
}
