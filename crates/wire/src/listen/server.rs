//! The server as its user sees it.
//!
//! [`Server::run`] gives each thread a runtime of its own. The first thread accepts and hands each
//! new connection to the thread that has the fewest, so that two large downloads never share a core
//! while another one sleeps; from then on a connection stays where it is. Measured against tokio's
//! work-stealing runtime and against SO_REUSEPORT: `bench/README.md`.

use std::io;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};

use super::accept::{ListenSocket, OpenListener, accept_next};
use super::handle::{ServerHandle, ServerPhase};
use super::worker::{ServingThread, hand_over, runtime, serve_handed_over, spawn};
use crate::context::ThreadContext;
use crate::counters::ServerCounters;
use crate::erased::ErasedService;
use crate::options::ServerOptions;
use crate::service::HttpService;

/// Serves `service` on `listener`, on the runtime that it is called from, until accepting fails for
/// good.
///
/// The counterpart of `axum::serve`: one changed line puts an axum app on this engine.
///
/// # Errors
/// Those of the listener's descriptor itself. A connection that cannot be accepted is not an error.
pub async fn serve<S: HttpService>(listener: TcpListener, service: S) -> io::Result<()> {
    let options = ServerOptions::default();
    let permits = Arc::new(Semaphore::new(options.max_connections));
    let counters = options.metrics.set();
    let context = ThreadContext::new(service, options, counters);
    let listeners = [OpenListener::of(listener, None)];
    let accepting = async {
        loop {
            let (accepted, permit) = accept_next(&listeners, &permits, &context.counters).await;
            spawn(&context, accepted, permit, None);
        }
    };
    tokio::join!(accepting, context.keep_time());
    Ok(())
}

/// A server with its options, before it runs.
pub struct Server {
    options: ServerOptions,
    counters: Arc<ServerCounters>,
    phase: watch::Sender<ServerPhase>,
}

impl Server {
    /// A server that does not run yet.
    #[must_use]
    pub fn new(options: ServerOptions) -> Server {
        Server { counters: options.metrics.set(), options, phase: watch::Sender::new(ServerPhase::Running) }
    }

    /// The running totals.
    #[must_use]
    pub fn counters(&self) -> Arc<ServerCounters> {
        Arc::clone(&self.counters)
    }

    /// Drains and stops the server from any thread.
    #[must_use]
    pub fn handle(&self) -> ServerHandle {
        ServerHandle { phase: self.phase.clone() }
    }

    /// [`Server::run`], for a service that need not be as fast as can be. Programs with several
    /// services compile the engine once for all of them; each request takes an allocation, and
    /// [`HttpService::prebuilt`] is not called.
    ///
    /// # Errors
    /// Those of [`Server::run`].
    pub fn run_erased(
        self,
        listeners: impl IntoIterator<Item: Into<ListenSocket>>,
        threads: usize,
        service: impl HttpService,
    ) -> io::Result<()> {
        self.run_any(listeners.into_iter().map(Into::into).collect(), threads, ErasedService::new(service))
    }

    /// Not generic: the engine is compiled here.
    fn run_any(self, listeners: Vec<ListenSocket>, threads: usize, service: ErasedService) -> io::Result<()> {
        self.run(listeners, threads, service)
    }

    /// Serves until a [`ServerHandle`] ends it; blocks. Uses `threads` threads (at least one).
    ///
    /// # Errors
    /// When a thread or its runtime cannot be made, or a listening socket cannot be used.
    pub fn run<S: HttpService>(
        self,
        listeners: impl IntoIterator<Item: Into<ListenSocket>>,
        threads: usize,
        service: S,
    ) -> io::Result<()> {
        let listeners: Vec<ListenSocket> = listeners.into_iter().map(Into::into).collect();
        let limit = self.options.max_connections.clamp(1, u32::MAX as usize);
        let permits = Arc::new(Semaphore::new(limit));
        let _limit = LimitShown::new(&self.counters, limit);
        let context =
            || ThreadContext::new(service.clone(), self.options.clone(), Arc::clone(&self.counters));
        std::thread::scope(|scope| {
            let mut workers = vec![ServingThread::default()];
            for index in 1..threads.max(1) {
                let (worker, receiver) = ServingThread::channel();
                workers.push(worker);
                let (context, phase, runtime) = (context(), self.phase.subscribe(), runtime()?);
                let serve = move || {
                    runtime.block_on(async {
                        tokio::select! {
                            () = serve_handed_over(&context, receiver, phase) => {}
                            () = context.keep_time() => {}
                        }
                    });
                    runtime.shutdown_background();
                };
                std::thread::Builder::new().name(format!("outflow-{index}")).spawn_scoped(scope, serve)?;
            }
            let context = context();
            let runtime = runtime()?;
            let result = runtime.block_on(async {
                let listeners =
                    listeners.into_iter().map(OpenListener::open).collect::<io::Result<Vec<_>>>()?;
                tokio::select! {
                    () = accept_all(listeners, &context, &workers, &permits, self.phase.subscribe()) => {}
                    () = context.keep_time() => {}
                }
                io::Result::Ok(())
            });
            // However the accepting thread ended, the others end, too.
            self.phase.send_if_modified(|phase| {
                std::mem::replace(phase, ServerPhase::Stopped) != ServerPhase::Stopped
            });
            runtime.shutdown_background();
            result
        })
    }
}

/// The server's part in the limit that the metrics show, while it runs.
struct LimitShown<'a>(&'a ServerCounters, i64);

impl<'a> LimitShown<'a> {
    fn new(counters: &'a ServerCounters, limit: usize) -> LimitShown<'a> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        counters.limit.add(limit);
        LimitShown(counters, limit)
    }
}

impl Drop for LimitShown<'_> {
    fn drop(&mut self) {
        self.0.limit.add(-self.1);
    }
}

/// Accepts until the server drains, then waits for the connections that are left.
async fn accept_all<S: HttpService>(
    listeners: Vec<OpenListener>,
    context: &Arc<ThreadContext<S>>,
    workers: &[ServingThread],
    permits: &Arc<Semaphore>,
    mut phase: watch::Receiver<ServerPhase>,
) {
    loop {
        tokio::select! {
            biased;
            _ = phase.wait_for(|phase| *phase != ServerPhase::Running) => break,
            (accepted, permit) = accept_next(&listeners, permits, &context.counters) => {
                hand_over(context, workers, accepted, permit);
            }
        }
    }
    drop(listeners);
    context.drain();
    let limit = match *phase.borrow_and_update() {
        ServerPhase::Draining(limit) => limit,
        ServerPhase::Running | ServerPhase::Stopped => return,
    };
    let all = u32::try_from(context.options.max_connections.max(1)).unwrap_or(u32::MAX);
    tokio::select! {
        _ = permits.acquire_many(all) => {}
        () = tokio::time::sleep(limit) => {}
        _ = phase.wait_for(|phase| *phase == ServerPhase::Stopped) => {}
    }
}
