//! From the far end into the leg.

use std::io;
use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::ReadBuf;

use super::chunk::Chunk;
use super::{End, Side};
use crate::frame::{Encoder, Framing, HEAD_ROOM};

/// Frames that are written before others get their turn: 1 MiB.
const TURN: usize = 16;

/// Where payload comes from.
pub(crate) trait Source {
    /// Fills `room` from its front: 0 bytes when there will be no more.
    fn poll_take<F: Side>(
        &mut self,
        cx: &mut Context<'_>,
        far: &mut F,
        room: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>>;
}

/// Straight from the far end.
pub(crate) struct Straight;

impl Source for Straight {
    fn poll_take<F: Side>(
        &mut self,
        cx: &mut Context<'_>,
        far: &mut F,
        room: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(far).poll_read(cx, room)
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
        let ack = self.ack.take();
        // Behind a Close nothing may follow.
        if self.framing == Framing::WebSocket && self.fin > Fin::Due {
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
        Ok(!self.control.is_empty())
    }

    /// Makes the next frame.
    fn poll_take<F: Side>(&mut self, cx: &mut Context<'_>, far: &mut F) -> Result<Poll<()>, End> {
        let chunk = self.chunk.get_or_insert_with(Chunk::borrow);
        let mut room = ReadBuf::new(&mut chunk[HEAD_ROOM..]);
        match self.source.poll_take(cx, far, &mut room) {
            Poll::Pending => {
                self.chunk = None;
                return Ok(Poll::Pending);
            }
            Poll::Ready(Err(error)) => return Err(End::FarLost(error)),
            Poll::Ready(Ok(())) => {}
        }
        match room.filled().len() {
            0 => {
                self.chunk = None;
                self.fin = Fin::Due;
            }
            n => {
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

    /// A Close, if one may be said: between frames, and not behind the end.
    pub(crate) fn last_words(&mut self, status: u16, words: &str) -> Option<Vec<u8>> {
        let between = self.frame.is_empty() && self.written == self.control.len();
        if !between || self.fin > Fin::Due {
            return None;
        }
        let mut out = Vec::new();
        self.encoder.close(&mut out, status, words).ok()?;
        (!out.is_empty()).then_some(out)
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
