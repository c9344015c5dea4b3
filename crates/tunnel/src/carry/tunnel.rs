//! Both directions of one tunnel, until both have ended or something breaks.

use std::future::poll_fn;
use std::task::{Context, Poll};

use bytes::Bytes;

use super::clock::{Due, SilenceClock};
use super::inbound::{Inbound, InboundEvent};
use super::outbound::{FarSource, Outbound};
use super::outcome::{TunnelEnd, TunnelTimeouts, TunnelTotals};
use super::stream::{SHUTDOWN_TIMEOUT, TunnelStream, send_last, shut_down, silence_error};
use crate::frame::{FrameEncoder, LegFraming, LegRole};

/// Carries bytes both ways between `leg` and `far` until both directions have ended or something
/// breaks. `early` holds bytes that were read from the leg before. `role` is the role of this end.
pub async fn carry<L: TunnelStream, F: TunnelStream>(
    leg: L,
    early: Bytes,
    framing: LegFraming,
    role: LegRole,
    far: F,
    limits: &TunnelTimeouts,
) -> (TunnelTotals, TunnelEnd) {
    let mut tunnel = Carry {
        leg,
        far,
        framing,
        inbound: Inbound::new(framing, role, early),
        outbound: Outbound::new(framing, FrameEncoder::new(framing, role), FarSource),
        clock: SilenceClock::new(limits.idle, limits.ping.filter(|_| framing != LegFraming::Raw)),
        is_closed: false,
    };
    // Every WebSocket endpoint answers pings; with capsules only our own implementation does.
    if framing == LegFraming::WebSocket {
        tunnel.clock.set_answers();
    }
    let end = poll_fn(|cx| tunnel.poll(cx)).await;
    tunnel.close(&end).await;
    (TunnelTotals { to_far: tunnel.inbound.passed(), from_far: tunnel.outbound.taken() }, end)
}

struct Carry<L: TunnelStream, F: TunnelStream> {
    leg: L,
    far: F,
    framing: LegFraming,
    inbound: Inbound,
    outbound: Outbound<FarSource>,
    clock: SilenceClock,
    /// Both streams have been ended or reset.
    is_closed: bool,
}

impl<L: TunnelStream, F: TunnelStream> Carry<L, F> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<TunnelEnd> {
        match self.advance(cx) {
            Err(end) => Poll::Ready(end),
            Ok(()) if self.inbound.is_done() && self.outbound.is_done() => Poll::Ready(TunnelEnd::Complete),
            Ok(()) => Poll::Pending,
        }
    }

    /// Moves as much as possible.
    fn advance(&mut self, cx: &mut Context<'_>) -> Result<(), TunnelEnd> {
        while let Poll::Ready(event) = self.inbound.poll(cx, &mut self.leg, &mut self.far) {
            match event? {
                InboundEvent::Ping(payload) => {
                    self.clock.set_answers();
                    self.outbound.pong(payload);
                }
                InboundEvent::Pong => self.clock.set_answers(),
                InboundEvent::Ack(_) | InboundEvent::AckDue | InboundEvent::Done => {}
                InboundEvent::Ended if self.outbound.is_done() => return Ok(()),
                InboundEvent::Ended => {}
            }
        }
        let reading = self.inbound.is_reading_leg();
        let mut moved = self.inbound.take_moved();
        match self.clock.poll(cx, moved, self.inbound.take_received(), reading) {
            Some(Due::Idle) => return Err(TunnelEnd::Idle),
            Some(Due::Lost) => return Err(TunnelEnd::LegLost(silence_error())),
            Some(Due::Ping) => self.outbound.ping(),
            None => {}
        }
        self.outbound.advance(cx, &mut self.leg, &mut self.far)?;
        moved = self.outbound.take_moved();
        if moved {
            self.clock.set_moved();
        }
        Ok(())
    }

    /// Ends both streams in order, or resets them: a stream that broke must not look complete.
    async fn close(&mut self, end: &TunnelEnd) {
        if matches!(end, TunnelEnd::Complete) {
            // Closing a socket with unread bytes resets it, which may destroy our last bytes. So
            // the leg is shut down and read until the other end has ended too.
            self.is_closed = true;
            let _ = tokio::time::timeout(SHUTDOWN_TIMEOUT, shut_down(&mut self.leg)).await;
            return;
        }
        self.far.reset();
        if let Some(last) = self.outbound.closing_frame(end) {
            send_last(&mut self.leg, &last).await;
        }
        self.reset();
    }

    fn reset(&mut self) {
        self.is_closed = true;
        self.far.reset();
        // With frames, a leg that closes without an end is known to be broken. A reset would
        // destroy what has been sent and not yet read.
        if self.framing == LegFraming::Raw {
            self.leg.reset();
        }
    }
}

impl<L: TunnelStream, F: TunnelStream> Drop for Carry<L, F> {
    fn drop(&mut self) {
        if !self.is_closed {
            self.reset();
        }
    }
}
