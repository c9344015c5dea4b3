//! The connection below the frames: what h2 writes is gathered, followed, sealed if need be, and sent.

use std::future::poll_fn;
use std::io;
use std::os::fd::AsFd as _;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use h2::Reason;
use outflow_content::{AbortReason, Evidence, Watch};
use rustix::net::{SendFlags, Shutdown};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::sync::{Notify, Semaphore, oneshot};
use tokio::time::Instant;

use super::CLOSING;
use super::deliveries::{Deliveries, Place};
use super::frames::{Resets, Scanner};
use crate::connection::Connection;
use crate::connection::buffer::Buffer;
use crate::options::Options;
use crate::sys;

/// Shared by h2, which reads and writes, by the streams' tasks, and by the connection's own.
#[derive(Clone)]
pub(crate) struct Line(Arc<Mutex<State>>);

struct State {
    connection: Connection,
    /// Read before it was known that this is HTTP/2.
    input: Buffer,
    /// Gathered: frames' heads are small, and a call or a record for each would cost more than copying.
    out: Buffer,
    scanner: Scanner,
    resets: Resets,
    deliveries: Deliveries,
    /// Since when the client has taken nothing of what is to be sent.
    blocked: Option<Instant>,
    /// The client has ended its side in an orderly way.
    ended: bool,
    /// The socket has failed.
    failed: bool,
    /// Why the connection is over, if it is.
    over: Option<AbortReason>,
}

impl State {
    /// Hands everything that is gathered to the kernel.
    fn poll_out(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = self.poll_sending(cx);
        match &result {
            Poll::Pending => {
                self.blocked.get_or_insert_with(Instant::now);
            }
            Poll::Ready(Ok(())) => {
                self.blocked = None;
                self.out = Buffer::none();
                let position = self.connection.written();
                self.deliveries.left(position);
            }
            Poll::Ready(Err(error)) => {
                let kind = error.kind();
                self.fails(kind);
            }
        }
        result
    }

    /// A call has failed. If the first one does by EPIPE, the client had ended its side in good order before it answered by
    /// RST what we said later: otherwise, Linux says ECONNRESET.
    fn fails(&mut self, kind: io::ErrorKind) {
        self.ended |= !self.failed && kind == io::ErrorKind::BrokenPipe;
        self.failed = true;
    }

    fn poll_sending(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let session = self.connection.session().cloned();
        loop {
            if let Some(session) = &session {
                if !session.wants_write() {
                    if self.out.is_empty() {
                        return Poll::Ready(Ok(()));
                    }
                    let sealed = session.seal(&[io::IoSlice::new(self.out.filled())])?;
                    self.out.consume(sealed);
                }
            } else if self.out.is_empty() {
                return Poll::Ready(Ok(()));
            }
            ready!(self.connection.stream().poll_write_ready(cx))?;
            let stream = self.connection.stream();
            let sent = stream.try_io(Interest::WRITABLE, || match &session {
                Some(session) => session.write_out(stream.as_fd()),
                None => Ok(rustix::net::send(stream, self.out.filled(), SendFlags::NOSIGNAL)?),
            });
            match sent {
                Ok(n) => {
                    self.blocked = None;
                    self.connection.wrote(n as u64);
                    if session.is_none() {
                        self.out.consume(n);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    fn acked(&self) -> Option<u64> {
        self.connection.acked()
    }

    /// The client has said `bytes`.
    fn heard(&mut self, bytes: &[u8]) {
        let State { resets, deliveries, connection, .. } = self;
        resets.scan(bytes, |stream, code| {
            let code = Reason::from(code);
            // Who wants no more, but says that nothing is wrong, has got what was to be had. So has who takes the stream for
            // closed already: curl does as soon as it has counted the body's bytes.
            if code != Reason::NO_ERROR && code != Reason::STREAM_CLOSED {
                let why = AbortReason::Disconnected(format!("stream reset: {code}"));
                deliveries.reset(stream, connection.acked(), &why);
            }
        });
    }
}

/// Dropped before the end: the server is stopping.
impl Drop for State {
    fn drop(&mut self) {
        if self.deliveries.is_pending() && !std::thread::panicking() {
            let (acked, reason) = (self.acked(), self.connection.dropped());
            let State { deliveries, connection, .. } = self;
            deliveries.lose(acked, || sys::transport(connection.stream()).ok()).tell(&reason);
        }
    }
}

impl Line {
    pub(crate) fn new(mut connection: Connection, input: Buffer) -> Line {
        // Every byte is counted, since it is not known yet which of them will matter.
        connection.track();
        Line(Arc::new(Mutex::new(State {
            connection,
            input,
            out: Buffer::none(),
            scanner: Scanner::default(),
            resets: Resets::new(),
            deliveries: Deliveries::new(),
            blocked: None,
            ended: false,
            failed: false,
            over: None,
        })))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the connection says of itself, for its requests.
    pub(crate) fn describe<T>(&self, with: impl FnOnce(&Connection) -> T) -> T {
        with(&self.lock().connection)
    }

    /// A body begins on `stream`; hears when its last byte has left.
    pub(crate) fn begin(&self, stream: u32, watched: Option<(Watch, Place)>) -> oneshot::Receiver<()> {
        self.lock().deliveries.begin(stream, watched)
    }

    /// A place among the deliveries that are pending.
    pub(crate) async fn place(&self) -> Place {
        let places = {
            let mut state = self.lock();
            if state.deliveries.places.available_permits() == 0 {
                // Whoever asks for so much need not be asked what has arrived. If there is nothing, the next answer to a
                // ping makes room, or the clock.
                let acked = state.acked();
                let State { deliveries, connection, .. } = &mut *state;
                deliveries.arrived(acked, || sys::transport(connection.stream()).ok());
                deliveries.crowded.notify_one();
            }
            Arc::clone(&state.deliveries.places)
        };
        // The semaphore is never closed.
        places.acquire_owned().await.ok()
    }

    /// The body on `stream` does not go on, and nobody can say why.
    pub(crate) fn forsake(&self, stream: u32) {
        let mut state = self.lock();
        let acked = state.acked();
        let Some(watch) = state.deliveries.give_up(stream, acked) else { return };
        drop(state);
        watch.aborted(&self.forsaken());
    }

    /// Why a stream's task is dropped before its end.
    pub(crate) fn forsaken(&self) -> AbortReason {
        if std::thread::panicking() {
            return AbortReason::Dropped;
        }
        let state = self.lock();
        state.over.clone().unwrap_or_else(|| state.connection.dropped())
    }

    /// A permit for each byte that may be handed over.
    pub(crate) fn room(&self) -> Arc<Semaphore> {
        Arc::clone(&self.lock().deliveries.room)
    }

    /// So many bytes were handed over, for as many permits.
    pub(crate) fn queue(&self, stream: u32, bytes: usize) {
        self.lock().deliveries.queue(stream, bytes);
    }

    /// The body on `stream` does not go on.
    pub(crate) fn give_up(&self, stream: u32) -> Option<Watch> {
        let mut state = self.lock();
        let acked = state.acked();
        state.deliveries.give_up(stream, acked)
    }

    /// Told when somebody waits for a place among the deliveries that are pending.
    pub(crate) fn crowded(&self) -> Arc<Notify> {
        Arc::clone(&self.lock().deliveries.crowded)
    }

    /// True when there is no such place.
    pub(crate) fn is_crowded(&self) -> bool {
        self.lock().deliveries.places.available_permits() == 0
    }

    /// True while it is not known of some body whether it has arrived.
    pub(crate) fn is_pending(&self) -> bool {
        self.lock().deliveries.is_pending()
    }

    /// Whether the client's program is to be asked now what has arrived, and how much had left. About what was
    /// acknowledged so long ago, unless it is `urgent`.
    pub(crate) fn ask(&self, after: Duration, urgent: bool) -> Option<u64> {
        let mut state = self.lock();
        let asks = state.deliveries.ask(after) || (urgent && state.deliveries.wants_word());
        asks.then(|| state.connection.written())
    }

    /// Looks how much has arrived. The reason if the client takes nothing any more.
    pub(crate) fn look(&self, options: &Options) -> Result<(), AbortReason> {
        let mut state = self.lock();
        if state.blocked.is_some_and(|since| since.elapsed() >= options.stall_timeout) {
            return Err(AbortReason::Stalled);
        }
        if state.deliveries.is_pending() {
            let acked = state.acked();
            let State { deliveries, connection, .. } = &mut *state;
            let transport = || sys::transport(connection.stream()).ok();
            if deliveries.places.available_permits() == 0 {
                deliveries.arrived(acked, transport);
            }
            return deliveries.look(acked, options, transport);
        }
        Ok(())
    }

    /// The client's program has read what had left by `position`.
    pub(crate) fn confirm(&self, position: u64) {
        let mut state = self.lock();
        let State { deliveries, connection, .. } = &mut *state;
        deliveries.confirm(position, || sys::transport(connection.stream()).ok());
    }

    /// The connection has ended, in whatever way: settles what is known. If the end was an orderly one of ours, what has
    /// left is waited for, and then, for a while, the client's own end: closing at once would make the kernel send RST for
    /// what the client still says, which can destroy what is on its way to it.
    pub(crate) async fn end(&self, reason: Option<AbortReason>, options: &Options) {
        let ended = || AbortReason::Disconnected("the connection ended".to_owned());
        self.lock().over = Some(reason.clone().unwrap_or_else(ended));
        if reason.is_none() {
            let mut pause = Duration::from_millis(1);
            let mut progress = (None, Instant::now());
            while self.look(options).is_ok() {
                let (acked, written) = {
                    let state = self.lock();
                    (state.acked(), state.connection.written())
                };
                if progress.0 != acked {
                    progress = (acked, Instant::now());
                }
                let patience =
                    if acked.is_none_or(|acked| acked >= written) { CLOSING } else { options.stall_timeout };
                let waits = acked.is_some() && self.lock().deliveries.wants_word();
                if !waits && progress.1.elapsed() >= patience {
                    break;
                }
                if tokio::time::timeout(pause, poll_fn(|cx| self.poll_over(cx))).await.is_ok() {
                    break;
                }
                pause = (pause * 2).min(Duration::from_millis(250));
            }
        }
        let _ = self.look(options);
        let mut state = self.lock();
        let acked = state.acked();
        let State { deliveries, connection, ended, .. } = &mut *state;
        if *ended {
            // An orderly end of the client's confirms what it has acknowledged.
            deliveries.complete_acked(Evidence::Confirmed);
        }
        let reason = reason.unwrap_or_else(|| connection.dropped());
        deliveries.lose(acked, || sys::transport(connection.stream()).ok()).tell(&reason);
    }

    /// Reads on, for nobody, until the client has ended or broken the connection.
    fn poll_over(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.lock();
        let mut room = [0; 4096];
        loop {
            let mut room = ReadBuf::new(&mut room);
            match ready!(state.connection.poll_read(cx, &mut room)) {
                Ok(()) if room.filled().is_empty() => {
                    state.ended = true;
                    return Poll::Ready(());
                }
                Ok(()) => {}
                Err(_) => return Poll::Ready(()),
            }
        }
    }

    /// Ends our side in an orderly way, as far as the kernel takes it at once: for a client that does not answer.
    pub(crate) fn close(&self) {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let _ = Pin::new(&mut self.clone()).poll_shutdown(&mut cx);
    }

    /// Ends the connection at once and without order.
    pub(crate) fn cut(&self, reason: &AbortReason) {
        let mut state = self.lock();
        state.over = Some(reason.clone());
        let acked = state.acked();
        let State { deliveries, connection, .. } = &mut *state;
        let lost = deliveries.lose(acked, || sys::transport(connection.stream()).ok());
        state.connection.cut(reason);
        lost.tell(reason);
    }
}

impl AsyncRead for Line {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, room: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut state = self.lock();
        if !state.input.is_empty() {
            let n = state.input.filled().len().min(room.remaining());
            let before = room.filled().len();
            room.put_slice(&state.input.filled()[..n]);
            state.heard(&room.filled()[before..]);
            state.input.consume(n);
            if state.input.is_empty() {
                state.input = Buffer::none();
            }
            return Poll::Ready(Ok(()));
        }
        let before = room.filled().len();
        if let Err(error) = ready!(state.connection.poll_read(cx, room)) {
            state.fails(error.kind());
            return Poll::Ready(Err(error));
        }
        state.ended |= room.filled().len() == before;
        state.heard(&room.filled()[before..]);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Line {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut state = self.lock();
        let state = &mut *state;
        if state.out.room() == 0 {
            ready!(state.poll_out(cx))?;
            state.out = Buffer::borrow();
        }
        let n = bytes.len().min(state.out.room());
        state.out.push(&bytes[..n]);
        let State { scanner, deliveries, .. } = state;
        scanner.scan(&bytes[..n], |part| deliveries.leaving(part));
        Poll::Ready(Ok(n))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.lock().poll_out(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut state = self.lock();
        if let Some(session) = state.connection.session() {
            session.close();
        }
        ready!(state.poll_out(cx))?;
        rustix::net::shutdown(state.connection.stream(), Shutdown::Write)?;
        // Our end counts as one byte (tails).
        state.connection.wrote(1);
        Poll::Ready(Ok(()))
    }
}
