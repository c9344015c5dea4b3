//! The reading side of a connection, whether or not there is TLS.

use std::io;
use std::task::{Context, Poll};

use tokio::io::ReadBuf;
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedReadHalf;

use super::TlsSession;

/// The reading side of a connection, in the clear or within TLS.
pub(crate) struct TransportReader {
    half: OwnedReadHalf,
    session: Option<TlsSession>,
}

impl TransportReader {
    pub(crate) fn new(half: OwnedReadHalf) -> TransportReader {
        TransportReader { half, session: None }
    }

    /// From here on, what is read is within TLS.
    pub(crate) fn secure(&mut self, session: TlsSession) {
        self.session = Some(session);
    }

    pub(crate) fn stream(&self) -> &TcpStream {
        self.half.as_ref()
    }

    pub(crate) fn session(&self) -> Option<&TlsSession> {
        self.session.as_ref()
    }

    pub(crate) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        space: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &self.session {
            None => tokio::io::AsyncRead::poll_read(std::pin::Pin::new(&mut self.half), cx, space),
            Some(session) => session.poll_read(cx, self.half.as_ref(), space),
        }
    }

    pub(crate) fn into_half(self) -> OwnedReadHalf {
        self.half
    }
}
