//! The ledger's thread: what runs on it, how it starts and how it ends.

use std::sync::{Arc, Condvar, Mutex};

use tokio::runtime::Handle;
use tokio::sync::Notify;

use crate::db::context::Context;
use crate::db::id;
use crate::db::presence::Presence;
use crate::db::sql::Address;
use crate::db::store::Store;
use crate::model::{Error, Options};
use crate::read::link_cache::Links;
use crate::read::progress::Live;
use crate::upkeep::Upkeep;
use crate::webhook;
use crate::webhook::database_outbox::Sends;
use crate::webhook::outbox::Outbox;
use crate::write::queue::Queue;
use crate::write::writer::{CommitObserver, Health, Writer};

pub(super) struct Inner {
    pub(super) runtime: Handle,
    pub(super) store: Arc<Store>,
    pub(super) queue: Arc<Queue>,
    pub(super) live: Arc<Live>,
    pub(super) links: Arc<Links>,
    pub(super) health: Arc<Health>,
    pub(super) context: Arc<Context>,
    pub(super) sends: Arc<Notify>,
    pub(super) closing: Arc<Notify>,
    pub(super) ended: Arc<Ended>,
}

impl Inner {
    pub(super) fn shut_down(&self) {
        self.queue.close();
        self.closing.notify_one();
    }
}

/// Whether the ledger's thread has come to its end.
#[derive(Default)]
pub(super) struct Ended {
    pub(super) ended: Mutex<bool>,
    pub(super) told: Condvar,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.shut_down();
    }
}

/// The ledger's thread: opens, says so, and works until it is shut down.
pub(super) fn run(
    address: Address,
    options: Options,
    opened: &std::sync::mpsc::SyncSender<Result<Inner, Error>>,
    ended: &Arc<Ended>,
) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            let _ =
                opened.send(Err(Error::Database(format!("the ledger's runtime cannot be started: {error}"))));
            return;
        }
    };
    runtime.block_on(async {
        let conn = match address.prepare().await {
            Ok(conn) => conn,
            Err(error) => {
                let _ = opened.send(Err(error));
                return;
            }
        };
        let presence = Arc::new(Presence::new(id::new("node_", jiff::Timestamp::now())));
        let store = match Store::new(address, conn, Arc::clone(&presence)).await {
            Ok(store) => Arc::new(store),
            Err(error) => {
                let _ = opened.send(Err(error));
                return;
            }
        };
        let queue = Arc::new(Queue::new(options.backlog, options.gather));
        let live = Arc::new(Live::new());
        let links = Arc::new(Links::default());
        let health = Arc::new(Health::default());
        let sends = Arc::new(Notify::new());
        let closing = Arc::new(Notify::new());
        let context = Arc::new(Context { presence, options });
        let writer = Writer {
            store: Arc::clone(&store),
            queue: Arc::clone(&queue),
            context: Arc::clone(&context),
            observers: vec![Arc::clone(&links) as Arc<dyn CommitObserver>, Arc::clone(&live) as _],
            health: Arc::clone(&health),
            sends: Arc::clone(&sends),
        };
        let upkeep = match Upkeep::begin(&store, &context, &live, &sends).await {
            Ok(upkeep) => upkeep,
            Err(error) => {
                let _ = opened.send(Err(error));
                return;
            }
        };
        let ticking = tokio::spawn({
            let live = Arc::clone(&live);
            async move { live.run().await }
        });
        let outbox: Arc<dyn Outbox> = Arc::new(Sends {
            store: Arc::clone(&store),
            context: Arc::clone(&context),
            wake: Arc::clone(&sends),
        });
        let (telling, endpoints) = (context.options.tell, context.options.endpoints.clone());
        let inner = Inner {
            runtime: Handle::current(),
            store: Arc::clone(&store),
            queue,
            live,
            links,
            health,
            context,
            sends,
            closing: Arc::clone(&closing),
            ended: Arc::clone(ended),
        };
        let hooks = telling.then(|| webhook::start(outbox, endpoints, &Handle::current()));
        let writing = tokio::spawn(writer.run());
        let _ = opened.send(Ok(inner));
        closing.notified().await;
        let _ = writing.await;
        ticking.abort();
        if let Some(hooks) = hooks {
            hooks.stop().await;
        }
        upkeep.end().await;
        store.close().await;
    });
    // Questions that are still being asked are not waited for.
    runtime.shutdown_background();
}
