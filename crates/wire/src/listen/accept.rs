//! The listening sockets.

use std::future::poll_fn;
use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;

use rustix::net::sockopt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::counters::ServerCounters;
use crate::tls::Tls;

/// How long the accepting thread waits when the system has no descriptor or memory for a
/// connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A socket to listen on, with or without TLS.
pub struct ListenSocket {
    socket: StdListener,
    tls: Option<Arc<Tls>>,
}

impl ListenSocket {
    /// HTTP within TLS.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn with_tls(socket: StdListener, tls: Arc<Tls>) -> ListenSocket {
        ListenSocket { socket, tls: Some(tls) }
    }
}

/// HTTP in the clear.
impl From<StdListener> for ListenSocket {
    fn from(socket: StdListener) -> ListenSocket {
        ListenSocket { socket, tls: None }
    }
}

/// A listening socket on the accepting thread's runtime.
pub(super) struct OpenListener {
    listener: TcpListener,
    tls: Option<Arc<Tls>>,
}

/// A connection that has just been accepted.
pub(super) struct AcceptedSocket {
    pub(super) stream: TcpStream,
    pub(super) peer: SocketAddr,
    pub(super) tls: Option<Arc<Tls>>,
}

impl OpenListener {
    pub(super) fn open(ListenSocket { socket, tls }: ListenSocket) -> io::Result<OpenListener> {
        socket.set_nonblocking(true)?;
        Ok(OpenListener::of(TcpListener::from_std(socket)?, tls))
    }

    pub(super) fn of(listener: TcpListener, tls: Option<Arc<Tls>>) -> OpenListener {
        // Accepted sockets inherit it (tcp(7)). `MSG_MORE` holds packets back where that is wanted.
        if let Err(error) = sockopt::set_tcp_nodelay(&listener, true) {
            tracing::debug!(%error, "cannot set TCP_NODELAY");
        }
        OpenListener { listener, tls }
    }
}

/// A permit, and then a connection to use it for. May be dropped at any time: neither is lost.
pub(super) async fn accept_next(
    listeners: &[OpenListener],
    permits: &Arc<Semaphore>,
    counters: &ServerCounters,
) -> (AcceptedSocket, OwnedSemaphorePermit) {
    if permits.available_permits() == 0 {
        counters.limit_reached.inc();
    }
    // The semaphore is never closed.
    let Ok(permit) = Arc::clone(permits).acquire_owned().await else { std::future::pending().await };
    (accept(listeners, counters).await, permit)
}

/// The next connection. An error that keeps one from being accepted is logged and waited out.
async fn accept(listeners: &[OpenListener], counters: &ServerCounters) -> AcceptedSocket {
    static TURN: AtomicUsize = AtomicUsize::new(0);
    loop {
        let accepted = poll_fn(|cx| {
            // Another one comes first each time, so that a busy one starves none of the others.
            let first = TURN.fetch_add(1, Ordering::Relaxed);
            for at in 0..listeners.len() {
                let open = &listeners[first.wrapping_add(at) % listeners.len()];
                if let Poll::Ready(result) = open.listener.poll_accept(cx) {
                    return Poll::Ready(result.map(|(stream, peer)| AcceptedSocket {
                        stream,
                        peer,
                        tls: open.tls.clone(),
                    }));
                }
            }
            Poll::Pending
        });
        match accepted.await {
            Ok(accepted) => return accepted,
            // The client was gone before it was accepted (accept(2)).
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset
                ) => {}
            Err(error) => {
                counters.accept_failed.inc();
                tracing::warn!(%error, "cannot accept a connection; trying again");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}
