//! One recipient's bytes of one object, from memory or straight from the store's socket.
//!
//! It begins in memory. A recipient that is faster than the store, alone with its object, and reached over plain
//! HTTP gets the bytes spliced from then on: nobody needs to see them. When it falls behind, or is not alone any
//! more, what is coming is taken into memory and the connection given back.

use std::ops::Range;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use crc32fast::Hasher;
use outflow_content::{Feed, SpanError};

use crate::Object;
use crate::remote::engine::Engine;
use crate::remote::memory::Share;
use crate::remote::pace::{LEAST, Pace};
use crate::remote::retry::Failure;
use crate::remote::shared::{Shared, Taken};
use crate::remote::splicing::Splicing;

/// Less than this is not worth a pipe, in bytes.
const WORTH_SPLICING: u64 = 256 * 1024;
/// So much a recipient has to take without being waited for, to be called fast.
const PROOF: u64 = LEAST / 2;

/// The feed of a run of an object's bytes.
pub(crate) struct Reader {
    shared: Arc<Shared>,
    id: u64,
    share: Share,
    begin: u64,
    at: u64,
    end: u64,
    /// Up to where everything has been asked for.
    asked: u64,
    pace: Pace,
    /// It waits for bytes that have not arrived.
    dry: bool,
    /// It has shown that it takes bytes faster than they come.
    fast: bool,
    /// Whoever sends the bytes can splice them.
    can_splice: bool,
    splicing: Option<Splicing>,
    check: Option<Check>,
}

/// The CRC-32 of what has been handed out since the object's first byte.
struct Check {
    expected: u32,
    sofar: Hasher,
    /// The last piece has been fetched again.
    again: bool,
}

impl Reader {
    pub(crate) fn new(engine: &Arc<Engine>, object: &Arc<Object>, range: Range<u64>) -> Reader {
        let shared = engine.shared(object);
        let id = shared.join(range.start);
        let whole = range.start == 0 && range.end == object.size;
        let expected = object.crc32.filter(|_| whole);
        let check = expected.map(|expected| Check { expected, sofar: Hasher::new(), again: false });
        Reader {
            id,
            share: engine.memory().share(),
            begin: range.start,
            at: range.start,
            end: range.end,
            asked: range.start,
            pace: Pace::new(),
            dry: false,
            fast: false,
            can_splice: false,
            splicing: None,
            check,
            shared,
        }
    }

    /// Where it is, in bytes from the object's start.
    pub(crate) fn at(&self) -> u64 {
        self.at
    }

    /// Asks for what should be on its way by now.
    pub(crate) fn look_ahead(&mut self) {
        // What a fast recipient needs next is going to be spliced.
        if self.is_to_splice() {
            return;
        }
        self.asked = self.asked.max(self.at);
        let engine = self.shared.engine();
        let window = self.pace.window(engine.latency(), self.share.memory().fair_share());
        let segment = Pace::segment(window);
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

    fn is_to_splice(&self) -> bool {
        self.can_splice && self.fast && self.end - self.at >= WORTH_SPLICING && self.may_splice()
    }

    /// Nobody else could use what is spliced, nor waits for the connection.
    fn may_splice(&self) -> bool {
        self.shared.is_alone() && !self.shared.engine().is_busy()
    }

    /// Takes what is coming by splicing into memory.
    fn stop_splicing(&mut self) {
        let Some(splicing) = self.splicing.take() else { return };
        self.shared.passed(self.id, self.at);
        splicing.into_memory(&self.shared);
        self.asked = self.at;
        self.pace = Pace::new();
    }

    fn error(&self, failure: &Failure) -> SpanError {
        failure.to_span_error(&self.shared.object().key)
    }

    /// Adds `bytes` to what is checked. False: they are the last ones, wrong, and are being fetched again.
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
            // Any of them may be wrong: nobody who comes later should be given one.
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

impl Feed for Reader {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, SpanError>>> {
        // Whoever asks here cannot splice, at least at the moment.
        self.stop_splicing();
        if self.at == self.end {
            return Poll::Ready(None);
        }
        let mut asked_again = false;
        loop {
            match self.shared.take(self.id, self.at..self.end, cx) {
                Taken::Bytes(bytes, crc32) => {
                    match self.passes(&bytes, crc32) {
                        Ok(true) => {}
                        Ok(false) => continue,
                        Err(error) => return Poll::Ready(Some(Err(error))),
                    }
                    self.at += bytes.len() as u64;
                    self.pace.took(bytes.len() as u64);
                    self.dry = false;
                    self.look_ahead();
                    return Poll::Ready(Some(Ok(bytes)));
                }
                Taken::Coming => {
                    if !std::mem::replace(&mut self.dry, true) && self.at - self.begin >= PROOF {
                        self.fast = true;
                        self.pace.ran_dry();
                        self.look_ahead();
                    }
                    return Poll::Pending;
                }
                Taken::Missing => {
                    // Nobody asked for it yet, or it had to give way to somebody else's.
                    self.asked = self.at;
                    let splice = std::mem::replace(&mut self.can_splice, false);
                    self.look_ahead();
                    self.can_splice = splice;
                    // It may have failed just now, for somebody else: then that is what is found next.
                    if self.asked == self.at && std::mem::replace(&mut asked_again, true) {
                        return Poll::Ready(Some(Err(self.error(&Failure::passing("it cannot be fetched")))));
                    }
                }
                Taken::Failed(failure) => return Poll::Ready(Some(Err(self.error(&failure)))),
            }
        }
    }

    fn poll_spliceable(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, SpanError>> {
        if self.at == self.end || !self.shared.engine().is_plain() {
            return Poll::Ready(Ok(false));
        }
        self.can_splice = true;
        if self.splicing.is_some() && !self.may_splice() {
            self.stop_splicing();
        }
        if self.splicing.is_none() {
            if !self.is_to_splice() || !self.shared.is_blank_at(self.at) {
                return Poll::Ready(Ok(false));
            }
            self.splicing = Some(Splicing::new(self.at..self.end));
            self.check = None;
        }
        let Some(splicing) = &mut self.splicing else { return Poll::Ready(Ok(false)) };
        match ready!(splicing.poll_readable(&self.shared, cx)) {
            Ok(()) => Poll::Ready(Ok(true)),
            Err(failure) => Poll::Ready(Err(self.error(&failure))),
        }
    }

    fn splice(&mut self, into: std::os::fd::BorrowedFd<'_>, most: usize) -> Result<usize, SpanError> {
        let Some(splicing) = &mut self.splicing else { return Ok(0) };
        let n = splicing.splice(&self.shared, into, most);
        self.at += n as u64;
        if n > 0 {
            self.shared.passed(self.id, self.at);
        }
        Ok(n)
    }

    fn fall_behind(&mut self) {
        self.fast = false;
        self.stop_splicing();
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.splicing = None;
        self.shared.leave(self.id);
    }
}
