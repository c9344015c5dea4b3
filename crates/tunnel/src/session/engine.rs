//! One leg of a session: as `carry`, with acknowledgements, from given offsets on.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::io::ReadBuf;
use tokio::time::{Instant, Sleep, sleep_until};

use super::replay::ReplayBuffer;
use super::state::{ACK_AFTER, ACK_EVERY, ResumableState};
use crate::carry::clock::{Due, SilenceClock};
use crate::carry::inbound::{Inbound, InboundEvent};
use crate::carry::outbound::{Outbound, PayloadSource};
use crate::carry::stream::{SHUTDOWN_TIMEOUT, send_last, shut_down, silence_error};
use crate::carry::{TunnelEnd, TunnelStream, TunnelTimeouts};
use crate::frame::{FrameEncoder, FrameError, LegFraming, LegRole};

/// How a leg ended.
#[derive(Debug)]
pub enum LegOutcome {
    /// Together with the session.
    Over(TunnelEnd),
    /// The leg was lost; the session waits for its client.
    Detached(io::Error),
    /// The client has reconnected before the loss of this leg was noticed.
    Displaced,
}

/// Runs until the session is over or the leg is lost. May be dropped at any time: another leg can
/// always continue from the state.
pub(super) async fn drive<L: TunnelStream, F: TunnelStream>(
    state: &mut ResumableState<F>,
    leg: &mut L,
    early: Bytes,
    role: LegRole,
    limits: &TunnelTimeouts,
) -> LegOutcome {
    let mut leg_run = LegRun::new(state, leg, early, role, limits);
    let end = match poll_fn(|cx| leg_run.poll(cx)).await {
        Ok(LegEnd::Over) => TunnelEnd::Complete,
        Ok(LegEnd::Lost(error)) | Err(TunnelEnd::LegLost(error)) => return LegOutcome::Detached(error),
        Err(end) => end,
    };
    match leg_run.outbound.closing_frame(&end) {
        Some(last) => send_last(leg_run.leg, &last).await,
        None => {
            // Closing a socket with unread bytes would destroy the last ones that were sent.
            let _ = tokio::time::timeout(SHUTDOWN_TIMEOUT, shut_down(leg_run.leg)).await;
        }
    }
    LegOutcome::Over(end)
}

/// How a leg ends in order.
enum LegEnd {
    /// Both ends know that the session is complete.
    Over,
    /// The leg is lost.
    Lost(io::Error),
}

struct LegRun<'a, L: TunnelStream, F: TunnelStream> {
    leg: &'a mut L,
    far: &'a mut F,
    received: &'a mut u64,
    ended: &'a mut bool,
    inbound: Inbound,
    outbound: Outbound<ReplaySource<'a>>,
    clock: SilenceClock,
    role: LegRole,
    /// The offset that was last acknowledged.
    acknowledged: u64,
    /// When the next acknowledgement is due, if `due_set`.
    due: Option<Pin<Box<Sleep>>>,
    due_set: bool,
    /// DONE has been sent, or received.
    done: bool,
}

impl<'a, L: TunnelStream, F: TunnelStream> LegRun<'a, L, F> {
    fn new(
        state: &'a mut ResumableState<F>,
        leg: &'a mut L,
        early: Bytes,
        role: LegRole,
        limits: &TunnelTimeouts,
    ) -> LegRun<'a, L, F> {
        let acknowledged = state.offset();
        let ResumableState { far, replay, received, ended } = state;
        let settled = replay.is_settled();
        let next = replay.start();
        let encoder = FrameEncoder::new(LegFraming::Capsules, role);
        let mut outbound = Outbound::new(LegFraming::Capsules, encoder, ReplaySource { replay, next });
        if settled {
            outbound.set_ended();
        }
        let mut clock = SilenceClock::new(limits.idle, limits.ping);
        // An end that agreed on a session knows our ping.
        clock.set_answers();
        LegRun {
            leg,
            far,
            inbound: Inbound::new(LegFraming::Capsules, role, early).resumed(*received, *ended, ACK_EVERY),
            received,
            ended,
            outbound,
            clock,
            role,
            acknowledged,
            due: None,
            due_set: false,
            done: false,
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<LegEnd, TunnelEnd>> {
        self.poll_inbound(cx)?;
        let received = self.inbound.take_received();
        let moved = self.inbound.take_moved();
        match self.clock.poll(cx, moved, received, self.inbound.is_reading_leg()) {
            Some(Due::Idle) => return Poll::Ready(Err(TunnelEnd::Idle)),
            Some(Due::Lost) => return Poll::Ready(Err(TunnelEnd::LegLost(silence_error()))),
            Some(Due::Ping) => self.outbound.ping(),
            None => {}
        }
        self.poll_acknowledge(cx);
        let over = self.is_over();
        if over && self.role == LegRole::Client && !self.done {
            self.done = true;
            self.outbound.done();
        }
        let written = self.outbound.advance(cx, self.leg, self.far);
        if self.outbound.take_moved() {
            self.clock.set_moved();
        }
        match written {
            // The client knows already that the session is complete.
            Err(TunnelEnd::LegLost(_)) if over && self.role == LegRole::Client => {
                return Poll::Ready(Ok(LegEnd::Over));
            }
            written => written?,
        }
        if self.is_over() && self.done && (self.role == LegRole::Server || self.outbound.is_flushed()) {
            return Poll::Ready(Ok(LegEnd::Over));
        }
        if self.inbound.is_leg_ended() {
            return Poll::Ready(Ok(LegEnd::Lost(io::ErrorKind::UnexpectedEof.into())));
        }
        Poll::Pending
    }

    fn poll_inbound(&mut self, cx: &mut Context<'_>) -> Result<(), TunnelEnd> {
        loop {
            let event = self.inbound.poll(cx, self.leg, self.far);
            // Before anything else, because this leg may not be polled again.
            *self.received = self.inbound.passed();
            *self.ended = self.inbound.is_done();
            let Poll::Ready(event) = event else { return Ok(()) };
            match event? {
                InboundEvent::Ping(payload) => self.outbound.pong(payload),
                InboundEvent::Pong => {}
                InboundEvent::Ack(offset) => {
                    let replay = &mut self.outbound.source().replay;
                    replay.acknowledge(offset).map_err(|_| TunnelEnd::Malformed(FrameError::Ack))?;
                }
                InboundEvent::Done => self.done = true,
                InboundEvent::AckDue | InboundEvent::Ended => {
                    self.acknowledge();
                    // The other end may wait for it while this one keeps reading.
                    self.outbound.advance(cx, self.leg, self.far)?;
                }
            }
        }
    }

    fn is_over(&mut self) -> bool {
        *self.ended && self.outbound.source().replay.is_settled()
    }

    fn offset(&self) -> u64 {
        *self.received + u64::from(*self.ended)
    }

    fn acknowledge(&mut self) {
        self.acknowledged = self.offset();
        self.due_set = false;
        self.outbound.ack(self.acknowledged);
    }

    /// Acknowledges the rest once [`ACK_AFTER`] has passed.
    fn poll_acknowledge(&mut self, cx: &mut Context<'_>) {
        if self.offset() == self.acknowledged {
            return;
        }
        let soon = Instant::now() + ACK_AFTER;
        let due = match &mut self.due {
            Some(due) => {
                if !self.due_set {
                    due.as_mut().reset(soon);
                }
                due
            }
            none => none.insert(Box::pin(sleep_until(soon))),
        };
        self.due_set = true;
        if due.as_mut().poll(cx).is_ready() {
            self.acknowledge();
        }
    }
}

/// Replays what was not acknowledged, then reads from the far end.
struct ReplaySource<'a> {
    replay: &'a mut ReplayBuffer,
    /// The offset of the next byte.
    next: u64,
}

impl PayloadSource for ReplaySource<'_> {
    fn poll_read_payload<F: TunnelStream>(
        &mut self,
        cx: &mut Context<'_>,
        far: &mut F,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        if self.next < self.replay.end() {
            let n = self.replay.copy(self.next, buffer);
            self.next += n as u64;
            return Poll::Ready(Ok(n));
        }
        if self.replay.has_ended() {
            return Poll::Ready(Ok(0));
        }
        let capacity = self.replay.capacity().min(buffer.len());
        if capacity == 0 {
            // Backpressure: an acknowledgement has to arrive over the leg first.
            return Poll::Pending;
        }
        let mut read = ReadBuf::new(&mut buffer[..capacity]);
        ready!(Pin::new(far).poll_read(cx, &mut read))?;
        match read.filled() {
            [] => self.replay.finish(),
            bytes => self.replay.push(bytes),
        }
        self.next += read.filled().len() as u64;
        Poll::Ready(Ok(read.filled().len()))
    }
}
