//! The threads that serve connections.

use std::io;
use std::net::{SocketAddr, TcpStream as StdStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, mpsc, watch};

use super::accept::AcceptedSocket;
use super::handle::ServerPhase;
use super::opening;
use crate::connection::Connection;
use crate::connection::permit::{ConnectionPermit, ThreadLoad};
use crate::context::ThreadContext;
use crate::service::HttpService;
use crate::tls::Tls;

/// Maximum number of threads on which each serving thread may block: for files that are not in the
/// page cache, and for services.
///
/// Bound: local files.
const BLOCKING_THREADS: usize = 32;

/// Niceness of these threads: a third of a serving thread's share of a core that both want.
const BLOCKING_NICE: i32 = 5;

/// A thread that serves connections, as the accepting thread sees it.
#[derive(Default)]
pub(super) struct ServingThread {
    /// `None` for the accepting thread itself.
    sender: Option<mpsc::UnboundedSender<NewConnection>>,
    load: Arc<AtomicUsize>,
}

/// A connection on its way to its thread.
pub(super) struct NewConnection {
    stream: StdStream,
    peer: SocketAddr,
    tls: Option<Arc<Tls>>,
    permit: OwnedSemaphorePermit,
    load: ThreadLoad,
}

impl ServingThread {
    /// A thread of its own, and what it receives.
    pub(super) fn channel() -> (ServingThread, mpsc::UnboundedReceiver<NewConnection>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (ServingThread { sender: Some(sender), load: Arc::default() }, receiver)
    }
}

pub(super) fn runtime() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS)
        .on_thread_start(lower_priority)
        .build()
}

/// Called on threads that may block: each of them works for one client that waits for a disk
/// anyway, while the serving thread works for all the others.
fn lower_priority() {
    let this = rustix::thread::gettid();
    // Not being allowed to does no harm (getpriority(2): on Linux it concerns one thread).
    let _ = rustix::process::setpriority_process(Some(this), BLOCKING_NICE);
}

/// Gives a new connection to the worker that has the fewest.
pub(super) fn hand_over<S: HttpService>(
    context: &Arc<ThreadContext<S>>,
    workers: &[ServingThread],
    accepted: AcceptedSocket,
    permit: OwnedSemaphorePermit,
) {
    let least = workers.iter().min_by_key(|worker| worker.load.load(Ordering::Relaxed));
    let Some(worker) = least else { return };
    let load = ThreadLoad::new(&worker.load);
    match &worker.sender {
        None => spawn(context, accepted, permit, Some(load)),
        Some(sender) => {
            let AcceptedSocket { stream, peer, tls } = accepted;
            if let Ok(stream) = stream.into_std() {
                // Fails only when that thread has ended, and the server with it.
                let _ = sender.send(NewConnection { stream, peer, tls, permit, load });
            }
        }
    }
}

/// Serves the connections that the accepting thread hands over, until the server has ended.
pub(super) async fn serve_handed_over<S: HttpService>(
    context: &Arc<ThreadContext<S>>,
    mut receiver: mpsc::UnboundedReceiver<NewConnection>,
    mut phase: watch::Receiver<ServerPhase>,
) {
    loop {
        tokio::select! {
            Some(NewConnection { stream, peer, tls, permit, load }) = receiver.recv() => {
                if let Ok(stream) = TcpStream::from_std(stream) {
                    spawn(context, AcceptedSocket { stream, peer, tls }, permit, Some(load));
                }
            }
            changed = phase.changed() => {
                if changed.is_err() || *phase.borrow() == ServerPhase::Stopped {
                    return;
                }
                context.drain();
            }
        }
    }
}

/// Serves a connection on this thread.
pub(super) fn spawn<S: HttpService>(
    context: &Arc<ThreadContext<S>>,
    AcceptedSocket { stream, peer, tls }: AcceptedSocket,
    permit: OwnedSemaphorePermit,
    load: Option<ThreadLoad>,
) {
    context.counters.connections.inc();
    let permit = ConnectionPermit::new(permit, load, &context.counters);
    let connection = Connection::new(stream, peer, &context.options, permit);
    tokio::spawn(opening::serve(connection, tls, Arc::clone(context)));
}
