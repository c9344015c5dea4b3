//! Standard input and output as a tunnel's far end.

use std::fs::File;
use std::future::Future;
use std::io;
use std::os::fd::AsFd as _;
use std::pin::Pin;
use std::task::{Context, Poll};

use outflow_texts::console;
use outflow_tunnel::carry::{JoinedStream, TunnelStream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Takes both over. Standard output is closed when the far end is, not only when the process ends:
/// its reader may wait for the end while this process waits for the reader.
pub(super) fn take() -> io::Result<JoinedStream<tokio::fs::File, tokio::fs::File>> {
    let input = io::stdin().as_fd().try_clone_to_owned()?;
    let output = io::stdout().as_fd().try_clone_to_owned()?;
    let null = File::options().write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdout(&null)?;
    let file = |descriptor| tokio::fs::File::from_std(File::from(descriptor));
    Ok(JoinedStream::new(file(input), file(output)))
}

/// A side that breaks when `signal` is ready, so that the other end sees a reset and does not wait
/// for a resume.
pub(super) struct BreakOn<S, T> {
    side: S,
    signal: Pin<Box<T>>,
    is_broken: bool,
}

impl<S, T: Future<Output = ()>> BreakOn<S, T> {
    pub(super) fn new(side: S, signal: T) -> BreakOn<S, T> {
        BreakOn { side, signal: Box::pin(signal), is_broken: false }
    }

    fn check(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        self.is_broken = self.is_broken || self.signal.as_mut().poll(cx).is_ready();
        if self.is_broken {
            Err(io::Error::new(io::ErrorKind::ConnectionAborted, console!(tunnel_stopped)))
        } else {
            Ok(())
        }
    }
}

impl<S: TunnelStream, T: Future<Output = ()>> TunnelStream for BreakOn<S, T> {
    fn reset(&mut self) {
        self.side.reset();
    }
}

impl<S: TunnelStream, T: Future<Output = ()>> AsyncRead for BreakOn<S, T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check(cx)?;
        Pin::new(&mut self.side).poll_read(cx, buf)
    }
}

impl<S: TunnelStream, T: Future<Output = ()>> AsyncWrite for BreakOn<S, T> {
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
