//! An engine without TLS: there is no value of these types, so the code for them is not there.

use std::io::{self, IoSlice};
use std::os::fd::BorrowedFd;
use std::task::{Context, Poll};

use tokio::io::ReadBuf;
use tokio::net::TcpStream;
use tokio::sync::watch;

use super::negotiated::{NegotiatedProtocol, Secure};

/// TLS of a listening socket.
pub(crate) enum Tls {}

/// One TLS connection.
#[derive(Clone)]
pub(crate) enum TlsSession {}

impl Tls {
    pub(crate) async fn accept(
        &self,
        _: &TcpStream,
        _: watch::Receiver<bool>,
    ) -> io::Result<NegotiatedProtocol> {
        match *self {}
    }
}

impl TlsSession {
    pub(crate) fn secure(&self) -> Secure {
        match *self {}
    }

    pub(crate) fn has_plaintext(&self) -> bool {
        match *self {}
    }

    pub(crate) fn poll_read(
        &self,
        _: &mut Context<'_>,
        _: &TcpStream,
        _: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match *self {}
    }

    pub(crate) fn seal(&self, _: &[IoSlice<'_>]) -> io::Result<usize> {
        match *self {}
    }

    pub(crate) fn wants_write(&self) -> bool {
        match *self {}
    }

    pub(crate) fn write_out(&self, _: BorrowedFd<'_>) -> io::Result<usize> {
        match *self {}
    }

    pub(crate) fn poll_write_out(
        &self,
        _: &mut Context<'_>,
        _: &TcpStream,
        _: &mut u64,
    ) -> Poll<io::Result<()>> {
        match *self {}
    }

    pub(crate) fn close(&self) {
        match *self {}
    }
}
