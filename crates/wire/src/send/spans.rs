//! Sending a content span by span, each by the cheapest way.
//!
//! ```text
//! memory, small files, feeds  ->  gathered in one buffer  ->  send(MSG_MORE while more follows)
//! larger runs of files        ->  sendfile, at most 2 MiB a turn
//! feeds that can be spliced   ->  splice into a pipe, and from it into the socket
//! ```
//!
//! Before the last bytes of a file leave, the file is checked again (`OpenFile::verify`). A file
//! that was changed or truncated is cut there, so that nobody holds a wrong file that looks
//! complete.

use std::future::poll_fn;
use std::io;
use std::task::Poll;

use outflow_content::{AbortReason, DeliveryWatch, FeedSpan, FileSpan, Outgoing, Span, SpanError};
use outflow_net::pipe::{PIPE_BYTES, Pipe};
use tokio::time::Instant;

use crate::connection::Connection;
use crate::connection::buffer::PooledBuffer;
use crate::counters::{SendPath, ServerCounters};
use crate::delivery::{PROGRESS_INTERVAL, PendingDelivery, disconnected};
use crate::options::ServerOptions;

use super::begun::BegunDelivery;
use super::failure::SendFailure;
use super::feeding::{Feeding, NextBytes};
use super::file;

/// Runs of a file shorter than this are read into the buffer if something follows them, and leave
/// with whatever else is in it; longer ones leave by `sendfile`.
const SENDFILE_FROM: u64 = 32 * 1024;

/// The same for a run that nothing follows: there is nothing to gather it with, and copying costs
/// more than a second system call from here on. Measured: `bench/README.md`.
pub(super) const SENDFILE_LAST_FROM: u64 = 4 * 1024;

/// Maximum number of bytes that one connection sends before it yields to the others of its thread.
///
/// Bound: sending.
pub(super) const TURN: u64 = 2 * 1024 * 1024;

/// What it costs of a turn when a feed announces bytes and moves none: one that does so forever
/// takes no more time from others than one that moves them.
const EMPTY_SPLICE_COST: u64 = TURN / 16;

/// The end of a file that is held back until the file has been checked again.
const GUARDED: u64 = 64 * 1024;

/// Sends `head` (already encoded) and then all of `outgoing`, whose delivery has `begun`. Gives it
/// back for the connection to follow, because it is not known yet whether the bytes arrived; `None`
/// when nobody observes it. `unsent`: nothing of the response has left yet.
pub(crate) async fn outgoing(
    connection: &mut Connection,
    options: &ServerOptions,
    counters: &ServerCounters,
    head: PooledBuffer,
    mut outgoing: Outgoing,
    begun: BegunDelivery,
    unsent: bool,
) -> Result<Option<PendingDelivery>, SendFailure> {
    connection.timer().set(options.stall_timeout);
    let overhead = head.filled().len();
    let connection_is_clear = connection.session().is_none();
    let mut sender = SpanSender {
        connection,
        options,
        by_kernel: options.sendfile && connection_is_clear,
        counters,
        out: head,
        overhead,
        feeding: Feeding::default(),
        checked: begun.at,
        begun: Some(begun),
        turn: 0,
        corked: false,
        unsent,
    };
    let result = sender.spans(&mut outgoing).await;
    match result {
        Ok(()) => Ok(sender.into_pending()),
        Err(SpanFailure::Client(error)) => {
            let reason = abort_reason(&error);
            sender.end(|watch| watch.aborted(&reason));
            Err(SendFailure::Cut(reason))
        }
        Err(SpanFailure::Content(error)) => {
            let unsent = sender.unsent;
            tracing::debug!(%error, unsent, "content failed");
            sender.end(|watch| watch.failed(&error));
            Err(if unsent { SendFailure::Unsent } else { SendFailure::Cut(AbortReason::Dropped) })
        }
    }
}

fn sendfile_from(more: bool) -> u64 {
    if more { SENDFILE_FROM } else { SENDFILE_LAST_FROM }
}

fn abort_reason(error: &io::Error) -> AbortReason {
    match error.kind() {
        io::ErrorKind::TimedOut => AbortReason::Stalled,
        _ => disconnected(error),
    }
}

/// Why spans could not be sent.
enum SpanFailure {
    Client(io::Error),
    Content(SpanError),
}

impl From<io::Error> for SpanFailure {
    fn from(error: io::Error) -> SpanFailure {
        SpanFailure::Client(error)
    }
}

impl From<SpanError> for SpanFailure {
    fn from(error: SpanError) -> SpanFailure {
        SpanFailure::Content(error)
    }
}

/// Sends one body over one connection.
struct SpanSender<'a> {
    connection: &'a mut Connection,
    options: &'a ServerOptions,
    /// Whether the kernel may move bytes from files and sockets to the client's.
    by_kernel: bool,
    counters: &'a ServerCounters,
    /// Gathers what is small.
    out: PooledBuffer,
    /// How many bytes at the front of `out` belong to the head.
    overhead: usize,
    feeding: Feeding,
    /// `None` when the end has been reported or is left to the connection.
    begun: Option<BegunDelivery>,
    /// When acknowledgements were last checked.
    checked: Instant,
    turn: u64,
    corked: bool,
    unsent: bool,
}

impl SpanSender<'_> {
    async fn spans(&mut self, outgoing: &mut Outgoing) -> Result<(), SpanFailure> {
        while let Some(span) = outgoing.next_span() {
            let more = !outgoing.is_empty();
            match span? {
                Span::Memory(bytes) => self.bytes(&bytes, more).await?,
                Span::File(span) if span.len < sendfile_from(more) || !self.by_kernel => {
                    self.copied_run(&span).await?;
                }
                Span::File(span) => self.long_run(&span, more).await?,
                Span::Feed(span) => self.feed(span, more).await?,
            }
        }
        self.flush(false).await?;
        if self.corked {
            self.connection.cork(false);
        }
        Ok(())
    }

    /// Gathers `bytes` if they fit and something follows; else sends them behind what is gathered.
    async fn bytes(&mut self, bytes: &[u8], more: bool) -> Result<(), SpanFailure> {
        if more && bytes.len() <= self.borrowed().capacity_left() {
            self.out.push(bytes);
            return Ok(());
        }
        let mut left = bytes;
        while !left.is_empty() {
            let gathered = self.out.filled().len();
            // No more than a turn in one call, which might move all of it while a fast client
            // reads.
            let run = &left[..left.len().min(TURN as usize)];
            let more = more || run.len() < left.len();
            let n = if gathered == 0 {
                self.feeding.with_backpressure(self.connection.send(run, more)).await?
            } else {
                self.feeding
                    .with_backpressure(self.connection.send_both(self.out.filled(), run, more))
                    .await?
            };
            left = &left[n.saturating_sub(gathered)..];
            self.sent(n.min(gathered), n.saturating_sub(gathered)).await;
        }
        Ok(())
    }

    /// A run of a file that goes through the buffer, piece by piece. Bytes in the buffer cannot
    /// change any more, and the last piece stays there until the file has been checked again.
    async fn copied_run(&mut self, span: &FileSpan) -> Result<(), SpanFailure> {
        let file = file::open(span).await?;
        let mut done = 0;
        while done < span.len {
            let (at, left) = (span.offset + done, span.len - done);
            // A piece fits a buffer, and a usize.
            let piece = left.min(SENDFILE_FROM) as usize;
            if self.out.capacity_left() < piece {
                self.flush(true).await?;
                self.borrowed();
            }
            let n = file::read(&file, at, &mut self.out.spare()[..piece]).await?;
            if n == 0 {
                return Err(SpanError::Truncated { name: file.name(), offset: at, missing: left }.into());
            }
            self.out.fill(n);
            done += n as u64;
        }
        file.verify()?;
        Ok(())
    }

    /// A run of a file that the kernel moves.
    async fn long_run(&mut self, span: &FileSpan, more: bool) -> Result<(), SpanFailure> {
        let file = file::open(span).await?;
        if more && !self.corked {
            self.corked = true;
            self.connection.cork(true);
        }
        self.flush(true).await?;
        // A delivery that waits for a slow client holds no buffer.
        self.out = PooledBuffer::none();

        let (mut offset, end) = (span.offset, span.offset + span.len);
        let sealed = file.is_sealed();
        let mut resident = if sealed { end } else { offset };
        // True while the file has been checked and no time has passed since.
        let mut verified = sealed;
        while offset < end {
            let left = end - offset;
            if !verified && (left <= GUARDED || span.len <= TURN) {
                file.verify()?;
                verified = true;
            }
            let mut count = if verified { left } else { left - GUARDED }.min(TURN);
            if offset >= resident {
                let (run, waited) = file::make_resident(&file, offset, left.min(TURN)).await?;
                resident = offset + run;
                if waited {
                    self.connection.timer().set(self.options.stall_timeout);
                    verified = false;
                    continue;
                }
            }
            count = count.min(resident - offset);

            let mut at = offset;
            let sent = self.connection.write_with(|socket| {
                Ok(rustix::fs::sendfile(socket, file.fd(), Some(&mut at), count as usize)?)
            });
            let n = sent.await? as u64;
            if n == 0 {
                return Err(SpanError::Truncated { name: file.name(), offset, missing: left }.into());
            }
            self.unsent = false;
            self.connection.wrote(n);
            // A short count means a full socket: time passes before the rest leaves.
            verified &= n == count || sealed;
            offset += n;
            self.counters.body.of(SendPath::Sendfile).add(n);
            self.progress(n).await;
        }
        Ok(())
    }

    /// Bytes that are produced while they leave, or that the kernel can move from where they are.
    async fn feed(&mut self, span: FeedSpan, more: bool) -> Result<(), SpanFailure> {
        let FeedSpan { feed, len: mut left } = span;
        self.feeding.begin(feed);
        // Kept from one run of bytes to the next, as long as there is no wait between them.
        let mut pipe = None;
        let mut splices = self.by_kernel;
        while left > 0 {
            let at_once = poll_fn(|cx| match self.feeding.poll_next(cx, splices) {
                Poll::Ready(next) => Poll::Ready(Some(next)),
                Poll::Pending => Poll::Ready(None),
            });
            let next = match at_once.await {
                Some(next) => next,
                None => {
                    // A delivery that waits for its feed holds neither pipe nor buffer.
                    pipe = None;
                    let head = self.put_aside();
                    self.flush(true).await?;
                    self.out = PooledBuffer::none();
                    let feeding = &mut self.feeding;
                    let next = self.connection.unless_broken(|cx| feeding.poll_next(cx, splices)).await?;
                    if let Some(head) = head {
                        self.borrowed().push(&head);
                    }
                    // The client was not to blame for this wait.
                    self.connection.timer().set(self.options.stall_timeout);
                    next
                }
            };
            match next? {
                NextBytes::Spliceable => match pipe.take().or_else(Pipe::borrow) {
                    Some(mut borrowed) => {
                        left -= self.spliced_run(&mut borrowed, left, more).await?;
                        pipe = Some(borrowed);
                    }
                    // No pipe is available: the next chunk is copied, and then there may be one.
                    None => splices = false,
                },
                NextBytes::Chunk(mut chunk) => {
                    pipe = None;
                    splices = self.by_kernel;
                    chunk.truncate(usize::try_from(left).unwrap_or(usize::MAX));
                    left -= chunk.len() as u64;
                    self.bytes(&chunk, more || left > 0).await?;
                }
                NextBytes::End => {
                    let source = format!("ended {left} bytes early").into();
                    return Err(SpanError::Other { name: "a feed".to_owned(), source }.into());
                }
            }
        }
        self.feeding.end();
        Ok(())
    }

    /// The response's head, if nothing else is gathered and nothing has left: until the first byte
    /// of the body is there, another answer may have to be given.
    fn put_aside(&mut self) -> Option<Box<[u8]>> {
        let only_head = self.unsent && self.overhead > 0 && self.out.filled().len() == self.overhead;
        let head = only_head.then(|| self.out.filled().into());
        if only_head {
            self.out = PooledBuffer::none();
        }
        head
    }

    /// A run of a feed's bytes that the kernel moves, up to `left`; how many they were. Needs no
    /// cork, since `splice` knows what `MSG_MORE` means.
    async fn spliced_run(&mut self, pipe: &mut Pipe, left: u64, more: bool) -> Result<u64, SpanFailure> {
        // A pipe's size fits a usize.
        let n = self.feeding.splice(pipe, left.min(PIPE_BYTES as u64) as usize)? as u64;
        if n == 0 {
            self.spend(EMPTY_SPLICE_COST).await;
            return Ok(0);
        }
        // After the call that may fail: until now another answer could be given.
        self.flush(true).await?;
        self.out = PooledBuffer::none();
        let more = more || n < left;
        while !pipe.is_empty() {
            let moved = self.connection.write_with(|socket| pipe.drain(socket, more));
            let moved = match self.feeding.with_backpressure(moved).await {
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    let source = "moved fewer bytes than it said".into();
                    return Err(SpanError::Other { name: "a feed".to_owned(), source }.into());
                }
                moved => moved? as u64,
            };
            self.unsent = false;
            self.connection.wrote(moved);
            self.counters.body.of(SendPath::Splice).add(moved);
            self.progress(moved).await;
        }
        Ok(n)
    }

    fn borrowed(&mut self) -> &mut PooledBuffer {
        if self.out.capacity_left() == 0 && self.out.is_empty() {
            self.out = PooledBuffer::borrow();
        }
        &mut self.out
    }

    async fn flush(&mut self, more: bool) -> Result<(), SpanFailure> {
        while !self.out.is_empty() {
            let n = self.feeding.with_backpressure(self.connection.send(self.out.filled(), more)).await?;
            self.sent(n, 0).await;
        }
        Ok(())
    }

    /// The kernel took `gathered` bytes of the buffer, and `behind` that were not in it.
    async fn sent(&mut self, gathered: usize, behind: usize) {
        self.unsent = false;
        self.out.consume(gathered);
        let head = gathered.min(self.overhead);
        self.overhead -= head;
        let body = (gathered - head + behind) as u64;
        self.counters.body.of(SendPath::Copy).add(body);
        self.progress(body).await;
    }

    /// `n` more bytes of the body were taken by the kernel.
    async fn progress(&mut self, n: u64) {
        self.connection.credit(n);
        if let Some(begun) = &mut self.begun {
            begun.sent(self.connection, n);
            if begun.watch.is_observed() {
                self.check_acks();
            }
        }
        self.spend(n).await;
    }

    /// Reports how much has arrived, once in a `PROGRESS_INTERVAL`.
    fn check_acks(&mut self) {
        let now = Instant::now();
        if now - self.checked < PROGRESS_INTERVAL {
            return;
        }
        self.checked = now;
        // A client that stalls is noticed by not taking this body, too.
        let _ = self.connection.check_acks(self.options);
        if let Some(begun) = &mut self.begun
            && let Some(acked) = begun.acked(self.connection)
        {
            begun.watch.acked(acked);
        }
    }

    /// Ends the delivery with what the kernel still knows of it.
    fn end(&mut self, report: impl FnOnce(DeliveryWatch)) {
        if let Some(begun) = self.begun.take() {
            begun.end(self.connection, report);
        }
    }

    /// All bytes are in the kernel's hands.
    fn into_pending(mut self) -> Option<PendingDelivery> {
        self.begun.take()?.into_pending(self.connection)
    }

    /// Uses up `n` bytes of the turn.
    async fn spend(&mut self, n: u64) {
        self.turn += n;
        if self.turn >= TURN {
            self.turn = 0;
            tokio::task::yield_now().await;
        }
    }
}

/// Dropped before the end: the server is stopping.
impl Drop for SpanSender<'_> {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.end(|watch| watch.aborted(&AbortReason::Shutdown));
        }
    }
}
