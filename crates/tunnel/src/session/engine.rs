//! One leg of a session: what `carry` does, with acknowledgements, from offsets on.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::io::ReadBuf;
use tokio::time::{Instant, Sleep, sleep_until};

use super::replay::Ring;
use super::state::{ACK_AFTER, ACK_EVERY, State};
use crate::carry::clock::{Clock, Due};
use crate::carry::inbound::{Inbound, Said};
use crate::carry::outbound::{Outbound, Source};
use crate::carry::stream::{LINGER, linger, say_last, silent};
use crate::carry::{End, Limits, Side};
use crate::frame::{Encoder, Framing, Malformed, Role};

/// How a leg ended.
#[derive(Debug)]
pub enum Ran {
    /// With the session.
    Over(End),
    /// Without it: the client may come back.
    Detached(io::Error),
    /// There is another one: the client has come back, before it was known that it was gone.
    Displaced,
}

/// Runs until the session is over or the leg is lost. May be dropped at any time: the state is always such that another leg
/// can go on.
pub(super) async fn drive<L: Side, F: Side>(
    state: &mut State<F>,
    leg: &mut L,
    early: Bytes,
    role: Role,
    limits: &Limits,
) -> Ran {
    let mut on_leg = OnLeg::new(state, leg, early, role, limits);
    let end = match poll_fn(|cx| on_leg.poll(cx)).await {
        Ok(Ended::Over) => End::Complete,
        Ok(Ended::Lost(error)) | Err(End::LegLost(error)) => return Ran::Detached(error),
        Err(end) => end,
    };
    match on_leg.outbound.last_words(&end) {
        Some(last) => say_last(on_leg.leg, &last).await,
        None => {
            // Who closes with something unread may take the last word away.
            let _ = tokio::time::timeout(LINGER, linger(on_leg.leg)).await;
        }
    }
    Ran::Over(end)
}

/// How a leg ends in order.
enum Ended {
    /// Both ends know that all is there.
    Over,
    /// The leg is lost.
    Lost(io::Error),
}

struct OnLeg<'a, L: Side, F: Side> {
    leg: &'a mut L,
    far: &'a mut F,
    received: &'a mut u64,
    ended: &'a mut bool,
    inbound: Inbound,
    outbound: Outbound<Resent<'a>>,
    clock: Clock,
    role: Role,
    /// Up to where it has been acknowledged, and when the rest is due.
    acknowledged: u64,
    due: Option<Pin<Box<Sleep>>>,
    due_set: bool,
    /// DONE has been said, or heard.
    done: bool,
}

impl<'a, L: Side, F: Side> OnLeg<'a, L, F> {
    fn new(
        state: &'a mut State<F>,
        leg: &'a mut L,
        early: Bytes,
        role: Role,
        limits: &Limits,
    ) -> OnLeg<'a, L, F> {
        let acknowledged = state.offset();
        let State { far, ring, received, ended } = state;
        let settled = ring.is_settled();
        let next = ring.start();
        let encoder = Encoder::new(Framing::Capsules, role);
        let mut outbound = Outbound::new(Framing::Capsules, encoder, Resent { ring, next });
        if settled {
            outbound.has_ended();
        }
        let mut clock = Clock::new(limits.idle, limits.ping);
        // Whoever agreed on a session knows our ping.
        clock.answers();
        OnLeg {
            leg,
            far,
            inbound: Inbound::new(Framing::Capsules, role, early).from(*received, *ended, ACK_EVERY),
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

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Ended, End>> {
        self.poll_inbound(cx)?;
        let heard = self.inbound.take_heard();
        let moved = self.inbound.take_moved();
        match self.clock.poll(cx, moved, heard, self.inbound.is_listening()) {
            Some(Due::Idle) => return Poll::Ready(Err(End::Idle)),
            Some(Due::Lost) => return Poll::Ready(Err(End::LegLost(silent()))),
            Some(Due::Ping) => self.outbound.ping(),
            None => {}
        }
        self.acknowledge_in_time(cx);
        let over = self.is_over();
        if over && self.role == Role::Client && !self.done {
            self.done = true;
            self.outbound.done();
        }
        let written = self.outbound.advance(cx, self.leg, self.far);
        if self.outbound.take_moved() {
            self.clock.moved();
        }
        match written {
            // The client knows all there is to know.
            Err(End::LegLost(_)) if over && self.role == Role::Client => return Poll::Ready(Ok(Ended::Over)),
            written => written?,
        }
        if self.is_over() && self.done && (self.role == Role::Server || self.outbound.is_quiet()) {
            return Poll::Ready(Ok(Ended::Over));
        }
        if self.inbound.is_leg_ended() {
            return Poll::Ready(Ok(Ended::Lost(io::ErrorKind::UnexpectedEof.into())));
        }
        Poll::Pending
    }

    fn poll_inbound(&mut self, cx: &mut Context<'_>) -> Result<(), End> {
        loop {
            let said = self.inbound.poll(cx, self.leg, self.far);
            // Before anything else: this may be the last time that this leg is asked.
            *self.received = self.inbound.passed();
            *self.ended = self.inbound.is_done();
            let Poll::Ready(said) = said else { return Ok(()) };
            match said? {
                Said::Ping(payload) => self.outbound.pong(payload),
                Said::Pong => {}
                Said::Ack(offset) => {
                    let ring = &mut self.outbound.source().ring;
                    ring.acknowledge(offset).map_err(|_| End::Malformed(Malformed::Ack))?;
                }
                Said::Done => self.done = true,
                Said::Passed | Said::Ended => {
                    self.acknowledge();
                    // The other end may be waiting for it while this one goes on reading.
                    self.outbound.advance(cx, self.leg, self.far)?;
                }
            }
        }
    }

    fn is_over(&mut self) -> bool {
        *self.ended && self.outbound.source().ring.is_settled()
    }

    fn offset(&self) -> u64 {
        *self.received + u64::from(*self.ended)
    }

    fn acknowledge(&mut self) {
        self.acknowledged = self.offset();
        self.due_set = false;
        self.outbound.ack(self.acknowledged);
    }

    /// What has not been acknowledged yet is, once it is time.
    fn acknowledge_in_time(&mut self, cx: &mut Context<'_>) {
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

/// What was not acknowledged, and then the far end.
struct Resent<'a> {
    ring: &'a mut Ring,
    /// The offset of the next byte.
    next: u64,
}

impl Source for Resent<'_> {
    fn poll_take<F: Side>(
        &mut self,
        cx: &mut Context<'_>,
        far: &mut F,
        room: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        if self.next < self.ring.end() {
            let n = self.ring.copy(self.next, room);
            self.next += n as u64;
            return Poll::Ready(Ok(n));
        }
        if self.ring.has_ended() {
            return Poll::Ready(Ok(0));
        }
        let most = self.ring.room().min(room.len());
        if most == 0 {
            // It is an acknowledgement that is waited for, and that comes over the leg.
            return Poll::Pending;
        }
        let mut read = ReadBuf::new(&mut room[..most]);
        ready!(Pin::new(far).poll_read(cx, &mut read))?;
        match read.filled() {
            [] => self.ring.finish(),
            bytes => self.ring.push(bytes),
        }
        self.next += read.filled().len() as u64;
        Poll::Ready(Ok(read.filled().len()))
    }
}
