//! The handshake: from a new connection to one within TLS, or to its end.

use std::future::poll_fn;
use std::io;

use rustix::net::RecvFlags;
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::sync::watch;

use super::config::{ACME_TLS, Tls};
use super::negotiated::NegotiatedProtocol;
use super::session::TlsSession;

impl Tls {
    /// Negotiates TLS on a new connection, within the handshake timeout. A server that is `ending`
    /// does not wait for a client that sends nothing.
    ///
    /// # Errors
    /// Whatever ended the handshake.
    pub(crate) async fn accept(
        &self,
        stream: &TcpStream,
        ending: watch::Receiver<bool>,
    ) -> io::Result<NegotiatedProtocol> {
        match tokio::time::timeout(self.handshake_timeout, self.negotiate(stream, ending)).await {
            Ok(negotiated) => negotiated,
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        }
    }

    async fn negotiate(
        &self,
        stream: &TcpStream,
        mut ending: watch::Receiver<bool>,
    ) -> io::Result<NegotiatedProtocol> {
        // A client that sends nothing takes no permit from others, and no memory.
        let first = tokio::select! {
            biased;
            first = first_byte(stream) => first?,
            _ = ending.wait_for(|ending| *ending) => return Ok(NegotiatedProtocol::None),
        };
        // A letter begins a method, where a handshake has the number 22.
        if first.is_ascii_uppercase() {
            return Ok(NegotiatedProtocol::Clear);
        }
        // The semaphore is never closed.
        let _permit = self.handshakes.acquire().await.map_err(io::Error::other)?;
        let session = TlsSession::new(self).map_err(io::Error::other)?;
        loop {
            poll_fn(|cx| session.poll_write_out(cx, stream, &mut 0)).await?;
            if !session.is_handshaking() {
                break;
            }
            if poll_fn(|cx| session.poll_records(cx, stream)).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(match session.begin().as_deref() {
            Some(b"h2") => NegotiatedProtocol::Http2(session),
            Some(ACME_TLS) => NegotiatedProtocol::None,
            _ => NegotiatedProtocol::Http1(session),
        })
    }
}

/// Waits for the first byte, and leaves it in the socket.
async fn first_byte(stream: &TcpStream) -> io::Result<u8> {
    let mut first = [0];
    let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
    loop {
        poll_fn(|cx| stream.poll_read_ready(cx)).await?;
        // A new socket reports readable once before it is.
        let peek = || Ok(rustix::net::recv(stream, &mut first[..], flags)?);
        match stream.try_io(Interest::READABLE, peek) {
            Ok((_, 0)) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) => return Ok(first[0]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
