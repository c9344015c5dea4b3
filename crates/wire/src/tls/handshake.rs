//! The handshake: from a new connection to one that is within TLS, or to its end.

use std::future::poll_fn;
use std::io;

use rustix::io::Errno;
use rustix::net::RecvFlags;

use super::{ACME_TLS, Session, Tls};
use crate::connection::Connection;
use crate::options::Options;

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
    pub(crate) async fn accept(&self, connection: &mut Connection, options: &Options) -> Protocol {
        // Not the connection's own deadline: bytes buy no time here.
        let shaken = match tokio::time::timeout(self.handshake_timeout, self.shake(connection)).await {
            Ok(shaken) => shaken,
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        };
        connection.timer().set(options.keep_alive_timeout);
        shaken.unwrap_or_else(|error| {
            tracing::debug!(client = %connection.peer, %error, "no TLS connection came about");
            Protocol::None
        })
    }

    async fn shake(&self, connection: &mut Connection) -> io::Result<Protocol> {
        // A client that says nothing takes no place from others, and no memory.
        poll_fn(|cx| connection.stream().poll_read_ready(cx)).await?;
        if speaks_http(connection)? {
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

/// Whether a connection that has just begun does so with a letter: a method's, where a handshake has the number 22.
fn speaks_http(connection: &Connection) -> io::Result<bool> {
    let mut first = [0];
    let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
    match rustix::net::recv(connection.stream(), &mut first[..], flags) {
        Ok(_) => Ok(first[0].is_ascii_uppercase()),
        Err(Errno::WOULDBLOCK) => Ok(false),
        Err(error) => Err(error.into()),
    }
}
