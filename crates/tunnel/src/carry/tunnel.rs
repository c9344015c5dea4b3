//! Both directions of one tunnel, until both have ended or something breaks.

use std::future::poll_fn;
use std::task::{Context, Poll};

use bytes::Bytes;

use super::clock::{Clock, Due};
use super::inbound::{Inbound, Said};
use super::outbound::{Outbound, Straight};
use super::outcome::{End, Limits, Totals};
use super::stream::{LINGER, Side, linger, say_last, silent};
use crate::frame::{Encoder, Framing, Role};

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
