//! The end of a connection: in order, or by a reset.

use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll};
use std::time::Duration;

use outflow_content::AbortReason;
use tokio::io::ReadBuf;

use super::Connection;
use crate::delivery::{abort_all, disconnected};
use crate::options::ServerOptions;

/// How long a connection reads and discards what a client still sends behind a last answer.
///
/// Bound: connections.
const LINGER_TIME: Duration = Duration::from_secs(2);

/// Maximum number of bytes read and discarded behind a last answer.
///
/// Bound: connections.
const LINGER_BYTES: usize = 4 * 1024 * 1024;

/// Where a connection stands when it is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ClosingState {
    /// Right behind an answer, while the client may still be sending.
    AfterAnswer,
    /// Between requests.
    Idle,
    /// The client has ended its side.
    ClientEnded,
}

/// What happens next on a connection that lingers.
enum LingerEvent {
    /// This many bytes were read and discarded; 0 is the end.
    Read(io::Result<usize>),
    /// It is time to check for acknowledgements.
    CheckAcks,
    TimeOut,
}

impl Connection {
    /// Ends the connection so that the client sees an error, whatever it has received so far: the
    /// kernel throws away what is queued and sends an RST. So a body that was cut can never pass
    /// for a complete one.
    ///
    /// Disconnecting does that at once (connect(2), `AF_UNSPEC`), whoever else still holds a part
    /// of the connection, such as a request's body. Pending deliveries end for `reason`.
    pub(crate) fn reset(&mut self, reason: &AbortReason) {
        let pending = self.take_measured();
        if let Err(error) = rustix::net::connect_unspec(self.stream()) {
            tracing::debug!(client = %self.peer, %error, "cannot reset the connection");
        }
        abort_all(pending, reason);
    }

    /// Ends the connection in an orderly way although the client may still be sending: half-closes,
    /// then reads and discards for a while. Closing at once would make the kernel send RST, which
    /// can destroy the answer on its way (RFC 9112 section 9.6). Pending deliveries are waited for.
    pub(crate) async fn finish(&mut self, options: &ServerOptions, state: ClosingState) {
        if let Some(session) = self.session.clone() {
            session.close();
            self.timer.set(options.stall_timeout);
            if let Err(error) = self.flush_sealed(&session).await {
                self.abort_pending(&disconnected(&error));
                return;
            }
        }
        if state != ClosingState::AfterAnswer && !self.has_pending() {
            return;
        }
        let Some(write) = &mut self.write else { return };
        if let Err(error) = tokio::io::AsyncWriteExt::shutdown(write).await {
            self.abort_pending(&disconnected(&error));
            return;
        }
        self.wrote(1);
        self.timer.set(LINGER_TIME);
        let (mut reads, mut discarded) = (state != ClosingState::ClientEnded && self.read.is_some(), 0);
        loop {
            if !reads {
                self.complete_acked();
            }
            if !self.has_pending() && (!reads || state != ClosingState::AfterAnswer) {
                return;
            }
            match poll_fn(|cx| self.poll_linger(cx, reads)).await {
                LingerEvent::Read(Ok(0)) => {
                    reads = false;
                    self.on_client_fin(options);
                }
                LingerEvent::Read(Ok(n)) => {
                    discarded += n;
                    reads = discarded < LINGER_BYTES;
                }
                LingerEvent::Read(Err(error)) => return self.abort_pending(&disconnected(&error)),
                LingerEvent::CheckAcks => {
                    if let Err(reason) = self.check_socket_and_acks(options) {
                        return self.reset(&reason);
                    }
                }
                LingerEvent::TimeOut => return,
            }
        }
    }

    /// While deliveries are pending, their timer says how long; then the connection's deadline.
    fn poll_linger(&mut self, cx: &mut Context<'_>, reads: bool) -> Poll<LingerEvent> {
        let mut space = [0; 4096];
        let mut space = ReadBuf::new(&mut space);
        if let Some(read) = self.read.as_mut().filter(|_| reads)
            && let Poll::Ready(result) = read.poll_read(cx, &mut space)
        {
            return Poll::Ready(LingerEvent::Read(result.map(|()| space.filled().len())));
        }
        if self.has_pending() {
            return self.poll_ack_timer(cx, true).map(|()| LingerEvent::CheckAcks);
        }
        self.timer.poll_expired(cx).map(|()| LingerEvent::TimeOut)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if self.write.is_some() && self.has_pending() {
            let reason = self.drop_reason();
            self.abort_pending(&reason);
        }
    }
}
