//! Accepting connections, on one thread or on several, and ending in good order.
//!
//! [`Server::run`] gives each thread a runtime of its own. The first thread accepts and hands each new
//! connection to the thread that has the fewest, so that two large downloads never share a core while
//! another one sleeps; from then on a connection stays where it is. Measured against tokio's
//! work-stealing runtime and against SO_REUSEPORT: `bench/README.md`.

pub(crate) mod proxy;

use std::future::poll_fn;
use std::io;
use std::net::{SocketAddr, TcpListener as StdListener, TcpStream as StdStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;

use rustix::net::sockopt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc, watch};

use crate::connection::Connection;
use crate::counters::Counters;
use crate::http1::exchange;
use crate::options::Options;
use crate::service::HttpService;
use crate::tls::Tls;

/// Threads on which each runtime may block: for files that are not in the page cache, and for services.
const BLOCKING_THREADS: usize = 32;

/// Niceness of these threads: a third of a serving thread's share of a core that both want.
const BLOCKING_NICE: i32 = 5;

/// How often a connection that was busy lately looks whether it has fallen idle.
const TICK: Duration = Duration::from_millis(500);

/// Bounds of the time between two looks at the connections that rest.
const MIN_SWEEP: Duration = Duration::from_millis(10);
const MAX_SWEEP: Duration = Duration::from_secs(5);

/// How long the accepting thread rests when the system has no descriptor or memory for a connection.
const ACCEPT_REST: Duration = Duration::from_millis(50);

/// What all connections of one runtime have in common.
pub(crate) struct Shared<S> {
    pub(crate) service: S,
    pub(crate) options: Options,
    pub(crate) counters: Arc<Counters>,
    /// Wakes resting connections, so that each looks whether it has rested too long: a few times within
    /// the keep-alive timeout, and when the server drains. Cheaper than a timer for each.
    pub(crate) swept: Notify,
    /// Wakes connections that were busy lately, once a [`TICK`] and when the server drains.
    pub(crate) ticked: Notify,
    draining: AtomicBool,
    /// The same, for connections that services have taken over.
    pub(crate) ending: watch::Sender<bool>,
}

impl<S> Shared<S> {
    fn new(service: S, options: Options, counters: Arc<Counters>) -> Arc<Shared<S>> {
        Arc::new(Shared {
            service,
            options,
            counters,
            swept: Notify::new(),
            ticked: Notify::new(),
            draining: AtomicBool::new(false),
            ending: watch::Sender::new(false),
        })
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    /// Wakes what waits for the clock, for ever.
    async fn keep_time(&self) {
        let between_sweeps = (self.options.keep_alive_timeout / 16).clamp(MIN_SWEEP, MAX_SWEEP);
        let (mut tick, mut sweep) = (tokio::time::interval(TICK), tokio::time::interval(between_sweeps));
        loop {
            tokio::select! {
                _ = tick.tick() => self.ticked.notify_waiters(),
                _ = sweep.tick() => self.swept.notify_waiters(),
            }
        }
    }

    fn drain(&self) {
        self.draining.store(true, Ordering::Release);
        self.ending.send_replace(true);
        self.swept.notify_waiters();
        self.ticked.notify_waiters();
    }
}

/// Serves `service` on `listener`, on the runtime that it is called from, until accepting fails for good.
///
/// The counterpart of `axum::serve`: one changed line puts an axum app on this engine.
///
/// # Errors
/// Those of the listener's descriptor itself. A connection that cannot be accepted is not an error.
pub async fn serve<S: HttpService>(listener: TcpListener, service: S) -> io::Result<()> {
    let options = Options::default();
    let permits = Arc::new(Semaphore::new(options.max_connections));
    let shared = Shared::new(service, options, Arc::default());
    set_nodelay(&listener);
    let doors = [Door { listener, tls: None }];
    let accepting = async {
        loop {
            let (arrival, permit) = next(&doors, &permits).await;
            spawn(&shared, arrival, permit, None);
        }
    };
    tokio::join!(accepting, shared.keep_time());
    Ok(())
}

/// A listening socket, and what is spoken on it.
pub struct Listener {
    socket: StdListener,
    tls: Option<Arc<Tls>>,
}

impl Listener {
    /// HTTP within TLS.
    #[must_use]
    pub fn with_tls(socket: StdListener, tls: Arc<Tls>) -> Listener {
        Listener { socket, tls: Some(tls) }
    }
}

/// HTTP in the clear.
impl From<StdListener> for Listener {
    fn from(socket: StdListener) -> Listener {
        Listener { socket, tls: None }
    }
}

/// A server with its options, before it runs.
pub struct Server {
    options: Options,
    counters: Arc<Counters>,
    phase: watch::Sender<Phase>,
}

/// Controls a running [`Server`] from any thread.
#[derive(Clone)]
pub struct Handle {
    phase: watch::Sender<Phase>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Running,
    Draining(Duration),
    Stopped,
}

impl Handle {
    /// Accepts no more connections, closes idle ones, lets responses under way finish for up to `limit`,
    /// then stops.
    pub fn drain(&self, limit: Duration) {
        self.phase.send_if_modified(|phase| {
            let running = *phase == Phase::Running;
            if running {
                *phase = Phase::Draining(limit);
            }
            running
        });
    }

    /// Closes all connections now.
    pub fn stop(&self) {
        self.phase.send_replace(Phase::Stopped);
    }
}

impl Server {
    /// A server that is not running yet.
    #[must_use]
    pub fn new(options: Options) -> Server {
        Server { options, counters: Arc::default(), phase: watch::Sender::new(Phase::Running) }
    }

    /// The running totals.
    #[must_use]
    pub fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.counters)
    }

    /// The way to end it.
    #[must_use]
    pub fn handle(&self) -> Handle {
        Handle { phase: self.phase.clone() }
    }

    /// Serves until it is told to end by a [`Handle`]; blocks. Uses `threads` threads (at least one).
    ///
    /// # Errors
    /// When a thread or its runtime cannot be made, or a listener's descriptor is of no use.
    pub fn run<S: HttpService>(
        self,
        listeners: impl IntoIterator<Item: Into<Listener>>,
        threads: usize,
        service: S,
    ) -> io::Result<()> {
        let listeners: Vec<Listener> = listeners.into_iter().map(Into::into).collect();
        let permits = Arc::new(Semaphore::new(self.options.max_connections.clamp(1, u32::MAX as usize)));
        std::thread::scope(|scope| {
            let mut lanes = vec![Lane::default()];
            for index in 1..threads.max(1) {
                let (sender, receiver) = mpsc::unbounded_channel();
                let lane = Lane { sender: Some(sender), load: Arc::default() };
                let shared = Shared::new(service.clone(), self.options.clone(), Arc::clone(&self.counters));
                let phase = self.phase.subscribe();
                lanes.push(lane);
                let runtime = runtime()?;
                std::thread::Builder::new().name(format!("outflow-{index}")).spawn_scoped(
                    scope,
                    move || {
                        runtime.block_on(async {
                            tokio::select! {
                                () = serve_lane(&shared, receiver, phase) => {}
                                () = shared.keep_time() => {}
                            }
                        });
                        runtime.shutdown_background();
                    },
                )?;
            }
            let shared = Shared::new(service.clone(), self.options.clone(), Arc::clone(&self.counters));
            let runtime = runtime()?;
            let result = runtime.block_on(async {
                let doors = listeners.into_iter().map(Door::open).collect::<io::Result<Vec<Door>>>()?;
                tokio::select! {
                    () = accept_all(doors, &shared, &lanes, &permits, self.phase.subscribe()) => {}
                    () = shared.keep_time() => {}
                }
                io::Result::Ok(())
            });
            // Whatever ended the accepting thread ends the others, too.
            self.phase.send_if_modified(|phase| std::mem::replace(phase, Phase::Stopped) != Phase::Stopped);
            runtime.shutdown_background();
            result
        })
    }
}

/// A thread that serves connections, and how many it has.
#[derive(Default)]
struct Lane {
    /// `None` for the accepting thread itself.
    sender: Option<mpsc::UnboundedSender<Accepted>>,
    load: Arc<AtomicUsize>,
}

struct Accepted {
    stream: StdStream,
    peer: SocketAddr,
    tls: Option<Arc<Tls>>,
    permit: OwnedSemaphorePermit,
    load: Load,
}

/// One connection's place among those that the server may have (`Options::max_connections`): free again when this
/// is dropped. It goes with the connection, also when somebody else takes that over.
#[must_use = "the connection does not count any more when this is dropped"]
pub struct Counted {
    _permit: OwnedSemaphorePermit,
    _load: Option<Load>,
}

/// One connection in its thread's count.
struct Load(Arc<AtomicUsize>);

impl Load {
    fn new(count: &Arc<AtomicUsize>) -> Load {
        count.fetch_add(1, Ordering::Relaxed);
        Load(Arc::clone(count))
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn runtime() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS)
        .on_thread_start(give_way)
        .build()
}

/// Called on threads that may block: whoever serves goes first. Each of them works for one client that
/// waits for a disk anyway; the serving thread works for all the others.
fn give_way() {
    let this = rustix::thread::gettid();
    // Not being allowed to is no harm (getpriority(2): on Linux it concerns one thread).
    let _ = rustix::process::setpriority_process(Some(this), BLOCKING_NICE);
}

/// Accepts until the server drains, then waits for the connections that are left.
async fn accept_all<S: HttpService>(
    doors: Vec<Door>,
    shared: &Arc<Shared<S>>,
    lanes: &[Lane],
    permits: &Arc<Semaphore>,
    mut phase: watch::Receiver<Phase>,
) {
    loop {
        tokio::select! {
            biased;
            _ = phase.wait_for(|phase| *phase != Phase::Running) => break,
            (arrival, permit) = next(&doors, permits) => hand_over(shared, lanes, arrival, permit),
        }
    }
    drop(doors);
    shared.drain();
    let limit = match *phase.borrow_and_update() {
        Phase::Draining(limit) => limit,
        Phase::Running | Phase::Stopped => return,
    };
    let all = u32::try_from(shared.options.max_connections.max(1)).unwrap_or(u32::MAX);
    tokio::select! {
        _ = permits.acquire_many(all) => {}
        () = tokio::time::sleep(limit) => {}
        _ = phase.wait_for(|phase| *phase == Phase::Stopped) => {}
    }
}

/// Gives a new connection to the thread that has the fewest.
fn hand_over<S: HttpService>(
    shared: &Arc<Shared<S>>,
    lanes: &[Lane],
    arrival: Arrival,
    permit: OwnedSemaphorePermit,
) {
    let Some(lane) = lanes.iter().min_by_key(|lane| lane.load.load(Ordering::Relaxed)) else { return };
    let load = Load::new(&lane.load);
    match &lane.sender {
        None => spawn(shared, arrival, permit, Some(load)),
        Some(sender) => {
            let Arrival { stream, peer, tls } = arrival;
            if let Ok(stream) = stream.into_std() {
                // Fails only when that thread has ended, and the server with it.
                let _ = sender.send(Accepted { stream, peer, tls, permit, load });
            }
        }
    }
}

/// Serves what the accepting thread hands over, until the server has ended.
async fn serve_lane<S: HttpService>(
    shared: &Arc<Shared<S>>,
    mut receiver: mpsc::UnboundedReceiver<Accepted>,
    mut phase: watch::Receiver<Phase>,
) {
    loop {
        tokio::select! {
            Some(Accepted { stream, peer, tls, permit, load }) = receiver.recv() => {
                if let Ok(stream) = TcpStream::from_std(stream) {
                    spawn(shared, Arrival { stream, peer, tls }, permit, Some(load));
                }
            }
            changed = phase.changed() => {
                if changed.is_err() || *phase.borrow() == Phase::Stopped {
                    return;
                }
                shared.drain();
            }
        }
    }
}

fn spawn<S: HttpService>(
    shared: &Arc<Shared<S>>,
    Arrival { stream, peer, tls }: Arrival,
    permit: OwnedSemaphorePermit,
    load: Option<Load>,
) {
    shared.counters.add_connection();
    let connection = Connection::new(stream, peer, &shared.options, Counted { _permit: permit, _load: load });
    tokio::spawn(exchange::serve(connection, tls, Arc::clone(shared)));
}

/// A listening socket that is being accepted from.
struct Door {
    listener: TcpListener,
    tls: Option<Arc<Tls>>,
}

/// A connection that has just been accepted.
struct Arrival {
    stream: TcpStream,
    peer: SocketAddr,
    tls: Option<Arc<Tls>>,
}

impl Door {
    fn open(Listener { socket, tls }: Listener) -> io::Result<Door> {
        socket.set_nonblocking(true)?;
        let listener = TcpListener::from_std(socket)?;
        set_nodelay(&listener);
        Ok(Door { listener, tls })
    }
}

/// A permit, and then a connection to use it for. May be dropped at any time: neither is lost.
async fn next(doors: &[Door], permits: &Arc<Semaphore>) -> (Arrival, OwnedSemaphorePermit) {
    // The semaphore is never closed.
    let Ok(permit) = Arc::clone(permits).acquire_owned().await else { std::future::pending().await };
    (accept(doors).await, permit)
}

/// The next connection. What keeps one from being accepted is logged and waited out.
async fn accept(doors: &[Door]) -> Arrival {
    static TURN: AtomicUsize = AtomicUsize::new(0);
    loop {
        let accepted = poll_fn(|cx| {
            // Each time another one comes first, so that a busy one starves nobody.
            let first = TURN.fetch_add(1, Ordering::Relaxed);
            for at in 0..doors.len() {
                let door = &doors[first.wrapping_add(at) % doors.len()];
                if let Poll::Ready(result) = door.listener.poll_accept(cx) {
                    return Poll::Ready(result.map(|(stream, peer)| Arrival {
                        stream,
                        peer,
                        tls: door.tls.clone(),
                    }));
                }
            }
            Poll::Pending
        });
        match accepted.await {
            Ok(arrival) => return arrival,
            // The client was gone before it was accepted (accept(2)).
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset
                ) => {}
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection; trying again");
                tokio::time::sleep(ACCEPT_REST).await;
            }
        }
    }
}

/// Accepted sockets inherit it (tcp(7)). Packets are held back by `MSG_MORE` where that is wanted.
fn set_nodelay(listener: &TcpListener) {
    if let Err(error) = sockopt::set_tcp_nodelay(listener, true) {
        tracing::debug!(%error, "TCP_NODELAY could not be set");
    }
}
