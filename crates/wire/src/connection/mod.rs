//! One client's socket: reading, writing and waiting, each with a deadline.
//!
//! ```text
//! mod          reading and writing, in the clear or within TLS
//! deliveries   what is sent and not known to have arrived
//! closing      its end, in order or by a reset
//! permit       its share of the server's limits
//! timer        its one deadline
//! buffer       memory that is borrowed while there is something in it
//! ```

pub(crate) mod buffer;
mod closing;
mod deliveries;
pub(crate) mod permit;
pub(crate) mod timer;

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::pin;
use std::task::{Context, Poll, ready};

use rustix::net::sockopt;
use rustix::net::{SendAncillaryBuffer, SendFlags};
use tokio::io::{Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedWriteHalf;

use crate::delivery::PendingDeliveries;
use crate::options::ServerOptions;
use crate::tls::{TlsSession, TransportReader};
use buffer::PooledBuffer;
pub(crate) use closing::ClosingState;
use permit::ConnectionPermit;
use timer::DeadlineTimer;

/// Requests after which a connection counts as busy: its next request is likely to follow within
/// milliseconds.
const BUSY_FROM: u32 = 8;

/// A socket and its one deadline. While it waits for a request it owns nothing else.
pub(crate) struct Connection {
    /// `None` while a request's body owns it.
    read: Option<TransportReader>,
    /// `None` when the connection has stopped being HTTP.
    write: Option<OwnedWriteHalf>,
    /// `None` in the clear.
    session: Option<TlsSession>,
    pub(crate) peer: SocketAddr,
    /// The proxy that named `peer`. Boxed, because most connections have none.
    via: Option<Box<SocketAddr>>,
    permit: Option<ConnectionPermit>,
    timer: DeadlineTimer,
    /// Requests served so far.
    served: u32,
    /// Boxed, because an idle connection has none.
    pending: Option<Box<PendingDeliveries>>,
}

impl Connection {
    pub(crate) fn new(
        stream: TcpStream,
        peer: SocketAddr,
        options: &ServerOptions,
        permit: ConnectionPermit,
    ) -> Connection {
        let (read, write) = stream.into_split();
        Connection {
            read: Some(TransportReader::new(read)),
            write: Some(write),
            session: None,
            peer,
            via: None,
            permit: Some(permit),
            timer: DeadlineTimer::paced(options),
            served: 0,
            pending: None,
        }
    }

    pub(crate) fn stream(&self) -> &TcpStream {
        let write = self.write.as_ref();
        write.expect("taken by `take_raw` only, after which the connection is dropped").as_ref()
    }

    /// From here on what is read and sent is within TLS.
    #[cfg_attr(not(feature = "tls"), expect(unreachable_code, reason = "there is no session"))]
    pub(crate) fn secure(&mut self, session: TlsSession) {
        if let Some(read) = &mut self.read {
            read.secure(session.clone());
        }
        self.session = Some(session);
    }

    /// The connection's TLS, if it has one.
    pub(crate) fn session(&self) -> Option<&TlsSession> {
        self.session.as_ref()
    }

    /// A proxy named the connection's client.
    pub(crate) fn set_client(&mut self, client: SocketAddr) {
        let proxy = std::mem::replace(&mut self.peer, client);
        self.via = Some(Box::new(proxy));
    }

    /// The proxy that named the client, if one did.
    pub(crate) fn via(&self) -> Option<SocketAddr> {
        self.via.as_deref().copied()
    }

    /// A request's head has been read.
    pub(crate) fn count_request(&mut self) {
        self.served = self.served.saturating_add(1);
    }

    /// Whether the next request is likely to follow within milliseconds.
    pub(crate) fn is_busy(&self) -> bool {
        self.served >= BUSY_FROM
    }

    /// Frees what only a busy connection needs.
    pub(crate) fn rest(&mut self) {
        self.timer.rest();
        self.release_pending();
    }

    pub(crate) fn timer(&mut self) -> &mut DeadlineTimer {
        &mut self.timer
    }

    /// Reads into the buffer's spare space; 0 is the end of the stream. `TimedOut` when the
    /// deadline passes first; `WouldBlock` when there is nothing to read and nothing in the buffer,
    /// which should be returned to its pool then.
    pub(crate) async fn read_some(&mut self, buffer: &mut PooledBuffer) -> io::Result<usize> {
        poll_fn(|cx| {
            let mut space = ReadBuf::new(buffer.spare());
            let Some(read) = &mut self.read else { return Poll::Ready(Ok(0)) };
            match read.poll_read(cx, &mut space) {
                Poll::Ready(result) => {
                    let n = space.filled().len();
                    buffer.fill(n);
                    Poll::Ready(result.map(|()| n))
                }
                Poll::Pending if buffer.is_empty() => Poll::Ready(Err(io::ErrorKind::WouldBlock.into())),
                Poll::Pending => {
                    ready!(self.timer.poll_expired(cx));
                    Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
                }
            }
        })
        .await
    }

    /// Reads into `space`; nothing is the end of the stream. Ignores the deadline.
    pub(crate) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        space: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.read {
            Some(read) => read.poll_read(cx, space),
            None => Poll::Ready(Ok(())),
        }
    }

    /// Ready when there is something to read. Takes no memory, and ignores the deadline.
    pub(crate) fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.session.as_ref().is_some_and(TlsSession::has_plaintext) {
            return Poll::Ready(Ok(()));
        }
        self.stream().poll_read_ready(cx)
    }

    /// Runs a system call that writes whenever the socket is writable, until it answers something
    /// other than `WouldBlock`. `TimedOut` when the client takes nothing until the deadline.
    pub(crate) async fn write_with<R>(
        &mut self,
        mut call: impl FnMut(BorrowedFd<'_>) -> io::Result<R>,
    ) -> io::Result<R> {
        poll_fn(|cx| {
            loop {
                match self.stream().poll_write_ready(cx) {
                    Poll::Ready(result) => result?,
                    Poll::Pending => {
                        ready!(self.timer.poll_expired(cx));
                        return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
                    }
                }
                let stream = self.stream();
                match stream.try_io(Interest::WRITABLE, || call(stream.as_fd())) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    result => return Poll::Ready(result),
                }
            }
        })
        .await
    }

    /// Waits for `work`, which the client is waiting for, too: an error when the client breaks the
    /// connection first. A client that has ended its own side in an orderly way goes on receiving;
    /// one that has closed both sides looks the same until it answers the next bytes with RST.
    pub(crate) async fn unless_broken<T>(
        &mut self,
        mut work: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> io::Result<T> {
        let stream = self.stream();
        loop {
            let mut failing = pin!(stream.ready(Interest::ERROR));
            let done = poll_fn(|cx| match work(cx) {
                Poll::Ready(done) => Poll::Ready(Ok(Some(done))),
                Poll::Pending => failing.as_mut().poll(cx).map_ok(|_| None),
            });
            if let Some(done) = done.await? {
                return Ok(done);
            }
            sockopt::socket_error(stream)??;
            // Another cause of EPOLLERR (epoll_ctl(2)): cleared until the next one.
            let _ =
                stream.try_io(Interest::ERROR, || io::Result::<()>::Err(io::ErrorKind::WouldBlock.into()));
        }
    }

    /// Sends some of `bytes`. With `more`, the kernel waits for the bytes that follow before it
    /// sends a packet that is not full (`MSG_MORE`).
    pub(crate) async fn send(&mut self, bytes: &[u8], more: bool) -> io::Result<usize> {
        if self.session.is_some() {
            return self.send_sealed(&[IoSlice::new(bytes)]).await;
        }
        let flags = if more { SendFlags::NOSIGNAL | SendFlags::MORE } else { SendFlags::NOSIGNAL };
        let n = self.write_with(|socket| Ok(rustix::net::send(socket, bytes, flags)?)).await?;
        self.wrote(n as u64);
        Ok(n)
    }

    /// The same for two runs of bytes in one call. The kernel may take a part, the first run first.
    pub(crate) async fn send_both(&mut self, first: &[u8], second: &[u8], more: bool) -> io::Result<usize> {
        if self.session.is_some() {
            return self.send_sealed(&[IoSlice::new(first), IoSlice::new(second)]).await;
        }
        let flags = if more { SendFlags::NOSIGNAL | SendFlags::MORE } else { SendFlags::NOSIGNAL };
        let sent = self.write_with(|socket| {
            let runs = [IoSlice::new(first), IoSlice::new(second)];
            Ok(rustix::net::sendmsg(socket, &runs, &mut SendAncillaryBuffer::default(), flags)?)
        });
        let n = sent.await?;
        self.wrote(n as u64);
        Ok(n)
    }

    /// Sends some of two runs of bytes, if the socket is writable now; ignores the deadline. Not
    /// within TLS.
    pub(crate) fn poll_send_both(
        &mut self,
        cx: &mut Context<'_>,
        first: &[u8],
        second: &[u8],
        more: bool,
    ) -> Poll<io::Result<usize>> {
        let flags = if more { SendFlags::NOSIGNAL | SendFlags::MORE } else { SendFlags::NOSIGNAL };
        let sent = self.poll_write_with(cx, |socket| {
            if second.is_empty() {
                return Ok(rustix::net::send(socket, first, flags)?);
            }
            let runs = [IoSlice::new(first), IoSlice::new(second)];
            Ok(rustix::net::sendmsg(socket, &runs, &mut SendAncillaryBuffer::default(), flags)?)
        });
        let n = ready!(sent)?;
        self.wrote(n as u64);
        Poll::Ready(Ok(n))
    }

    /// Runs a system call that writes, if the socket is writable now; ignores the deadline.
    pub(crate) fn poll_write_with<R>(
        &self,
        cx: &mut Context<'_>,
        call: impl FnOnce(BorrowedFd<'_>) -> io::Result<R>,
    ) -> Poll<io::Result<R>> {
        let stream = self.stream();
        ready!(stream.poll_write_ready(cx))?;
        match stream.try_io(Interest::WRITABLE, || call(stream.as_fd())) {
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                Poll::Pending
            }
            result => Poll::Ready(result),
        }
    }

    /// Seals some of these runs and sends them, to their last byte.
    async fn send_sealed(&mut self, runs: &[IoSlice<'_>]) -> io::Result<usize> {
        let Some(session) = self.session.clone() else { return Ok(0) };
        let sealed = session.seal(runs)?;
        self.flush_sealed(&session).await?;
        Ok(sealed)
    }

    pub(crate) async fn flush_sealed(&mut self, session: &TlsSession) -> io::Result<()> {
        while session.wants_write() {
            let n = self.write_with(|socket| session.write_out(socket)).await?;
            self.wrote(n as u64);
            self.timer.progress(n as u64);
        }
        Ok(())
    }

    /// While corked, the kernel holds back packets that are not full (`TCP_CORK`): for bodies whose
    /// parts leave by calls without `MSG_MORE`.
    pub(crate) fn cork(&self, corked: bool) {
        // Only packet sizes depend on it.
        let _ = sockopt::set_tcp_cork(self.stream(), corked);
    }

    /// Moves the stall deadline by the time that progress of `sent` bytes buys.
    pub(crate) fn credit(&mut self, sent: u64) {
        // TLS records were credited as they left.
        if self.session.is_none() {
            self.timer.progress(sent);
        }
    }

    /// Lends the reading side to a request's body.
    pub(crate) fn take_read(&mut self) -> Option<TransportReader> {
        self.read.take()
    }

    /// Takes the reading side back.
    pub(crate) fn put_read(&mut self, read: TransportReader) {
        self.read = Some(read);
    }

    /// The two halves and the permit of a connection that stops being HTTP. Drop the connection
    /// then.
    pub(crate) fn take_raw(&mut self) -> Option<(TransportReader, OwnedWriteHalf, ConnectionPermit)> {
        Some((self.read.take()?, self.write.take()?, self.permit.take()?))
    }
}
