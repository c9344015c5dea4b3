//! One client's socket: reading, writing and waiting, each with a deadline.

pub(crate) mod buffer;
pub(crate) mod timer;

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use outflow_content::AbortReason;
use rustix::net::sockopt;
use rustix::net::{SendAncillaryBuffer, SendFlags};
use tokio::io::{Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedWriteHalf;

use crate::connection::buffer::Buffer;
use crate::connection::timer::Timer;
use crate::delivery::{Tails, disconnected, tell_lost};
use crate::listen::Counted;
use crate::options::Options;
use crate::tls::{Reader, Session};

/// In which state a connection is finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Farewell {
    /// Right behind an answer, while the client may still be sending.
    Linger,
    /// Between requests.
    Idle,
    /// The client has ended its side.
    Over,
}

enum Lingering {
    /// So much was read and discarded; 0 is the end.
    Read(io::Result<usize>),
    /// It is time to look how much has arrived.
    Look,
    Over,
}

/// A socket and its one deadline. While it waits for a request it owns nothing else.
pub(crate) struct Connection {
    /// `None` while a request's body owns it.
    read: Option<Reader>,
    /// `None` when the connection has stopped being HTTP.
    write: Option<OwnedWriteHalf>,
    /// `None` in the clear.
    session: Option<Session>,
    pub(crate) peer: SocketAddr,
    /// Holds the connection's place among those that the server may have.
    counted: Option<Counted>,
    timer: Timer,
    /// Requests that have been served.
    pub(crate) served: u32,
    /// See `tails`. One pointer for all that a connection at rest has no use for.
    pub(crate) tails: Option<Box<Tails>>,
}

impl Connection {
    pub(crate) fn new(
        stream: TcpStream,
        peer: SocketAddr,
        options: &Options,
        counted: Counted,
    ) -> Connection {
        let (read, write) = stream.into_split();
        Connection {
            read: Some(Reader::new(read)),
            write: Some(write),
            session: None,
            peer,
            counted: Some(counted),
            timer: Timer::paced(options),
            served: 0,
            tails: None,
        }
    }

    pub(crate) fn stream(&self) -> &TcpStream {
        let write = self.write.as_ref();
        write.expect("taken by `into_raw` only, which consumes the connection").as_ref()
    }

    /// From here on what is read and sent is within TLS.
    pub(crate) fn secure(&mut self, session: Session) {
        if let Some(read) = &mut self.read {
            read.secure(session.clone());
        }
        self.session = Some(session);
    }

    /// The connection's TLS, if it has one.
    pub(crate) fn session(&self) -> Option<&Session> {
        self.session.as_ref()
    }

    /// Gives back what only a busy connection needs.
    pub(crate) fn rest(&mut self) {
        self.timer.rest();
        self.forget_tails();
    }

    pub(crate) fn timer(&mut self) -> &mut Timer {
        &mut self.timer
    }

    /// Reads what is there into the buffer's room; 0 is the end of the stream.
    /// `TimedOut` when the deadline passes first; `WouldBlock` when there is nothing to read and nothing in the
    /// buffer, which should be given back then.
    pub(crate) async fn read_some(&mut self, buffer: &mut Buffer) -> io::Result<usize> {
        poll_fn(|cx| {
            let mut room = ReadBuf::new(buffer.spare());
            let Some(read) = &mut self.read else { return Poll::Ready(Ok(0)) };
            match read.poll_read(cx, &mut room) {
                Poll::Ready(result) => {
                    let n = room.filled().len();
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

    /// Reads what is there into `room`; nothing is the end of the stream. Knows no deadline.
    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>, room: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut self.read {
            Some(read) => read.poll_read(cx, room),
            None => Poll::Ready(Ok(())),
        }
    }

    /// Ready when there is something to read. Borrows nothing, and knows no deadline.
    pub(crate) fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.session.as_ref().is_some_and(Session::has_plaintext) {
            return Poll::Ready(Ok(()));
        }
        self.stream().poll_read_ready(cx)
    }

    /// Runs a system call that writes, each time the socket can take something, until it does not answer
    /// `WouldBlock`. `TimedOut` when the client takes nothing until the deadline.
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

    /// Waits for `work`, which the client is waiting for, too: an error when the client breaks the connection
    /// before it is done. One that has ended its own side in an orderly way goes on receiving; one that has
    /// closed both looks the same, until the next bytes that reach it are answered with RST.
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
            // The kernel had something else to say (EPOLLERR, epoll_ctl(2)): forgotten, until it says more.
            let _ =
                stream.try_io(Interest::ERROR, || io::Result::<()>::Err(io::ErrorKind::WouldBlock.into()));
        }
    }

    /// Sends some of `bytes`. With `more`, the kernel waits for the bytes that follow before it sends a
    /// packet that is not full (`MSG_MORE`).
    pub(crate) async fn send(&mut self, bytes: &[u8], more: bool) -> io::Result<usize> {
        if self.session.is_some() {
            return self.send_sealed(&[IoSlice::new(bytes)]).await;
        }
        let flags = if more { SendFlags::NOSIGNAL | SendFlags::MORE } else { SendFlags::NOSIGNAL };
        let n = self.write_with(|socket| Ok(rustix::net::send(socket, bytes, flags)?)).await?;
        self.wrote(n as u64);
        Ok(n)
    }

    /// The same for two runs of bytes, in one call; they may be taken in part, the first one first.
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

    /// True for a connection in the clear of which nobody counts what is written.
    pub(crate) fn is_plain(&self) -> bool {
        self.session.is_none() && self.tails.is_none()
    }

    /// Sends some of two runs of bytes, if the socket takes something now; knows no deadline. Only on a connection that
    /// [is plain](Connection::is_plain).
    pub(crate) fn poll_send_both(
        &self,
        cx: &mut Context<'_>,
        first: &[u8],
        second: &[u8],
        more: bool,
    ) -> Poll<io::Result<usize>> {
        let flags = if more { SendFlags::NOSIGNAL | SendFlags::MORE } else { SendFlags::NOSIGNAL };
        self.poll_write_with(cx, |socket| {
            if second.is_empty() {
                return Ok(rustix::net::send(socket, first, flags)?);
            }
            let runs = [IoSlice::new(first), IoSlice::new(second)];
            Ok(rustix::net::sendmsg(socket, &runs, &mut SendAncillaryBuffer::default(), flags)?)
        })
    }

    /// Runs a system call that writes, if the socket can take something now; knows no deadline.
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

    pub(crate) async fn flush_sealed(&mut self, session: &Session) -> io::Result<()> {
        while session.wants_write() {
            let n = self.write_with(|socket| session.write_out(socket)).await?;
            self.wrote(n as u64);
            self.timer.progress(n as u64);
        }
        Ok(())
    }

    /// Holds back packets that are not full until [`Connection::uncork`] (`TCP_CORK`), for bodies whose
    /// parts leave by calls that know no `MSG_MORE`.
    pub(crate) fn cork(&self, corked: bool) {
        // Only a matter of packet sizes: without it the same bytes leave.
        let _ = sockopt::set_tcp_cork(self.stream(), corked);
    }

    /// Progress of `sent` bytes was made: moves the stall deadline by what they are worth.
    pub(crate) fn credit(&mut self, sent: u64) {
        // What is within TLS has been counted as it left.
        if self.session.is_none() {
            self.timer.progress(sent);
        }
    }

    /// Ends the connection so that the client sees an error, whatever it has received so far: what is
    /// queued is thrown away and an RST leaves. So a body that was cut can never pass for a complete one.
    ///
    /// Disconnecting does that at once (connect(2), `AF_UNSPEC`), whoever else still holds a part of the
    /// connection, a request's body, say. Deliveries that are pending end for `reason`.
    pub(crate) fn cut(&mut self, reason: &AbortReason) {
        let tails = self.take_measured();
        if let Err(error) = rustix::net::connect_unspec(self.stream()) {
            tracing::debug!(client = %self.peer, %error, "connection could not be cut");
        }
        tell_lost(tails, reason);
    }

    /// Ends the connection in an orderly way although the client may still be sending: half-closes, then
    /// reads and discards for a while. Closing at once would make the kernel send RST, which can destroy
    /// the answer on its way (RFC 9112 section 9.6). Deliveries that are pending are waited for.
    pub(crate) async fn finish(mut self, options: &Options, farewell: Farewell) {
        const LINGER: Duration = Duration::from_secs(2);
        const LINGER_BYTES: usize = 4 * 1024 * 1024;
        if let Some(session) = self.session.clone() {
            session.close();
            self.timer.set(options.stall_timeout);
            if let Err(error) = self.flush_sealed(&session).await {
                self.lose(&disconnected(&error));
                return;
            }
        }
        if farewell != Farewell::Linger && !self.has_tails() {
            return;
        }
        let Some(write) = &mut self.write else { return };
        if let Err(error) = tokio::io::AsyncWriteExt::shutdown(write).await {
            self.lose(&disconnected(&error));
            return;
        }
        self.wrote(1);
        self.timer.set(LINGER);
        let (mut reads, mut discarded) = (farewell != Farewell::Over && self.read.is_some(), 0);
        loop {
            if !reads {
                self.settle_acked();
            }
            if !self.has_tails() && (!reads || farewell != Farewell::Linger) {
                return;
            }
            match poll_fn(|cx| self.poll_discard(cx, reads)).await {
                Lingering::Read(Ok(0)) => {
                    reads = false;
                    self.ended(options);
                }
                Lingering::Read(Ok(n)) => {
                    discarded += n;
                    reads = discarded < LINGER_BYTES;
                }
                Lingering::Read(Err(error)) => {
                    self.lose(&disconnected(&error));
                    return;
                }
                Lingering::Look => {
                    if let Err(reason) = self.look_closely(options) {
                        self.cut(&reason);
                        return;
                    }
                }
                Lingering::Over => return,
            }
        }
    }

    /// What happens next to a connection that lingers. While deliveries are pending, they say how long.
    fn poll_discard(&mut self, cx: &mut Context<'_>, reads: bool) -> Poll<Lingering> {
        let mut room = [0; 4096];
        let mut room = ReadBuf::new(&mut room);
        if let Some(read) = self.read.as_mut().filter(|_| reads)
            && let Poll::Ready(result) = read.poll_read(cx, &mut room)
        {
            return Poll::Ready(Lingering::Read(result.map(|()| room.filled().len())));
        }
        if self.has_tails() {
            return self.poll_look(cx, true).map(|()| Lingering::Look);
        }
        self.timer.poll_expired(cx).map(|()| Lingering::Over)
    }

    /// Lends the reading side to a request's body.
    pub(crate) fn take_read(&mut self) -> Option<Reader> {
        self.read.take()
    }

    /// Takes the reading side back.
    pub(crate) fn put_read(&mut self, read: Reader) {
        self.read = Some(read);
    }

    /// The two halves and the connection's place, for a connection that stops being HTTP.
    pub(crate) fn into_raw(mut self) -> Option<(Reader, OwnedWriteHalf, Counted)> {
        Some((self.read.take()?, self.write.take()?, self.counted.take()?))
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if self.write.is_some() && self.has_tails() {
            self.lose(&self.dropped());
        }
    }
}
