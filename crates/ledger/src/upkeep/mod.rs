//! What a server does beside: shows that it is alive, takes care of what crashed ones left, removes what is too old, and
//! hears what other nodes say.

mod heartbeat;
mod peers;
mod recovery;
mod retention;

use std::fs::File;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinHandle;

use self::heartbeat::{alive, heartbeat};
use self::peers::{hear, say};
use self::recovery::reap;
use self::retention::prune;
use crate::db::context::Context;
use crate::db::sql::Pool;
use crate::db::store::Store;
use crate::model::Error;
use crate::read::progress::Live;

/// Between two looks for what is too old.
const PRUNE: Duration = Duration::from_secs(600);

/// The tasks.
pub(crate) struct Upkeep {
    tasks: Vec<JoinHandle<()>>,
    /// Held while this server lives: the next one on this file sees by it that others have ended.
    _alive: Option<File>,
}

impl Upkeep {
    pub(crate) async fn begin(
        store: &Arc<Store>,
        context: &Arc<Context>,
        live: &Arc<Live>,
        sends: &Arc<Notify>,
    ) -> Result<Upkeep, Error> {
        let mut tasks = Vec::new();
        if !context.options.tell {
            return Ok(Upkeep { tasks, _alive: None });
        }
        let alive = alive(store);
        let sole = alive.is_some();
        // A server that cannot write says so when it is started.
        heartbeat(store, context, live, sends, sole).await?;
        if sole {
            reap(store, context, live, sends, i64::MAX).await?;
        }
        let beat = context.options.lapse / 6;
        tasks.push(tokio::spawn({
            let (store, context, live, sends) =
                (Arc::clone(store), Arc::clone(context), Arc::clone(live), Arc::clone(sends));
            async move {
                loop {
                    if let Err(error) = heartbeat(&store, &context, &live, &sends, sole).await {
                        tracing::debug!("the ledger's heartbeat failed: {error}");
                    }
                    tokio::time::sleep(beat).await;
                }
            }
        }));
        if let Some(keep) = context.options.keep {
            let store = Arc::clone(store);
            tasks.push(tokio::spawn(async move {
                loop {
                    if let Err(error) = prune(&store, keep).await {
                        tracing::debug!("what is too old in the ledger could not be removed: {error}");
                    }
                    tokio::time::sleep(PRUNE).await;
                }
            }));
        }
        if let Pool::Postgres(_) = store.pool() {
            tasks.push(tokio::spawn(hear(
                Arc::clone(store),
                Arc::clone(&context.presence),
                Arc::clone(live),
                Arc::clone(sends),
            )));
            tasks.push(tokio::spawn(say(
                Arc::clone(store),
                context.presence.instance.clone(),
                Arc::clone(live),
            )));
        }
        Ok(Upkeep { tasks, _alive: alive })
    }

    pub(crate) async fn end(self) {
        for task in self.tasks {
            task.abort();
            let _ = task.await;
        }
    }
}
