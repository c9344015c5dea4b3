//! What a server does beside its downloads.
//!
//! ```text
//! heartbeat   shows that this process is alive, and looks for processes that are not
//! recovery    ends the deliveries of crashed processes
//! retention   removes old records
//! peers       messages between nodes (PostgreSQL)
//! context     what these tasks share
//! ```

mod context;
mod heartbeat;
#[cfg(feature = "postgres")]
mod peers;
mod recovery;
mod retention;

use std::fs::File;
use std::sync::Arc;

use tokio::task::JoinHandle;

pub(crate) use context::UpkeepContext;
#[cfg(test)]
pub(crate) use heartbeat::STATEMENTS as HEARTBEAT_STATEMENTS;
#[cfg(test)]
pub(crate) use peers::STATEMENTS as PEERS_STATEMENTS;
#[cfg(test)]
pub(crate) use recovery::STATEMENTS as RECOVERY_STATEMENTS;
#[cfg(test)]
pub(crate) use retention::STATEMENTS as RETENTION_STATEMENTS;

use self::heartbeat::{Heartbeat, lock_file};
use self::recovery::{Crashed, recover};
#[cfg(feature = "postgres")]
use crate::db::statement::Dialect;
use crate::model::LedgerError;

/// The tasks of a server.
pub(crate) struct Upkeep {
    tasks: Vec<JoinHandle<()>>,
    /// Held while this server lives. The next server on this file infers from it that the others
    /// have ended.
    _lock: Option<File>,
}

impl Upkeep {
    /// Starts the tasks of a server. Other processes have none.
    ///
    /// # Errors
    ///
    /// The database cannot be written.
    pub(crate) async fn start(shared: UpkeepContext) -> Result<Upkeep, LedgerError> {
        let options = &shared.context.options;
        if !options.server {
            return Ok(Upkeep { tasks: Vec::new(), _lock: None });
        }
        let lock = lock_file(&shared.database);
        let heartbeat = Heartbeat { shared: shared.clone(), only_server: lock.is_some() };
        // A server that cannot write fails to start.
        heartbeat.beat().await?;
        if lock.is_some() {
            recover(&shared, Crashed::AllOthers).await?;
        }
        let mut tasks = vec![tokio::spawn(heartbeat.run())];
        if let Some(keep) = options.retention {
            tasks.push(tokio::spawn(retention::run(Arc::clone(&shared.database), keep)));
        }
        #[cfg(feature = "postgres")]
        if shared.database.pool().dialect() == Dialect::Postgres {
            tasks.push(tokio::spawn(peers::listen(shared.clone())));
            tasks.push(tokio::spawn(peers::notify(shared)));
        }
        Ok(Upkeep { tasks, _lock: lock })
    }

    pub(crate) async fn stop(self) {
        for task in self.tasks {
            task.abort();
            let _ = task.await;
        }
    }
}
