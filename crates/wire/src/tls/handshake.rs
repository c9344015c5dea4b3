//! The handshake: from a new connection to one that is within TLS, or to its end.

use std::future::poll_fn;
use std::io;

use rustix::net::RecvFlags;
use tokio::io::Interest;
use tokio::sync::watch;

use super::{ACME_TLS, Session, Tls};
use crate::connection::Connection;
use crate::listen::Shared;

/// What is spoken within TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Http1,
    Http2,
    /// HTTP without TLS, by mistake.
    Clear,
    /// Nothing: the connection is over.
    None,
}

impl Tls {
    /// Shakes hands. What fails is logged, for whoever looks for it: on the open net, most of it is noise.
    pub(crate) async fn accept<S>(&self, connection: &mut Connection, shared: &Shared<S>) -> Protocol {
        // Not the connection's own deadline: bytes buy no time here.
        let shaking = self.shake(connection, shared.ending.subscribe());
        let shaken = match tokio::time::timeout(self.handshake_timeout, shaking).await {
            Ok(shaken) => shaken,
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        };
        connection.timer().set(shared.options.keep_alive_timeout);
        shaken.unwrap_or_else(|error| {
            tracing::debug!(client = %connection.peer, %error, "no TLS connection came about");
            Protocol::None
        })
    }

    async fn shake(
        &self,
        connection: &mut Connection,
        mut ending: watch::Receiver<bool>,
    ) -> io::Result<Protocol> {
        // A client that says nothing takes no place from others, and no memory; a server that drains does not wait
        // for it.
        let first = tokio::select! {
            biased;
            said = first_byte(connection) => said?,
            _ = ending.wait_for(|ending| *ending) => return Ok(Protocol::None),
        };
        // A letter: a method's, where a handshake has the number 22.
        if first.is_ascii_uppercase() {
            return Ok(Protocol::Clear);
        }
        // The semaphore is never closed.
        let _place = self.handshakes.acquire().await.map_err(io::Error::other)?;
        let session = Session::new(self).map_err(io::Error::other)?;
        connection.secure(session.clone());
        loop {
            connection.flush_sealed(&session).await?;
            if !session.is_handshaking() {
                break;
            }
            if poll_fn(|cx| session.poll_records(cx, connection.stream())).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(match session.begin().as_deref() {
            Some(b"h2") => Protocol::Http2,
            Some(ACME_TLS) => Protocol::None,
            _ => Protocol::Http1,
        })
    }
}

/// Waits for the first byte, and leaves it where it is.
async fn first_byte(connection: &Connection) -> io::Result<u8> {
    let (stream, mut first) = (connection.stream(), [0]);
    let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
    loop {
        poll_fn(|cx| stream.poll_read_ready(cx)).await?;
        // A new socket looks readable once before it is.
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
