//! From the far end into the leg.

use std::io;
use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::ReadBuf;

use super::outcome::End;
use super::stream::Side;
use crate::frame::{Chunk, Encoder, Framing, HEAD_ROOM};

/// Frames that are written before others get their turn: 1 MiB.
const TURN: usize = 16;

/// Statuses of WebSocket (RFC 6455, 7.4.1).
const GOING_AWAY: u16 = 1001;
const PROTOCOL_ERROR: u16 = 1002;
const UNEXPECTED: u16 = 1011;

/// Where payload comes from.
pub(crate) trait Source {
    /// Fills `room` from its front: 0 bytes when there will be no more.
    fn poll_take<F: Side>(
        &mut self,
        cx: &mut Context<'_>,
        far: &mut F,
        room: &mut [u8],
    ) -> Poll<io::Result<usize>>;
}

/// Straight from the far end.
pub(crate) struct Straight;

impl Source for Straight {
    fn poll_take<F: Side>(
        &mut self,
        cx: &mut Context<'_>,
        far: &mut F,
        room: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let mut room = ReadBuf::new(room);
        std::task::ready!(Pin::new(far).poll_read(cx, &mut room))?;
        Poll::Ready(Ok(room.filled().len()))
    }
}

/// How far the end of the direction is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd)]
enum Fin {
    /// There may be more.
    Open,
    /// The source has ended.
    Due,
    /// It is among what is being written.
    Written,
    /// It has left.
    Sent,
}

pub(crate) struct Outbound<S> {
    encoder: Encoder,
    framing: Framing,
    source: S,
    /// The frame that is being written, and what is left of it.
    chunk: Option<Chunk>,
    frame: Range<usize>,
    /// What is written between frames, and how much of it has been.
    control: Vec<u8>,
    written: usize,
    ping: bool,
    /// Only the latest ping has to be answered (RFC 6455, 5.5.3).
    pong: Option<Vec<u8>>,
    ack: Option<u64>,
    done: bool,
    fin: Fin,
    unflushed: bool,
    moved: bool,
    taken: u64,
}

impl<S: Source> Outbound<S> {
    pub(crate) fn new(framing: Framing, encoder: Encoder, source: S) -> Outbound<S> {
        Outbound {
            encoder,
            framing,
            source,
            chunk: None,
            frame: 0..0,
            control: Vec::new(),
            written: 0,
            ping: false,
            pong: None,
            ack: None,
            done: false,
            fin: Fin::Open,
            unflushed: false,
            moved: false,
            taken: 0,
        }
    }

    /// Asks whether the other end is there.
    pub(crate) fn ping(&mut self) {
        self.ping = true;
    }

    /// Answers that.
    pub(crate) fn pong(&mut self, payload: Vec<u8>) {
        self.pong = Some(payload);
    }

    /// Says what has been passed on.
    pub(crate) fn ack(&mut self, offset: u64) {
        self.ack = Some(offset);
    }

    /// Says that this end will not come back.
    pub(crate) fn done(&mut self) {
        self.done = true;
    }

    /// The other end knows already that this direction has ended.
    pub(crate) fn has_ended(&mut self) {
        self.fin = Fin::Sent;
    }

    pub(crate) fn source(&mut self) -> &mut S {
        &mut self.source
    }

    /// Nothing waits to be written.
    pub(crate) fn is_quiet(&self) -> bool {
        let asked = self.ping || self.pong.is_some() || self.ack.is_some() || self.done;
        let writing = !self.frame.is_empty() || self.written < self.control.len();
        !asked && !writing && !self.unflushed
    }

    /// Goes on until there is nothing to do.
    pub(crate) fn advance<L: Side, F: Side>(
        &mut self,
        cx: &mut Context<'_>,
        leg: &mut L,
        far: &mut F,
    ) -> Result<(), End> {
        match self.poll(cx, leg, far) {
            Poll::Ready(Err(end)) => Err(end),
            Poll::Ready(Ok(())) | Poll::Pending => Ok(()),
        }
    }

    fn poll<L: Side, F: Side>(
        &mut self,
        cx: &mut Context<'_>,
        leg: &mut L,
        far: &mut F,
    ) -> Poll<Result<(), End>> {
        let mut turn = 0;
        loop {
            std::task::ready!(self.poll_write(cx, leg)).map_err(End::LegLost)?;
            if self.queue_control().map_err(End::LegLost)? {
                continue;
            }
            match self.fin {
                Fin::Open if turn == TURN => {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Fin::Open => {
                    turn += 1;
                    if self.poll_take(cx, far)?.is_pending() {
                        return self.poll_flush(cx, leg);
                    }
                }
                // Raw bytes end with the leg.
                Fin::Due if self.framing == Framing::Raw => {
                    std::task::ready!(Pin::new(&mut *leg).poll_shutdown(cx)).map_err(End::LegLost)?;
                    self.fin = Fin::Sent;
                    self.unflushed = false;
                }
                Fin::Due => {
                    self.encoder.fin(&mut self.control).map_err(End::LegLost)?;
                    self.fin = Fin::Written;
                }
                Fin::Written => {
                    std::task::ready!(self.poll_flush(cx, leg))?;
                    self.fin = Fin::Sent;
                }
                Fin::Sent => return self.poll_flush(cx, leg),
            }
        }
    }

    /// Writes what there is, frames first: nothing may stand within one.
    fn poll_write<L: Side>(&mut self, cx: &mut Context<'_>, leg: &mut L) -> Poll<io::Result<()>> {
        loop {
            let frame = self.chunk.as_ref().filter(|_| !self.frame.is_empty());
            let bytes = match frame {
                Some(chunk) => &chunk[self.frame.clone()],
                None => &self.control[self.written..],
            };
            if bytes.is_empty() {
                self.control.clear();
                self.written = 0;
                return Poll::Ready(Ok(()));
            }
            let n = std::task::ready!(Pin::new(&mut *leg).poll_write(cx, bytes))?;
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.unflushed = true;
            match frame {
                Some(_) => {
                    self.frame.start += n;
                    self.moved = true;
                }
                None => self.written += n,
            }
        }
    }

    /// What has been asked for since: whether there was anything.
    fn queue_control(&mut self) -> io::Result<bool> {
        let (ping, pong) = (std::mem::take(&mut self.ping), self.pong.take());
        let (ack, done) = (self.ack.take(), std::mem::take(&mut self.done));
        if self.is_silent() {
            return Ok(false);
        }
        if let Some(payload) = pong {
            self.encoder.pong(&mut self.control, &payload)?;
        }
        if ping {
            self.encoder.ping(&mut self.control)?;
        }
        if let Some(offset) = ack {
            self.encoder.ack(&mut self.control, offset);
        }
        if done {
            self.encoder.done(&mut self.control);
        }
        Ok(!self.control.is_empty())
    }

    /// Makes the next frame.
    fn poll_take<F: Side>(&mut self, cx: &mut Context<'_>, far: &mut F) -> Result<Poll<()>, End> {
        let chunk = self.chunk.get_or_insert_with(Chunk::borrow);
        match self.source.poll_take(cx, far, &mut chunk[HEAD_ROOM..]) {
            Poll::Pending => {
                self.chunk = None;
                return Ok(Poll::Pending);
            }
            Poll::Ready(Err(error)) => return Err(End::FarLost(error)),
            Poll::Ready(Ok(0)) => {
                self.chunk = None;
                self.fin = Fin::Due;
            }
            Poll::Ready(Ok(n)) => {
                self.frame = self.encoder.data(chunk, HEAD_ROOM..HEAD_ROOM + n).map_err(End::LegLost)?;
                self.taken += n as u64;
            }
        }
        Ok(Poll::Ready(()))
    }

    fn poll_flush<L: Side>(&mut self, cx: &mut Context<'_>, leg: &mut L) -> Poll<Result<(), End>> {
        if self.unflushed {
            std::task::ready!(Pin::new(leg).poll_flush(cx)).map_err(End::LegLost)?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    /// What is to be said of an end that the other end does not know yet, if anything may be: between frames, and not
    /// behind a Close.
    pub(crate) fn last_words(&mut self, end: &End) -> Option<Vec<u8>> {
        let (status, words) = match end {
            End::Idle => (GOING_AWAY, end.to_string()),
            End::FarLost(error) => (UNEXPECTED, error.to_string()),
            End::Malformed(error) => (PROTOCOL_ERROR, error.to_string()),
            End::Complete | End::LegLost(_) | End::GivenUp(..) => return None,
        };
        let between = self.frame.is_empty() && self.written == self.control.len();
        if !between || self.is_silent() {
            return None;
        }
        let mut out = Vec::new();
        self.encoder.close(&mut out, status, &words).ok()?;
        (!out.is_empty()).then_some(out)
    }

    /// Nothing may follow.
    fn is_silent(&self) -> bool {
        self.framing == Framing::WebSocket && self.fin > Fin::Due
    }

    /// The direction is over: all has left, and that it was all.
    pub(crate) fn is_done(&self) -> bool {
        self.fin == Fin::Sent
    }

    /// Whether payload was passed on since the last call.
    pub(crate) fn take_moved(&mut self) -> bool {
        std::mem::take(&mut self.moved)
    }

    /// Bytes of payload that came from the source.
    pub(crate) fn taken(&self) -> u64 {
        self.taken
    }
}
