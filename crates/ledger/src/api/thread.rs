//! The ledger's thread. All calls of the database run on it, because callers come from many
//! runtimes; on SQLite, changes of deliveries are written on a second one.

use std::future::Future;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use tokio::runtime::{Builder, Handle};
use tokio::sync::{Notify, oneshot};

use crate::db::address::DatabaseAddress;
use crate::db::context::NodeContext;
use crate::db::database::Database;
use crate::db::id;
use crate::db::presence::Presence;
use crate::db::statement::Dialect;
use crate::model::{LedgerError, LedgerMetrics, LedgerOptions};
use crate::read::link_cache::LinkCache;
use crate::read::progress::ProgressHub;
use crate::upkeep::{Upkeep, UpkeepContext};
use crate::webhook::{self, DatabaseOutbox, EndpointWorkers};
use crate::write::queue::ChangeQueue;
use crate::write::writer::{CommitObserver, DatabaseHealth, LedgerWriter};

/// The parts of a ledger that callers use. When the last handle is dropped, the thread stops.
pub(super) struct LedgerParts {
    pub(super) runtime: Handle,
    pub(super) database: Arc<Database>,
    pub(super) queue: Arc<ChangeQueue>,
    pub(super) progress: Arc<ProgressHub>,
    pub(super) links: Arc<LinkCache>,
    pub(super) health: Arc<DatabaseHealth>,
    pub(super) context: Arc<NodeContext>,
    /// Notified when there are events to send.
    pub(super) new_sends: Arc<Notify>,
    stopping: Arc<Notify>,
    end: Arc<ThreadEnd>,
}

/// Whether the thread has ended.
#[derive(Default)]
struct ThreadEnd {
    ended: Mutex<bool>,
    changed: Condvar,
}

/// The tasks on the thread.
struct LedgerTasks {
    writer: LedgerWriter,
    upkeep: Upkeep,
    workers: Option<EndpointWorkers>,
}

/// Starts the thread and waits until the ledger is open.
pub(super) fn start(address: DatabaseAddress, options: LedgerOptions) -> Result<LedgerParts, LedgerError> {
    let (opened, wait) = sync_channel(1);
    let end = Arc::new(ThreadEnd::default());
    let thread_end = Arc::clone(&end);
    let thread = std::thread::Builder::new().name("ledger".into()).spawn(move || {
        run(address, options, &opened, &thread_end);
        *thread_end.ended.lock() = true;
        thread_end.changed.notify_all();
    });
    thread
        .map_err(|error| LedgerError::Database(format!("the ledger's thread cannot be started: {error}")))?;
    wait.recv().unwrap_or_else(|_| {
        Err(LedgerError::Database("the ledger's thread has ended while it opened the database".into()))
    })
}

impl LedgerParts {
    /// Runs `work` on the thread.
    pub(super) async fn run<T, F>(&self, work: impl FnOnce(Arc<Database>) -> F) -> Result<T, LedgerError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, LedgerError>> + Send + 'static,
    {
        let task = self.runtime.spawn(work(Arc::clone(&self.database)));
        task.await.unwrap_or_else(|_| Err(LedgerError::Database("the ledger has been shut down".into())))
    }

    /// Stops the thread as soon as the queue is written.
    pub(super) fn stop(&self) {
        self.queue.close();
        self.stopping.notify_one();
    }

    /// Waits for the end of the thread, at most for `limit`. Returns whether it has ended.
    pub(super) fn wait(&self, limit: Duration) -> bool {
        let mut ended = self.end.ended.lock();
        self.end.changed.wait_while_for(&mut ended, |ended| !*ended, limit);
        *ended
    }

    /// The outbox of the ledger's events.
    pub(super) fn outbox(&self) -> DatabaseOutbox {
        DatabaseOutbox {
            database: Arc::clone(&self.database),
            context: Arc::clone(&self.context),
            wake: Arc::clone(&self.new_sends),
        }
    }
}

impl Drop for LedgerParts {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Runs the thread: opens the ledger, reports the result to `opened`, and works until it is
/// stopped.
fn run(
    address: DatabaseAddress,
    options: LedgerOptions,
    opened: &SyncSender<Result<LedgerParts, LedgerError>>,
    end: &Arc<ThreadEnd>,
) {
    let runtime = match Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            let error = format!("the ledger's runtime cannot be started: {error}");
            let _ = opened.send(Err(LedgerError::Database(error)));
            return;
        }
    };
    runtime.block_on(async {
        match open(address, options, end).await {
            Ok((parts, tasks)) => {
                let (database, progress) = (Arc::clone(&parts.database), Arc::clone(&parts.progress));
                let stopping = Arc::clone(&parts.stopping);
                let reporting = tokio::spawn(async move { progress.run().await });
                let writing = match start_writer(tasks.writer) {
                    Ok(writing) => writing,
                    Err(error) => return drop(opened.send(Err(error))),
                };
                let _ = opened.send(Ok(parts));
                stopping.notified().await;
                let _ = writing.await;
                reporting.abort();
                if let Some(workers) = tasks.workers {
                    workers.stop().await;
                }
                tasks.upkeep.stop().await;
                database.close().await;
            }
            Err(error) => {
                let _ = opened.send(Err(error));
            }
        }
    });
    // Queries under way are not waited for.
    runtime.shutdown_background();
}

/// Starts the writer: on SQLite on a thread of its own, because its statements block the thread.
/// What is returned ends with it.
fn start_writer(writer: LedgerWriter) -> Result<oneshot::Receiver<()>, LedgerError> {
    let (ended, end) = oneshot::channel();
    if writer.database.pool().dialect() != Dialect::Sqlite {
        tokio::spawn(async move {
            writer.run().await;
            drop(ended);
        });
        return Ok(end);
    }
    let failed = |error| LedgerError::Database(format!("the ledger's writer cannot be started: {error}"));
    let runtime = Builder::new_current_thread().enable_time().build().map_err(failed)?;
    let run = move || {
        runtime.block_on(writer.run());
        drop(ended);
    };
    std::thread::Builder::new().name("ledger-write".into()).spawn(run).map_err(failed)?;
    Ok(end)
}

/// Opens the database and puts the ledger together.
async fn open(
    address: DatabaseAddress,
    options: LedgerOptions,
    end: &Arc<ThreadEnd>,
) -> Result<(LedgerParts, LedgerTasks), LedgerError> {
    let conn = address.prepare().await?;
    let presence = Arc::new(Presence::new(id::new("node_", jiff::Timestamp::now())));
    let database = Arc::new(Database::new(address, conn, Arc::clone(&presence)).await?);
    let context = Arc::new(NodeContext::new(presence, options));
    let (options, metrics) = (&context.options, Arc::clone(&context.metrics));
    let progress = Arc::new(ProgressHub::new());
    let watched = Arc::clone(&progress);
    let parts = LedgerParts {
        runtime: Handle::current(),
        database,
        queue: Arc::new(ChangeQueue::new(options, metrics, move || watched.is_watched())),
        progress,
        links: Arc::default(),
        health: Arc::default(),
        context,
        new_sends: Arc::default(),
        stopping: Arc::default(),
        end: Arc::clone(end),
    };
    show_state(&parts);
    let upkeep = Upkeep::start(UpkeepContext {
        database: Arc::clone(&parts.database),
        context: Arc::clone(&parts.context),
        progress: Arc::clone(&parts.progress),
        queue: Arc::clone(&parts.queue),
        new_sends: Arc::clone(&parts.new_sends),
    })
    .await?;
    let options = &parts.context.options;
    let start_workers = || {
        webhook::start(
            Arc::new(parts.outbox()),
            options.endpoints.clone(),
            &parts.context.metrics,
            &parts.runtime,
        )
    };
    let workers = options.server.then(start_workers);
    let observers =
        vec![Arc::clone(&parts.links) as Arc<dyn CommitObserver>, Arc::clone(&parts.progress) as _];
    let writer = LedgerWriter {
        database: Arc::clone(&parts.database),
        queue: Arc::clone(&parts.queue),
        context: Arc::clone(&parts.context),
        observers,
        health: Arc::clone(&parts.health),
        new_sends: Arc::clone(&parts.new_sends),
    };
    Ok((parts, LedgerTasks { writer, upkeep, workers }))
}

/// Lets the metrics show what the ledger knows anyway.
fn show_state(parts: &LedgerParts) {
    let registry = &parts.context.options.metrics;
    registry.read_gauge(&parts.queue, |metrics: &LedgerMetrics| &metrics.waiting, ChangeQueue::taken);
    registry.read_gauge(&parts.queue, |metrics: &LedgerMetrics| &metrics.limit, ChangeQueue::backlog);
    registry.read_gauge(
        &parts.health,
        |metrics: &LedgerMetrics| &metrics.outage,
        |health| usize::from(health.outage().is_some()),
    );
}
