//! From the leg into the far end.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::io::ReadBuf;

use super::outcome::End;
use super::stream::Side;
use crate::frame::{CHUNK, Chunk, Decoder, Event, Framing, Role};

/// Buffers that are filled before others get their turn: 1 MiB.
const TURN: usize = 16;

/// What is not payload.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Said {
    Ping(Vec<u8>),
    Pong,
    Ack(u64),
    Done,
    /// As much payload has been passed on as was to be told.
    Passed,
    /// The direction has ended, and the far end knows.
    Ended,
}

pub(crate) struct Inbound {
    decoder: Decoder,
    framing: Framing,
    early: Bytes,
    chunk: Option<Chunk>,
    /// What has been decoded of the chunk, and up to where it is filled.
    at: usize,
    filled: usize,
    /// How many of the bytes before `at` are payload that the far end has not taken.
    payload: usize,
    /// The end has come; the far end knows; the leg itself has ended.
    fin: bool,
    done: bool,
    leg_ended: bool,
    unflushed: bool,
    /// It is the leg that is waited for, not the far end.
    listening: bool,
    heard: bool,
    moved: bool,
    passed: u64,
    /// After how many bytes it is told that they were passed on, and how many have not been told.
    tell_every: u64,
    untold: u64,
}

impl Inbound {
    pub(crate) fn new(framing: Framing, role: Role, early: Bytes) -> Inbound {
        Inbound {
            decoder: Decoder::new(framing, role),
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
            listening: false,
            heard: false,
            moved: false,
            passed: 0,
            tell_every: u64::MAX,
            untold: 0,
        }
    }

    /// One that goes on at an offset, maybe that of the end, and tells whenever it has passed on so many bytes.
    pub(crate) fn from(self, passed: u64, ended: bool, tell_every: u64) -> Inbound {
        Inbound { passed, fin: ended, done: ended, tell_every, ..self }
    }

    /// Goes on until something is said that is not payload, or there is nothing to do.
    pub(crate) fn poll<L: Side, F: Side>(
        &mut self,
        cx: &mut Context<'_>,
        leg: &mut L,
        far: &mut F,
    ) -> Poll<Result<Said, End>> {
        let mut turn = 0;
        loop {
            ready!(self.poll_pass_on(cx, far)).map_err(End::FarLost)?;
            if self.untold >= self.tell_every {
                self.untold = 0;
                return Poll::Ready(Ok(Said::Passed));
            }
            if self.fin && !self.done {
                ready!(Pin::new(&mut *far).poll_shutdown(cx)).map_err(End::FarLost)?;
                self.done = true;
                return Poll::Ready(Ok(Said::Ended));
            }
            if let Some(said) = self.decode()? {
                return Poll::Ready(Ok(said));
            }
            if self.payload > 0 || (self.fin && !self.done) {
                continue;
            }
            if turn == TURN {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            turn += 1;
            if ready!(self.poll_fill(cx, leg, far))? == 0 {
                self.leg_has_ended()?;
            }
        }
    }

    /// Payload goes to the far end until none is left.
    fn poll_pass_on<F: Side>(&mut self, cx: &mut Context<'_>, far: &mut F) -> Poll<io::Result<()>> {
        while self.payload > 0 {
            let Some(chunk) = &self.chunk else { break };
            self.listening = false;
            match ready!(Pin::new(&mut *far).poll_write(cx, &chunk[self.at - self.payload..self.at]))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                n => {
                    self.payload -= n;
                    self.passed += n as u64;
                    self.untold += n as u64;
                    self.unflushed = true;
                    self.moved = true;
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    /// The next event in the chunk.
    fn decode(&mut self) -> Result<Option<Said>, End> {
        let undecoded = match &mut self.chunk {
            Some(chunk) => &mut chunk[self.at..self.filled],
            None => &mut [],
        };
        let (used, event) = self.decoder.decode(undecoded).map_err(End::Malformed)?;
        self.at += used;
        match event {
            Some(Event::Data(n)) => self.payload = n,
            Some(Event::Fin) => self.fin = true,
            Some(Event::Ping(payload)) => return Ok(Some(Said::Ping(payload))),
            Some(Event::Pong) => return Ok(Some(Said::Pong)),
            Some(Event::Ack(offset)) => return Ok(Some(Said::Ack(offset))),
            Some(Event::Done) => return Ok(Some(Said::Done)),
            Some(Event::Closed(status, words)) => return Err(End::GivenUp(status, words)),
            None => (self.at, self.filled) = (0, 0),
        }
        Ok(None)
    }

    /// More from the leg: 0 when it has ended.
    fn poll_fill<L: Side, F: Side>(
        &mut self,
        cx: &mut Context<'_>,
        leg: &mut L,
        far: &mut F,
    ) -> Poll<Result<usize, End>> {
        if self.leg_ended {
            self.chunk = None;
            self.listening = false;
            return Poll::Pending;
        }
        let chunk = self.chunk.get_or_insert_with(Chunk::borrow);
        if !self.early.is_empty() {
            let early = self.early.split_to(self.early.len().min(CHUNK));
            chunk[..early.len()].copy_from_slice(&early);
            self.filled = early.len();
            return Poll::Ready(Ok(early.len()));
        }
        self.listening = true;
        // A frame as large as ours are, and its head: read like that, each is one write. What begins in the middle of
        // the buffer would be two.
        let left = usize::try_from(self.decoder.left()).unwrap_or(usize::MAX);
        let want = if left >= CHUNK / 2 { left.min(chunk.len()) } else { chunk.len() };
        let mut room = ReadBuf::new(&mut chunk[..want]);
        match Pin::new(leg).poll_read(cx, &mut room) {
            Poll::Ready(Ok(())) => {
                self.filled = room.filled().len();
                self.heard = true;
                Poll::Ready(Ok(self.filled))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(End::LegLost(error))),
            Poll::Pending => {
                self.chunk = None;
                // What was held back in the hope of more has to go now.
                if self.unflushed && Pin::new(far).poll_flush(cx).map_err(End::FarLost)?.is_ready() {
                    self.unflushed = false;
                }
                Poll::Pending
            }
        }
    }

    fn leg_has_ended(&mut self) -> Result<(), End> {
        self.leg_ended = true;
        if let Err(truncated) = self.decoder.ended() {
            return Err(End::LegLost(io::Error::new(io::ErrorKind::UnexpectedEof, truncated)));
        }
        self.fin |= self.framing == Framing::Raw;
        Ok(())
    }

    /// Nothing more will come over the leg.
    pub(crate) fn is_leg_ended(&self) -> bool {
        self.leg_ended
    }

    /// The direction is over: all is passed on, and the far end knows that it was all.
    pub(crate) fn is_done(&self) -> bool {
        self.done
    }

    /// Whether it waits for the leg.
    pub(crate) fn is_listening(&self) -> bool {
        self.listening
    }

    /// Whether anything came over the leg since the last call.
    pub(crate) fn take_heard(&mut self) -> bool {
        std::mem::take(&mut self.heard)
    }

    /// Whether payload was passed on since the last call.
    pub(crate) fn take_moved(&mut self) -> bool {
        std::mem::take(&mut self.moved)
    }

    /// Bytes of payload that the far end has taken.
    pub(crate) fn passed(&self) -> u64 {
        self.passed
    }
}
