//! From the far end into the leg.

use std::io;
use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::ReadBuf;

use super::outcome::TunnelEnd;
use super::stream::TunnelStream;
use crate::frame::{ChunkBuffer, FrameEncoder, HEAD_ROOM, LegFraming};

/// Frames that are written before other tasks get their turn: 1 MiB.
const FRAMES_PER_TURN: usize = 16;

/// Statuses of WebSocket (RFC 6455, 7.4.1).
const GOING_AWAY: u16 = 1001;
const PROTOCOL_ERROR: u16 = 1002;
const UNEXPECTED: u16 = 1011;

/// Where payload comes from.
pub(crate) trait PayloadSource {
    /// Fills `buffer` from its front. 0 bytes mean that the source has ended.
    fn poll_read_payload<F: TunnelStream>(
        &mut self,
        cx: &mut Context<'_>,
        far: &mut F,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>>;
}

/// Reads from the far end.
pub(crate) struct FarSource;

impl PayloadSource for FarSource {
    fn poll_read_payload<F: TunnelStream>(
        &mut self,
        cx: &mut Context<'_>,
        far: &mut F,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let mut buffer = ReadBuf::new(buffer);
        std::task::ready!(Pin::new(far).poll_read(cx, &mut buffer))?;
        Poll::Ready(Ok(buffer.filled().len()))
    }
}

/// How far the end of the direction has got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd)]
enum FinState {
    /// More payload may follow.
    Open,
    /// The source has ended.
    Due,
    /// It is among the bytes being written.
    Written,
    /// It has been sent.
    Sent,
}

pub(crate) struct Outbound<S> {
    encoder: FrameEncoder,
    framing: LegFraming,
    source: S,
    /// The frame that is being written, and the part of it that is left.
    chunk: Option<ChunkBuffer>,
    frame: Range<usize>,
    /// Control frames, which are written between frames, and how many of their bytes have been.
    control: Vec<u8>,
    written: usize,
    ping: bool,
    /// Only the latest ping has to be answered (RFC 6455, 5.5.3).
    pong: Option<Vec<u8>>,
    ack: Option<u64>,
    done: bool,
    fin: FinState,
    unflushed: bool,
    moved: bool,
    taken: u64,
}

impl<S: PayloadSource> Outbound<S> {
    pub(crate) fn new(framing: LegFraming, encoder: FrameEncoder, source: S) -> Outbound<S> {
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
            fin: FinState::Open,
            unflushed: false,
            moved: false,
            taken: 0,
        }
    }

    /// Queues a ping.
    pub(crate) fn ping(&mut self) {
        self.ping = true;
    }

    /// Queues the answer to a ping.
    pub(crate) fn pong(&mut self, payload: Vec<u8>) {
        self.pong = Some(payload);
    }

    /// Queues an acknowledgement of what has been passed on.
    pub(crate) fn ack(&mut self, offset: u64) {
        self.ack = Some(offset);
    }

    /// Queues that this end will not reconnect.
    pub(crate) fn done(&mut self) {
        self.done = true;
    }

    /// Notes that the other end knows already that this direction has ended.
    pub(crate) fn set_ended(&mut self) {
        self.fin = FinState::Sent;
    }

    pub(crate) fn source(&mut self) -> &mut S {
        &mut self.source
    }

    /// Whether nothing waits to be written.
    pub(crate) fn is_flushed(&self) -> bool {
        let queued = self.ping || self.pong.is_some() || self.ack.is_some() || self.done;
        let writing = !self.frame.is_empty() || self.written < self.control.len();
        !queued && !writing && !self.unflushed
    }

    /// Moves as much as possible.
    pub(crate) fn advance<L: TunnelStream, F: TunnelStream>(
        &mut self,
        cx: &mut Context<'_>,
        leg: &mut L,
        far: &mut F,
    ) -> Result<(), TunnelEnd> {
        match self.poll(cx, leg, far) {
            Poll::Ready(Err(end)) => Err(end),
            Poll::Ready(Ok(())) | Poll::Pending => Ok(()),
        }
    }

    fn poll<L: TunnelStream, F: TunnelStream>(
        &mut self,
        cx: &mut Context<'_>,
        leg: &mut L,
        far: &mut F,
    ) -> Poll<Result<(), TunnelEnd>> {
        let mut turn = 0;
        loop {
            std::task::ready!(self.poll_write(cx, leg)).map_err(TunnelEnd::LegLost)?;
            if self.queue_control().map_err(TunnelEnd::LegLost)? {
                continue;
            }
            match self.fin {
                FinState::Open if turn == FRAMES_PER_TURN => {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                FinState::Open => {
                    turn += 1;
                    if self.poll_frame(cx, far)?.is_pending() {
                        return self.poll_flush(cx, leg);
                    }
                }
                // Raw bytes end with the leg.
                FinState::Due if self.framing == LegFraming::Raw => {
                    std::task::ready!(Pin::new(&mut *leg).poll_shutdown(cx)).map_err(TunnelEnd::LegLost)?;
                    self.fin = FinState::Sent;
                    self.unflushed = false;
                }
                FinState::Due => {
                    self.encoder.fin(&mut self.control).map_err(TunnelEnd::LegLost)?;
                    self.fin = FinState::Written;
                }
                FinState::Written => {
                    std::task::ready!(self.poll_flush(cx, leg))?;
                    self.fin = FinState::Sent;
                }
                FinState::Sent => return self.poll_flush(cx, leg),
            }
        }
    }

    /// Writes what is queued, the frame first: nothing may come between its bytes.
    fn poll_write<L: TunnelStream>(&mut self, cx: &mut Context<'_>, leg: &mut L) -> Poll<io::Result<()>> {
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

    /// Encodes what has been queued since the last call; returns whether there was anything.
    fn queue_control(&mut self) -> io::Result<bool> {
        let (ping, pong) = (std::mem::take(&mut self.ping), self.pong.take());
        let (ack, done) = (self.ack.take(), std::mem::take(&mut self.done));
        if self.is_closed() {
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

    /// Reads payload into the next frame.
    fn poll_frame<F: TunnelStream>(
        &mut self,
        cx: &mut Context<'_>,
        far: &mut F,
    ) -> Result<Poll<()>, TunnelEnd> {
        let chunk = self.chunk.get_or_insert_with(ChunkBuffer::borrow);
        match self.source.poll_read_payload(cx, far, &mut chunk[HEAD_ROOM..]) {
            Poll::Pending => {
                self.chunk = None;
                return Ok(Poll::Pending);
            }
            Poll::Ready(Err(error)) => return Err(TunnelEnd::FarLost(error)),
            Poll::Ready(Ok(0)) => {
                self.chunk = None;
                self.fin = FinState::Due;
            }
            Poll::Ready(Ok(n)) => {
                self.frame =
                    self.encoder.data(chunk, HEAD_ROOM..HEAD_ROOM + n).map_err(TunnelEnd::LegLost)?;
                self.taken += n as u64;
            }
        }
        Ok(Poll::Ready(()))
    }

    fn poll_flush<L: TunnelStream>(
        &mut self,
        cx: &mut Context<'_>,
        leg: &mut L,
    ) -> Poll<Result<(), TunnelEnd>> {
        if self.unflushed {
            std::task::ready!(Pin::new(leg).poll_flush(cx)).map_err(TunnelEnd::LegLost)?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    /// The Close for an end that the other end does not know yet; `None` within a frame or after a
    /// Close.
    pub(crate) fn closing_frame(&mut self, end: &TunnelEnd) -> Option<Vec<u8>> {
        let (status, reason) = match end {
            TunnelEnd::Idle => (GOING_AWAY, end.to_string()),
            TunnelEnd::FarLost(error) => (UNEXPECTED, error.to_string()),
            TunnelEnd::Malformed(error) => (PROTOCOL_ERROR, error.to_string()),
            TunnelEnd::Complete | TunnelEnd::LegLost(_) | TunnelEnd::GivenUp(..) => return None,
        };
        let between = self.frame.is_empty() && self.written == self.control.len();
        if !between || self.is_closed() {
            return None;
        }
        let mut out = Vec::new();
        self.encoder.close(&mut out, status, &reason).ok()?;
        (!out.is_empty()).then_some(out)
    }

    /// Whether nothing may follow what has been sent.
    fn is_closed(&self) -> bool {
        self.framing == LegFraming::WebSocket && self.fin > FinState::Due
    }

    /// Whether the direction is complete: all payload and its end have been sent.
    pub(crate) fn is_done(&self) -> bool {
        self.fin == FinState::Sent
    }

    /// Whether payload was passed on since the last call.
    pub(crate) fn take_moved(&mut self) -> bool {
        std::mem::take(&mut self.moved)
    }

    /// Bytes of payload that were taken from the source.
    pub(crate) fn taken(&self) -> u64 {
        self.taken
    }
}
