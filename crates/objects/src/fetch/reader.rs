//! One recipient's bytes of one object, from memory or straight from the store's socket.
//!
//! ```text
//!           it has taken PROOF bytes              nothing is left in memory, or on its
//!           and waits for more                    way there; alone with its object
//!  Memory ───────────────────────────▶ Proven ───────────────────────────────────▶ Splicing
//!    ▲                                  │  ▲                                          │
//!    │                                  │  └──────────────────────────────────────────┤
//!    │                                  │      another recipient comes, a request     │
//!    │                                  │      waits for a connection, or the sender  │
//!    │                                  │      asks for memory                        │
//!    └──────────────────────────────────┴─────────────────────────────────────────────┘
//!                         backpressure: the recipient takes nothing
//! ```
//!
//! Both ways out of `Splicing` take what is coming into memory and give the connection back. Only
//! over plain HTTP, and only for a sender that can splice, does a reader get beyond `Proven`. While
//! it splices, the program does not see the bytes, so it does not check their CRC-32 any more.

use std::ops::Range;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use crc32fast::Hasher;
use outflow_content::{Feed, SpanError};

use crate::fetch::engine::Engine;
use crate::fetch::memory::MemoryShare;
use crate::fetch::pace::{LEAST, ReadAheadWindow};
use crate::fetch::retry::FetchFailure;
use crate::fetch::shared::{SharedObject, TakenPiece};
use crate::fetch::splicing::Splicing;
use crate::object::Object;

/// Minimum number of bytes that are worth a pipe.
const MIN_SPLICED: u64 = 256 * 1024;
/// A recipient that has taken this many bytes and waits for more is faster than the store.
const PROOF: u64 = LEAST / 2;

/// The feed of a run of an object's bytes.
pub(crate) struct ObjectReader {
    shared: Arc<SharedObject>,
    id: u64,
    share: MemoryShare,
    begin: u64,
    at: u64,
    end: u64,
    /// Up to where everything has been requested for memory.
    asked: u64,
    pace: ReadAheadWindow,
    /// It waits for bytes that have not arrived in memory.
    waits: bool,
    /// The sender has asked for splicing, so it is able to.
    sender_splices: bool,
    state: ReaderState,
    check: Option<Crc32Check>,
}

/// See the drawing at the top.
enum ReaderState {
    /// Bytes come from memory. The recipient has not shown yet that it is faster than the store.
    Memory,
    /// It has. Bytes come from memory as long as there are some, or some are on their way there.
    Proven,
    /// The kernel moves the bytes from socket to socket.
    Splicing(Box<Splicing>),
}

/// The CRC-32 of what has been handed out since the object's first byte.
struct Crc32Check {
    expected: u32,
    sofar: Hasher,
    /// The last piece has been fetched again once.
    again: bool,
}

impl ObjectReader {
    pub(crate) fn new(engine: &Arc<Engine>, object: &Arc<Object>, range: Range<u64>) -> ObjectReader {
        let shared = engine.shared(object);
        let id = shared.join(range.start);
        let whole = range.start == 0 && range.end == object.size;
        let expected = object.crc32.filter(|_| whole);
        let check = expected.map(|expected| Crc32Check { expected, sofar: Hasher::new(), again: false });
        ObjectReader {
            id,
            share: engine.memory().share(),
            begin: range.start,
            at: range.start,
            end: range.end,
            asked: range.start,
            pace: ReadAheadWindow::new(),
            waits: false,
            sender_splices: false,
            state: ReaderState::Memory,
            check,
            shared,
        }
    }

    /// Its position in bytes from the object's start.
    pub(crate) fn at(&self) -> u64 {
        self.at
    }

    /// Requests what should be on its way by now.
    pub(crate) fn look_ahead(&mut self) {
        // What a fast recipient needs next is going to be spliced.
        if !self.is_to_splice() {
            self.fetch_ahead();
        }
    }

    /// Requests for memory what should be on its way by now.
    fn fetch_ahead(&mut self) {
        self.asked = self.asked.max(self.at);
        let latency = self.shared.requests().latency();
        let window = self.pace.window(latency, self.share.memory().fair_share());
        let segment = ReadAheadWindow::segment(window);
        let until = self.at.saturating_add(window).min(self.end);
        // Whole segments; less only if there is nothing else, or nothing more.
        while self.asked < until
            && (until - self.asked >= segment.div_ceil(2) || until == self.end || self.asked == self.at)
        {
            let before = self.asked;
            self.asked = self.shared.fetch(before..self.end.min(before + segment), segment);
            if self.asked == before {
                break;
            }
        }
    }

    /// Whether the next bytes that are not in memory should be spliced.
    fn is_to_splice(&self) -> bool {
        let is_proven = !matches!(self.state, ReaderState::Memory);
        self.sender_splices && is_proven && self.end - self.at >= MIN_SPLICED && self.may_splice()
    }

    fn is_splicing(&self) -> bool {
        matches!(self.state, ReaderState::Splicing(_))
    }

    /// No other recipient could use what is spliced, and no request waits for the connection.
    fn may_splice(&self) -> bool {
        self.shared.is_alone() && !self.shared.requests().is_busy()
    }

    /// From `Splicing` back to `Proven`: takes what is coming into memory.
    fn stop_splicing(&mut self) {
        if self.is_splicing()
            && let ReaderState::Splicing(splicing) = std::mem::replace(&mut self.state, ReaderState::Proven)
        {
            self.shared.passed(self.id, self.at);
            splicing.into_memory(&self.shared);
            self.asked = self.at;
            self.pace = ReadAheadWindow::new();
        }
    }

    fn error(&self, failure: &FetchFailure) -> SpanError {
        failure.to_span_error(&self.shared.object().key)
    }

    /// Adds `bytes` to the checksum. False: they are the last ones, wrong, and have to be fetched
    /// again.
    fn passes(&mut self, bytes: &Bytes, crc32: Option<u32>) -> Result<bool, SpanError> {
        let Some(check) = &mut self.check else { return Ok(true) };
        let mut sofar = check.sofar.clone();
        match crc32 {
            Some(crc32) => sofar.combine(&Hasher::new_with_initial_len(crc32, bytes.len() as u64)),
            None => sofar.update(bytes),
        }
        let is_last = self.at + bytes.len() as u64 == self.end;
        let got = sofar.clone().finalize();
        if !is_last || got == check.expected {
            check.sofar = sofar;
            return Ok(true);
        }
        let (expected, object) = (check.expected, self.shared.object());
        if std::mem::replace(&mut check.again, true) {
            // Any of the pieces may be wrong: no later recipient may get one.
            self.shared.discard(0..self.end);
            let how = format!("its bytes have the CRC-32 {got:08x}, but {expected:08x} was promised");
            return Err(SpanError::Changed { name: object.key.clone(), how });
        }
        tracing::warn!(
            object = object.key,
            "wrong bytes came from the store: the last ones are fetched again"
        );
        self.shared.discard(self.at..self.end);
        self.asked = self.at;
        Ok(false)
    }
}

impl Feed for ObjectReader {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, SpanError>>> {
        // The sender cannot splice, at least at the moment.
        self.stop_splicing();
        if self.at == self.end {
            return Poll::Ready(None);
        }
        let mut asked_again = false;
        loop {
            match self.shared.take(self.id, self.at..self.end, cx) {
                TakenPiece::Bytes(bytes, crc32) => {
                    match self.passes(&bytes, crc32) {
                        Ok(true) => {}
                        Ok(false) => continue,
                        Err(error) => return Poll::Ready(Some(Err(error))),
                    }
                    self.at += bytes.len() as u64;
                    self.pace.took(bytes.len() as u64);
                    self.waits = false;
                    self.look_ahead();
                    return Poll::Ready(Some(Ok(bytes)));
                }
                TakenPiece::Coming => {
                    if !std::mem::replace(&mut self.waits, true) && self.at - self.begin >= PROOF {
                        self.state = ReaderState::Proven;
                        self.pace.ran_dry();
                        self.look_ahead();
                    }
                    return Poll::Pending;
                }
                TakenPiece::Missing => {
                    // It has not been requested yet, or it was evicted for others.
                    self.asked = self.at;
                    self.fetch_ahead();
                    // It may have failed just now, for another recipient: then that is what is
                    // found next.
                    if self.asked == self.at && std::mem::replace(&mut asked_again, true) {
                        return Poll::Ready(Some(Err(
                            self.error(&FetchFailure::passing("it cannot be fetched"))
                        )));
                    }
                }
                TakenPiece::Failed(failure) => return Poll::Ready(Some(Err(self.error(&failure)))),
            }
        }
    }

    fn poll_spliceable(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, SpanError>> {
        if self.at == self.end || !self.shared.requests().is_plain() {
            return Poll::Ready(Ok(false));
        }
        self.sender_splices = true;
        if self.is_splicing() && !self.may_splice() {
            self.stop_splicing();
        }
        if !self.is_splicing() {
            if !self.is_to_splice() || !self.shared.is_blank_at(self.at) {
                return Poll::Ready(Ok(false));
            }
            self.state = ReaderState::Splicing(Box::new(Splicing::new(self.at..self.end)));
            self.check = None;
        }
        let ReaderState::Splicing(splicing) = &mut self.state else { return Poll::Ready(Ok(false)) };
        match ready!(splicing.poll_readable(&self.shared, cx)) {
            Ok(()) => Poll::Ready(Ok(true)),
            Err(failure) => Poll::Ready(Err(self.error(&failure))),
        }
    }

    fn splice(&mut self, into: std::os::fd::BorrowedFd<'_>, most: usize) -> Result<usize, SpanError> {
        let ReaderState::Splicing(splicing) = &mut self.state else { return Ok(0) };
        let n = splicing.splice(&self.shared, into, most);
        self.at += n as u64;
        if n > 0 {
            self.shared.passed(self.id, self.at);
        }
        Ok(n)
    }

    fn fall_behind(&mut self) {
        self.stop_splicing();
        self.state = ReaderState::Memory;
    }
}

impl Drop for ObjectReader {
    fn drop(&mut self) {
        // Splicing ends before the recipient is gone.
        self.state = ReaderState::Memory;
        self.shared.leave(self.id);
    }
}
