//! Segments that the kernel moves from the store's socket to the recipient's: the current one, and
//! the next one, whose answer waits in the kernel.

use std::io;
use std::ops::Range;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::time::{Instant, Sleep};

use crate::fetch::plain::Boxed;
use crate::fetch::requests::SegmentResponse;
use crate::fetch::retry::{FetchFailure, Retries};
use crate::fetch::shared::{STALLED, SharedObject};

/// The first segment, in bytes. Each further one is twice as long.
const FIRST: u64 = 4 << 20;
/// Maximum size of a spliced segment, in bytes.
///
/// Bound: object stores.
const LONGEST: u64 = 32 << 20;

/// The segments that are spliced for one recipient.
pub(crate) struct Splicing {
    /// Bytes that have not been requested.
    rest: Range<u64>,
    size: u64,
    current: Option<SplicedSegment>,
    next: Option<SplicedSegment>,
}

struct SplicedSegment {
    /// Its bytes that have not been moved.
    range: Range<u64>,
    state: SegmentState,
    retries: Retries,
    /// Runs while nothing comes.
    read_timeout: Option<std::pin::Pin<Box<Sleep>>>,
}

enum SegmentState {
    Opening(Boxed<Result<SegmentResponse, FetchFailure>>),
    Open(SegmentResponse),
    /// The last request failed, and has not been repeated yet.
    Failed(FetchFailure),
}

impl Splicing {
    pub(crate) fn new(range: Range<u64>) -> Splicing {
        Splicing { rest: range, size: FIRST, current: None, next: None }
    }

    /// Ready when something can be moved.
    pub(crate) fn poll_readable(
        &mut self,
        shared: &Arc<SharedObject>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), FetchFailure>> {
        if self.current.is_none() {
            self.current = self.next.take();
            if self.current.is_none() {
                self.current = self.ask(shared);
            }
        }
        let Some(current) = &mut self.current else { return Poll::Ready(Ok(())) };
        // Half of it has been moved: the next answer should be here when it ends.
        if self.next.is_none() && (current.range.end - current.range.start) * 4 <= self.size {
            self.next = self.ask(shared);
        }
        if let Some(next) = &mut self.next {
            next.poll_open(cx);
        }
        let Some(current) = &mut self.current else { return Poll::Ready(Ok(())) };
        current.poll_readable(shared, cx)
    }

    /// Moves some bytes into a pipe; 0 when there are none now.
    pub(crate) fn splice(&mut self, shared: &Arc<SharedObject>, into: BorrowedFd<'_>, most: usize) -> usize {
        let Some(current) = &mut self.current else { return 0 };
        let n = current.splice(into, most);
        if current.range.is_empty() {
            if let Some(SplicedSegment { state: SegmentState::Open(opened), .. }) = self.current.take() {
                opened.finish();
            }
            // Its request leaves at once.
            self.current = self.next.take();
            if self.current.is_none() {
                self.current = self.ask(shared);
            }
        }
        n
    }

    /// Takes all that is coming into memory.
    pub(crate) fn into_memory(self, shared: &Arc<SharedObject>) {
        for segment in [self.current, self.next].into_iter().flatten() {
            if let SegmentState::Open(opened) = segment.state {
                shared.adopt(segment.range.start, opened);
            }
        }
    }

    fn ask(&mut self, shared: &Arc<SharedObject>) -> Option<SplicedSegment> {
        if self.rest.is_empty() {
            return None;
        }
        let end = self.rest.end.min(self.rest.start + self.size);
        let range = self.rest.start..end;
        self.rest.start = end;
        self.size = (self.size * 2).min(LONGEST);
        Some(SplicedSegment {
            state: SegmentState::Opening(open(shared, range.clone())),
            range,
            retries: Retries::default(),
            read_timeout: None,
        })
    }
}

fn open(shared: &Arc<SharedObject>, range: Range<u64>) -> Boxed<Result<SegmentResponse, FetchFailure>> {
    let shared = Arc::clone(shared);
    Box::pin(async move { shared.open(range, || true).await })
}

impl SplicedSegment {
    fn poll_open(&mut self, cx: &mut Context<'_>) {
        if let SegmentState::Opening(opening) = &mut self.state
            && let Poll::Ready(answer) = opening.as_mut().poll(cx)
        {
            self.state = match answer {
                Ok(opened) => SegmentState::Open(opened),
                Err(failure) => SegmentState::Failed(failure),
            };
        }
    }

    fn poll_readable(
        &mut self,
        shared: &Arc<SharedObject>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), FetchFailure>> {
        loop {
            self.poll_open(cx);
            match &mut self.state {
                SegmentState::Opening(_) => return Poll::Pending,
                SegmentState::Failed(failure) => {
                    let failure = std::mem::replace(failure, FetchFailure::Stale);
                    tracing::debug!(
                        object = shared.object().key,
                        at = self.range.start,
                        ?failure,
                        "a segment's request failed"
                    );
                    let wait = match self.retries.after(failure) {
                        Ok(wait) => wait,
                        Err(failure) => return Poll::Ready(Err(failure)),
                    };
                    shared.requests().count_retry();
                    let opening = open(shared, self.range.clone());
                    self.state = SegmentState::Opening(Box::pin(async move {
                        tokio::time::sleep(wait).await;
                        opening.await
                    }));
                }
                SegmentState::Open(opened) => match opened.poll_readable(cx) {
                    Poll::Ready(Ok(())) => {
                        self.read_timeout = None;
                        return Poll::Ready(Ok(()));
                    }
                    Poll::Ready(Err(error)) => self.fail(&error),
                    Poll::Pending => {
                        let read_timeout = self.read_timeout.get_or_insert_with(|| {
                            Box::pin(tokio::time::sleep_until(Instant::now() + STALLED))
                        });
                        ready!(read_timeout.as_mut().poll(cx));
                        self.read_timeout = None;
                        self.state = SegmentState::Failed(FetchFailure::passing("the store stopped sending"));
                    }
                },
            }
        }
    }

    fn splice(&mut self, into: BorrowedFd<'_>, most: usize) -> usize {
        let SegmentState::Open(opened) = &mut self.state else { return 0 };
        let Some(moved) = opened.try_splice(into, most) else {
            self.state = SegmentState::Failed(FetchFailure::Lasting(
                "the store's answer cannot be spliced".to_owned(),
            ));
            return 0;
        };
        match moved {
            Ok(0) => {
                self.fail(&io::ErrorKind::UnexpectedEof.into());
                0
            }
            Ok(n) => {
                self.range.start += n as u64;
                self.retries.progress();
                n
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            Err(error) => {
                self.fail(&error);
                0
            }
        }
    }

    fn fail(&mut self, error: &io::Error) {
        self.state =
            SegmentState::Failed(FetchFailure::passing(format!("the store's answer broke off: {error}")));
    }
}
