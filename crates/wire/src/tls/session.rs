//! One connection's TLS: bytes in, bytes out, nothing of HTTP.
//!
//! Sealed bytes are handed to the kernel before more are sealed, so that at most one batch waits
//! here for a slow client.

use std::io::{self, BufRead as _, IoSlice, Read as _, Write as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use parking_lot::Mutex;
use rustix::net::SendFlags;
use rustls::ServerConnection;
use tokio::io::{Interest, ReadBuf};
use tokio::net::TcpStream;

use super::config::Tls;
use super::negotiated::Secure;

/// Maximum number of bytes sealed at a time: whole records (RFC 8446, 5.1), and few enough to be
/// kept for a slow client.
///
/// Bound: TLS and certificates.
const BATCH: usize = 3 * 16 * 1024;

/// One TLS connection. Shared, because a request's body reads while its answer may be written.
#[derive(Clone)]
pub(crate) struct TlsSession(Arc<Mutex<SessionState>>);

struct SessionState {
    tls: ServerConnection,
    secure: Secure,
}

impl TlsSession {
    /// A session that has not begun.
    pub(crate) fn new(tls: &Tls) -> Result<TlsSession, rustls::Error> {
        let mut tls = ServerConnection::new(Arc::clone(&tls.config))?;
        // Every caller that seals flushes, so that BATCH is the limit.
        tls.set_buffer_limit(None);
        Ok(TlsSession(Arc::new(Mutex::new(SessionState { tls, secure: Secure { host: None } }))))
    }

    pub(crate) fn is_handshaking(&self) -> bool {
        self.0.lock().tls.is_handshaking()
    }

    /// The handshake is over. Gives the protocol that the client chose by ALPN.
    pub(crate) fn begin(&self) -> Option<Vec<u8>> {
        let mut inner = self.0.lock();
        let host = inner.tls.server_name().map(|name| Arc::from(name.to_ascii_lowercase()));
        inner.secure = Secure { host };
        inner.tls.alpn_protocol().map(<[u8]>::to_vec)
    }

    pub(crate) fn secure(&self) -> Secure {
        self.0.lock().secure.clone()
    }

    /// True when there is something to read that the socket has handed over already.
    pub(crate) fn has_plaintext(&self) -> bool {
        // An end counts, too.
        !matches!(self.0.lock().tls.reader().fill_buf(), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }

    /// Reads records from the socket, as many as one call gives, and opens them. `Pending` when
    /// there are none.
    pub(crate) fn poll_records(&self, cx: &mut Context<'_>, stream: &TcpStream) -> Poll<io::Result<usize>> {
        loop {
            ready!(stream.poll_read_ready(cx))?;
            let mut inner = self.0.lock();
            let read =
                stream.try_io(Interest::READABLE, || inner.tls.read_tls(&mut RawSocket(stream.as_fd())));
            match read {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Poll::Ready(Err(error)),
                Ok(n) => {
                    let opened = inner.tls.process_new_packets();
                    // An alert, or the answer to a change of keys. Bytes that the socket does not
                    // take leave with the next ones.
                    let mut written = Ok(0);
                    while inner.tls.wants_write() && written.is_ok() {
                        written = inner.tls.write_tls(&mut RawSocket(stream.as_fd()));
                    }
                    opened.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
                    return match written {
                        // Reported only once: a caller that read on would find an orderly end.
                        Err(error)
                            if !matches!(
                                error.kind(),
                                io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
                            ) =>
                        {
                            Poll::Ready(Err(error))
                        }
                        _ => Poll::Ready(Ok(n)),
                    };
                }
            }
        }
    }

    /// Reads what the client sends; nothing is its end, with or without an alert that announces it.
    pub(crate) fn poll_read(
        &self,
        cx: &mut Context<'_>,
        stream: &TcpStream,
        space: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            let read = self.0.lock().tls.reader().read(space.initialize_unfilled());
            match read {
                Ok(n) => {
                    space.advance(n);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Poll::Ready(Ok(())),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
            ready!(self.poll_records(cx, stream))?;
        }
    }

    /// Seals some of these runs, the first ones first, and gives the number of bytes sealed. They
    /// leave by [`TlsSession::write_out`].
    pub(crate) fn seal(&self, runs: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut inner = self.0.lock();
        let mut sealed = 0;
        for run in runs {
            let run = &run[..run.len().min(BATCH - sealed)];
            sealed += inner.tls.writer().write(run)?;
        }
        Ok(sealed)
    }

    /// True when sealed bytes wait for the socket.
    pub(crate) fn wants_write(&self) -> bool {
        self.0.lock().tls.wants_write()
    }

    /// One call that hands sealed bytes to the kernel.
    pub(crate) fn write_out(&self, socket: BorrowedFd<'_>) -> io::Result<usize> {
        self.0.lock().tls.write_tls(&mut RawSocket(socket))
    }

    /// Hands all sealed bytes to the kernel, and counts them.
    pub(crate) fn poll_write_out(
        &self,
        cx: &mut Context<'_>,
        stream: &TcpStream,
        written: &mut u64,
    ) -> Poll<io::Result<()>> {
        while self.wants_write() {
            ready!(stream.poll_write_ready(cx))?;
            match stream.try_io(Interest::WRITABLE, || self.write_out(stream.as_fd())) {
                Ok(n) => *written += n as u64,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Announces that nothing follows (RFC 8446, 6.1); the alert leaves by
    /// [`TlsSession::write_out`].
    pub(crate) fn close(&self) {
        self.0.lock().tls.send_close_notify();
    }
}

/// A socket without tokio's readiness, for calls within `try_io`.
struct RawSocket<'a>(BorrowedFd<'a>);

impl io::Read for RawSocket<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        Ok(rustix::io::read(self.0, into)?)
    }
}

impl io::Write for RawSocket<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(rustix::net::send(self.0, bytes, SendFlags::NOSIGNAL)?)
    }

    fn write_vectored(&mut self, runs: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut none = rustix::net::SendAncillaryBuffer::default();
        Ok(rustix::net::sendmsg(self.0, runs, &mut none, SendFlags::NOSIGNAL)?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
