//! Standard input and output as a tunnel's far end.

use std::fs::File;
use std::future::Future;
use std::io;
use std::os::fd::AsFd as _;
use std::pin::Pin;
use std::task::{Context, Poll};

use outflow_tunnel::carry::{Joined, Side};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Takes both over: standard output ends when the far end does, not only with the process, or whoever reads it would
/// wait for us while we wait for them.
pub(super) fn take() -> io::Result<Joined<tokio::fs::File, tokio::fs::File>> {
    let input = io::stdin().as_fd().try_clone_to_owned()?;
    let output = io::stdout().as_fd().try_clone_to_owned()?;
    let nothing = File::options().write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdout(&nothing)?;
    let file = |descriptor| tokio::fs::File::from_std(File::from(descriptor));
    Ok(Joined::of(file(input), file(output)))
}

/// A side that breaks when `signal` is ready: the other end learns that it has not got all, at once, and does not wait
/// for us to come back.
pub(super) struct Until<S, T> {
    side: S,
    signal: Pin<Box<T>>,
    over: bool,
}

impl<S, T: Future<Output = ()>> Until<S, T> {
    pub(super) fn new(side: S, signal: T) -> Until<S, T> {
        Until { side, signal: Box::pin(signal), over: false }
    }

    fn check(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        self.over = self.over || self.signal.as_mut().poll(cx).is_ready();
        if self.over { Err(io::Error::new(io::ErrorKind::ConnectionAborted, "stopped")) } else { Ok(()) }
    }
}

impl<S: Side, T: Future<Output = ()>> Side for Until<S, T> {
    fn reset(&mut self) {
        self.side.reset();
    }
}

impl<S: Side, T: Future<Output = ()>> AsyncRead for Until<S, T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        room: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check(cx)?;
        Pin::new(&mut self.side).poll_read(cx, room)
    }
}

impl<S: Side, T: Future<Output = ()>> AsyncWrite for Until<S, T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.check(cx)?;
        Pin::new(&mut self.side).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.side).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.side).poll_shutdown(cx)
    }
}
