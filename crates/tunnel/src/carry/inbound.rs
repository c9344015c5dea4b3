//! From the leg into the far end.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::io::ReadBuf;

use super::outcome::TunnelEnd;
use super::stream::TunnelStream;
use crate::frame::{CHUNK_BYTES, ChunkBuffer, FrameDecoder, FrameEvent, LegFraming, LegRole};

/// Buffers that are filled before other tasks get their turn: 1 MiB.
const READS_PER_TURN: usize = 16;

/// What arrived besides payload.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum InboundEvent {
    Ping(Vec<u8>),
    Pong,
    Ack(u64),
    Done,
    /// As much payload has been passed on as one acknowledgement covers.
    AckDue,
    /// The direction has ended, and the far end has been shut down.
    Ended,
}

pub(crate) struct Inbound {
    decoder: FrameDecoder,
    framing: LegFraming,
    early: Bytes,
    chunk: Option<ChunkBuffer>,
    /// How far the chunk has been decoded, and how far it is filled.
    at: usize,
    filled: usize,
    /// How many of the bytes before `at` are payload that the far end has not accepted.
    payload: usize,
    /// The end of the direction has arrived.
    fin: bool,
    /// The far end has been shut down.
    done: bool,
    /// The leg itself has ended.
    leg_ended: bool,
    unflushed: bool,
    /// It waits for the leg, not for the far end.
    reading_leg: bool,
    received: bool,
    moved: bool,
    passed: u64,
    /// After how many bytes an acknowledgement is due, and how many have passed since the last.
    ack_every: u64,
    unacknowledged: u64,
}

impl Inbound {
    pub(crate) fn new(framing: LegFraming, role: LegRole, early: Bytes) -> Inbound {
        Inbound {
            decoder: FrameDecoder::new(framing, role),
            framing,
            early,
            chunk: None,
            at: 0,
            filled: 0,
            payload: 0,
            fin: false,
            done: false,
            leg_ended: false,
            unflushed: false,
            reading_leg: false,
            received: false,
            moved: false,
            passed: 0,
            ack_every: u64::MAX,
            unacknowledged: 0,
        }
    }

    /// Starts at an offset, possibly that of the end, and reports [`InboundEvent::AckDue`] after
    /// every `ack_every` bytes.
    pub(crate) fn resumed(self, passed: u64, ended: bool, ack_every: u64) -> Inbound {
        Inbound { passed, fin: ended, done: ended, ack_every, ..self }
    }

    /// Passes payload on until something else arrives, or nothing can move.
    pub(crate) fn poll<L: TunnelStream, F: TunnelStream>(
        &mut self,
        cx: &mut Context<'_>,
        leg: &mut L,
        far: &mut F,
    ) -> Poll<Result<InboundEvent, TunnelEnd>> {
        let mut turn = 0;
        loop {
            ready!(self.poll_pass_on(cx, far)).map_err(TunnelEnd::FarLost)?;
            if self.unacknowledged >= self.ack_every {
                self.unacknowledged = 0;
                return Poll::Ready(Ok(InboundEvent::AckDue));
            }
            if self.fin && !self.done {
                ready!(Pin::new(&mut *far).poll_shutdown(cx)).map_err(TunnelEnd::FarLost)?;
                self.done = true;
                return Poll::Ready(Ok(InboundEvent::Ended));
            }
            if let Some(event) = self.decode()? {
                return Poll::Ready(Ok(event));
            }
            if self.payload > 0 || (self.fin && !self.done) {
                continue;
            }
            if turn == READS_PER_TURN {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            turn += 1;
            if ready!(self.poll_fill(cx, leg, far))? == 0 {
                self.leg_has_ended()?;
            }
        }
    }

    /// Writes the decoded payload to the far end.
    fn poll_pass_on<F: TunnelStream>(&mut self, cx: &mut Context<'_>, far: &mut F) -> Poll<io::Result<()>> {
        while self.payload > 0 {
            let Some(chunk) = &self.chunk else { break };
            self.reading_leg = false;
            match ready!(Pin::new(&mut *far).poll_write(cx, &chunk[self.at - self.payload..self.at]))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                n => {
                    self.payload -= n;
                    self.passed += n as u64;
                    self.unacknowledged += n as u64;
                    self.unflushed = true;
                    self.moved = true;
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Decodes the next event in the chunk.
    fn decode(&mut self) -> Result<Option<InboundEvent>, TunnelEnd> {
        let undecoded = match &mut self.chunk {
            Some(chunk) => &mut chunk[self.at..self.filled],
            None => &mut [],
        };
        let (used, event) = self.decoder.decode(undecoded).map_err(TunnelEnd::Malformed)?;
        self.at += used;
        match event {
            Some(FrameEvent::Data(n)) => self.payload = n,
            Some(FrameEvent::Fin) => self.fin = true,
            Some(FrameEvent::Ping(payload)) => return Ok(Some(InboundEvent::Ping(payload))),
            Some(FrameEvent::Pong) => return Ok(Some(InboundEvent::Pong)),
            Some(FrameEvent::Ack(offset)) => return Ok(Some(InboundEvent::Ack(offset))),
            Some(FrameEvent::Done) => return Ok(Some(InboundEvent::Done)),
            Some(FrameEvent::Closed(status, reason)) => return Err(TunnelEnd::GivenUp(status, reason)),
            None => (self.at, self.filled) = (0, 0),
        }
        Ok(None)
    }

    /// Reads more from the leg; 0 when it has ended.
    fn poll_fill<L: TunnelStream, F: TunnelStream>(
        &mut self,
        cx: &mut Context<'_>,
        leg: &mut L,
        far: &mut F,
    ) -> Poll<Result<usize, TunnelEnd>> {
        if self.leg_ended {
            self.chunk = None;
            self.reading_leg = false;
            return Poll::Pending;
        }
        let chunk = self.chunk.get_or_insert_with(ChunkBuffer::borrow);
        if !self.early.is_empty() {
            let early = self.early.split_to(self.early.len().min(CHUNK_BYTES));
            chunk[..early.len()].copy_from_slice(&early);
            self.filled = early.len();
            return Poll::Ready(Ok(early.len()));
        }
        self.reading_leg = true;
        // Reads end where the current large frame ends, so that each frame is one write to the far
        // end. A frame that begins in the middle of the buffer would be two.
        let left = usize::try_from(self.decoder.remaining()).unwrap_or(usize::MAX);
        let want = if left >= CHUNK_BYTES / 2 { left.min(chunk.len()) } else { chunk.len() };
        let mut buffer = ReadBuf::new(&mut chunk[..want]);
        match Pin::new(leg).poll_read(cx, &mut buffer) {
            Poll::Ready(Ok(())) => {
                self.filled = buffer.filled().len();
                self.received = true;
                Poll::Ready(Ok(self.filled))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(TunnelEnd::LegLost(error))),
            Poll::Pending => {
                self.chunk = None;
                // What the far end held back in the hope of more has to leave now.
                if self.unflushed && Pin::new(far).poll_flush(cx).map_err(TunnelEnd::FarLost)?.is_ready() {
                    self.unflushed = false;
                }
                Poll::Pending
            }
        }
    }

    fn leg_has_ended(&mut self) -> Result<(), TunnelEnd> {
        self.leg_ended = true;
        if let Err(truncated) = self.decoder.finish() {
            return Err(TunnelEnd::LegLost(io::Error::new(io::ErrorKind::UnexpectedEof, truncated)));
        }
        self.fin |= self.framing == LegFraming::Raw;
        Ok(())
    }

    /// Whether the leg has ended.
    pub(crate) fn is_leg_ended(&self) -> bool {
        self.leg_ended
    }

    /// Whether the direction is complete: all payload has been passed on and the far end shut down.
    pub(crate) fn is_done(&self) -> bool {
        self.done
    }

    /// Whether it waits for the leg.
    pub(crate) fn is_reading_leg(&self) -> bool {
        self.reading_leg
    }

    /// Whether anything arrived over the leg since the last call.
    pub(crate) fn take_received(&mut self) -> bool {
        std::mem::take(&mut self.received)
    }

    /// Whether payload was passed on since the last call.
    pub(crate) fn take_moved(&mut self) -> bool {
        std::mem::take(&mut self.moved)
    }

    /// Bytes of payload that the far end has accepted.
    pub(crate) fn passed(&self) -> u64 {
        self.passed
    }
}
