//! The connection below the frames: gathers what h2 writes, follows it, seals it if need be, and
//! sends it.

use std::future::poll_fn;
use std::io;
use std::os::fd::AsFd as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use h2::Reason;
use outflow_content::{AbortReason, DeliveryWatch, Evidence};
use parking_lot::{Mutex, MutexGuard};
use rustix::net::{SendFlags, Shutdown};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::sync::{Notify, Semaphore, oneshot};
use tokio::time::Instant;

use super::deliveries::{DeliveryPermit, StreamDeliveries};
use super::frames::{FrameScanner, ResetScanner};
use crate::connection::Connection;
use crate::connection::buffer::PooledBuffer;
use crate::options::ServerOptions;
use crate::sys;

/// How long a client has to close a connection on which nothing happens any more.
///
/// Bound: HTTP/2.
pub(crate) const CLOSE_TIME: Duration = Duration::from_secs(2);

/// Shared by h2, which reads and writes, by the streams' tasks, and by the connection's own.
#[derive(Clone)]
pub(crate) struct Http2Transport(Arc<Mutex<TransportState>>);

struct TransportState {
    connection: Connection,
    /// Read before the version of HTTP was known.
    input: PooledBuffer,
    /// Gathered: frames' heads are small, and a call or a record for each would cost more than
    /// copying.
    out: PooledBuffer,
    scanner: FrameScanner,
    resets: ResetScanner,
    deliveries: StreamDeliveries,
    /// Since when the client has taken nothing.
    blocked: Option<Instant>,
    /// The client has ended its side in an orderly way.
    ended: bool,
    /// The socket has failed.
    failed: bool,
    /// Why the connection ended, if it has.
    end_reason: Option<AbortReason>,
}

impl TransportState {
    /// Hands everything that is gathered to the kernel.
    fn poll_out(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = self.poll_sending(cx);
        match &result {
            Poll::Pending => {
                self.blocked.get_or_insert_with(Instant::now);
            }
            Poll::Ready(Ok(())) => {
                self.blocked = None;
                self.out = PooledBuffer::none();
                let position = self.connection.written();
                self.deliveries.on_left(position);
            }
            Poll::Ready(Err(error)) => {
                let kind = error.kind();
                self.on_error(kind);
            }
        }
        result
    }

    /// A call has failed. If the first one fails by EPIPE, the client had ended its side in an
    /// orderly way before it answered later bytes by RST; otherwise, Linux gives ECONNRESET.
    fn on_error(&mut self, kind: io::ErrorKind) {
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

    /// `bytes` came from the client.
    fn on_input(&mut self, bytes: &[u8]) {
        let TransportState { resets, deliveries, connection, .. } = self;
        resets.scan(bytes, |stream, code| {
            let code = Reason::from(code);
            // A client that resets without an error has received all it needs. So has one that
            // considers the stream closed: curl does once it has counted the body's bytes.
            if code != Reason::NO_ERROR && code != Reason::STREAM_CLOSED {
                let why = AbortReason::Disconnected(format!("stream reset: {code}"));
                deliveries.reset(stream, connection.acked(), &why);
            }
        });
    }
}

/// Dropped before the end: the server is stopping.
impl Drop for TransportState {
    fn drop(&mut self) {
        if self.deliveries.is_pending() && !std::thread::panicking() {
            let (acked, reason) = (self.acked(), self.connection.drop_reason());
            let TransportState { deliveries, connection, .. } = self;
            deliveries.take_lost(acked, || sys::transport(connection.stream()).ok()).abort(&reason);
        }
    }
}

impl Http2Transport {
    pub(crate) fn new(mut connection: Connection, input: PooledBuffer) -> Http2Transport {
        // Every byte is counted, because it is not known yet which ones will be observed.
        connection.count_written();
        Http2Transport(Arc::new(Mutex::new(TransportState {
            connection,
            input,
            out: PooledBuffer::none(),
            scanner: FrameScanner::default(),
            resets: ResetScanner::new(),
            deliveries: StreamDeliveries::new(),
            blocked: None,
            ended: false,
            failed: false,
            end_reason: None,
        })))
    }

    fn lock(&self) -> MutexGuard<'_, TransportState> {
        self.0.lock()
    }

    /// Reads properties of the connection, for its requests.
    pub(crate) fn describe<T>(&self, with: impl FnOnce(&Connection) -> T) -> T {
        with(&self.lock().connection)
    }

    /// A body begins on `stream`. The receiver resolves when its last byte has left.
    pub(crate) fn begin(
        &self,
        stream: u32,
        watched: Option<(DeliveryWatch, DeliveryPermit)>,
    ) -> oneshot::Receiver<()> {
        self.lock().deliveries.begin(stream, watched)
    }

    /// Waits for a share of the deliveries that may be pending.
    pub(crate) async fn delivery_permit(&self) -> DeliveryPermit {
        let permits = {
            let mut state = self.lock();
            if state.deliveries.permits.available_permits() == 0 {
                // A client that requests so much need not confirm what has arrived. If nothing has,
                // the next PONG or tick frees a permit.
                let acked = state.acked();
                let TransportState { deliveries, connection, .. } = &mut *state;
                deliveries.complete_arrived(acked, || sys::transport(connection.stream()).ok());
                deliveries.crowded.notify_one();
            }
            Arc::clone(&state.deliveries.permits)
        };
        // The semaphore is never closed.
        permits.acquire_owned().await.ok()
    }

    /// The body on `stream` does not go on, for an unknown reason.
    pub(crate) fn abandon(&self, stream: u32) {
        let mut state = self.lock();
        let acked = state.acked();
        let Some(watch) = state.deliveries.give_up(stream, acked) else { return };
        drop(state);
        watch.aborted(&self.abandon_reason());
    }

    /// Why a stream's task is dropped before its end.
    pub(crate) fn abandon_reason(&self) -> AbortReason {
        if std::thread::panicking() {
            return AbortReason::Dropped;
        }
        let state = self.lock();
        state.end_reason.clone().unwrap_or_else(|| state.connection.drop_reason())
    }

    /// A permit for each byte that may be handed over.
    pub(crate) fn capacity(&self) -> Arc<Semaphore> {
        Arc::clone(&self.lock().deliveries.capacity)
    }

    /// `bytes` were handed over, for as many permits.
    pub(crate) fn queue(&self, stream: u32, bytes: usize) {
        self.lock().deliveries.queue(stream, bytes);
    }

    /// The body on `stream` does not go on.
    pub(crate) fn give_up(&self, stream: u32) -> Option<DeliveryWatch> {
        let mut state = self.lock();
        let acked = state.acked();
        state.deliveries.give_up(stream, acked)
    }

    /// Notified when a delivery waits for a permit.
    pub(crate) fn crowded(&self) -> Arc<Notify> {
        Arc::clone(&self.lock().deliveries.crowded)
    }

    /// True when no permit is free.
    pub(crate) fn is_crowded(&self) -> bool {
        self.lock().deliveries.permits.available_permits() == 0
    }

    /// True while some body is not known to have arrived.
    pub(crate) fn is_pending(&self) -> bool {
        self.lock().deliveries.is_pending()
    }

    /// The number of bytes that have left, if a PING is to be sent now: for bodies acknowledged at
    /// least `after` ago, or for any if it is `urgent`.
    pub(crate) fn wants_ping(&self, after: Duration, urgent: bool) -> Option<u64> {
        let mut state = self.lock();
        let wanted = state.deliveries.wants_ping(after) || (urgent && state.deliveries.has_unconfirmed());
        wanted.then(|| state.connection.written())
    }

    /// Asks the kernel how much has arrived. The reason if the client takes nothing any more.
    pub(crate) fn check_acks(&self, options: &ServerOptions) -> Result<(), AbortReason> {
        let mut state = self.lock();
        if state.blocked.is_some_and(|since| since.elapsed() >= options.stall_timeout) {
            return Err(AbortReason::Stalled);
        }
        if state.deliveries.is_pending() {
            let acked = state.acked();
            let TransportState { deliveries, connection, .. } = &mut *state;
            let transport = || sys::transport(connection.stream()).ok();
            if deliveries.permits.available_permits() == 0 {
                deliveries.complete_arrived(acked, transport);
            }
            return deliveries.on_acked(acked, options, transport);
        }
        Ok(())
    }

    /// The client's program has read what had left by `position`.
    pub(crate) fn confirm(&self, position: u64) {
        let mut state = self.lock();
        let TransportState { deliveries, connection, .. } = &mut *state;
        deliveries.confirm(position, || sys::transport(connection.stream()).ok());
    }

    /// Settles a connection that has ended, with what is known. After an orderly end of ours, waits
    /// for what has left to be acknowledged, and then, for a while, for the client's own end:
    /// closing at once would make the kernel send RST for further bytes of the client, which can
    /// destroy bytes on their way to it.
    pub(crate) async fn end(&self, reason: Option<AbortReason>, options: &ServerOptions) {
        let ended = || AbortReason::Disconnected("the connection ended".to_owned());
        self.lock().end_reason = Some(reason.clone().unwrap_or_else(ended));
        if reason.is_none() {
            let mut pause = Duration::from_millis(1);
            let mut progress = (None, Instant::now());
            while self.check_acks(options).is_ok() {
                let (acked, written) = {
                    let state = self.lock();
                    (state.acked(), state.connection.written())
                };
                if progress.0 != acked {
                    progress = (acked, Instant::now());
                }
                let patience = if acked.is_none_or(|acked| acked >= written) {
                    CLOSE_TIME
                } else {
                    options.stall_timeout
                };
                let waits = acked.is_some() && self.lock().deliveries.has_unconfirmed();
                if !waits && progress.1.elapsed() >= patience {
                    break;
                }
                if tokio::time::timeout(pause, poll_fn(|cx| self.poll_client_end(cx))).await.is_ok() {
                    break;
                }
                pause = (pause * 2).min(Duration::from_millis(250));
            }
        }
        let _ = self.check_acks(options);
        let mut state = self.lock();
        let acked = state.acked();
        let TransportState { deliveries, connection, ended, .. } = &mut *state;
        if *ended {
            // An orderly end of the client's confirms what it has acknowledged.
            deliveries.complete_acked(Evidence::Confirmed);
        }
        let reason = reason.unwrap_or_else(|| connection.drop_reason());
        deliveries.take_lost(acked, || sys::transport(connection.stream()).ok()).abort(&reason);
    }

    /// Reads and discards until the client has ended or broken the connection.
    fn poll_client_end(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.lock();
        let mut space = [0; 4096];
        loop {
            let mut space = ReadBuf::new(&mut space);
            match ready!(state.connection.poll_read(cx, &mut space)) {
                Ok(()) if space.filled().is_empty() => {
                    state.ended = true;
                    return Poll::Ready(());
                }
                Ok(()) => {}
                Err(_) => return Poll::Ready(()),
            }
        }
    }

    /// Ends our side in an orderly way, as far as the kernel takes it at once: for clients that do
    /// not answer.
    pub(crate) fn close(&self) {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let _ = Pin::new(&mut self.clone()).poll_shutdown(&mut cx);
    }

    /// Resets the connection.
    pub(crate) fn reset(&self, reason: &AbortReason) {
        let mut state = self.lock();
        state.end_reason = Some(reason.clone());
        let acked = state.acked();
        let TransportState { deliveries, connection, .. } = &mut *state;
        let lost = deliveries.take_lost(acked, || sys::transport(connection.stream()).ok());
        state.connection.reset(reason);
        lost.abort(reason);
    }
}

impl AsyncRead for Http2Transport {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        space: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut state = self.lock();
        if !state.input.is_empty() {
            let n = state.input.filled().len().min(space.remaining());
            let before = space.filled().len();
            space.put_slice(&state.input.filled()[..n]);
            state.on_input(&space.filled()[before..]);
            state.input.consume(n);
            if state.input.is_empty() {
                state.input = PooledBuffer::none();
            }
            return Poll::Ready(Ok(()));
        }
        let before = space.filled().len();
        if let Err(error) = ready!(state.connection.poll_read(cx, space)) {
            state.on_error(error.kind());
            return Poll::Ready(Err(error));
        }
        state.ended |= space.filled().len() == before;
        state.on_input(&space.filled()[before..]);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Http2Transport {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut state = self.lock();
        let state = &mut *state;
        if state.out.capacity_left() == 0 {
            ready!(state.poll_out(cx))?;
            state.out = PooledBuffer::borrow();
        }
        let n = bytes.len().min(state.out.capacity_left());
        state.out.push(&bytes[..n]);
        let TransportState { scanner, deliveries, .. } = state;
        scanner.scan(&bytes[..n], |part| deliveries.add_leaving(part));
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
        // Our FIN counts as one byte (`delivery`).
        state.connection.wrote(1);
        Poll::Ready(Ok(()))
    }
}
