//! How other processes notice at once that this one has ended (PostgreSQL).
//!
//! A process holds an advisory lock on its id in each of its lasting connections; the database
//! releases a lock when its connection ends. The connection that writes holds it, so that nothing
//! is committed after others have taken this process for dead; the connection that listens holds
//! it, so that losing one of the two does not look like a crash. Both are lost when the database
//! restarts or a standby takes over. For a moment after that, missing locks prove nothing.

use std::time::{Duration, Instant};

use parking_lot::Mutex;
#[cfg(feature = "postgres")]
use sqlx::postgres::PgExecutor;

use super::connection::Conn;

/// How long live processes may be without their locks after their connections were lost. They
/// reconnect after a second. `{{gone i}}` allows for the same time.
const RECONNECT_TIME: Duration = Duration::from_secs(5);

/// The id of this process, and the locks that prove that it is alive.
pub(crate) struct Presence {
    pub(crate) instance: String,
    /// When the connection that writes was replaced.
    reconnected: Mutex<Option<Instant>>,
}

impl Presence {
    pub(crate) fn new(instance: String) -> Presence {
        Presence { instance, reconnected: Mutex::default() }
    }

    /// Makes the connection that writes hold the lock. SQLite has no such locks.
    pub(crate) async fn hold(&self, conn: &mut Conn) -> Result<(), sqlx::Error> {
        match conn {
            Conn::Sqlite(_) => Ok(()),
            #[cfg(feature = "postgres")]
            Conn::Postgres(conn) => self.lock(conn).await,
        }
    }

    /// Makes a connection hold the lock for as long as it lasts.
    #[cfg(feature = "postgres")]
    pub(crate) async fn lock(&self, conn: impl PgExecutor<'_>) -> Result<(), sqlx::Error> {
        // Shared by the connections of one process; no other process takes it.
        let sql = "SELECT pg_advisory_lock_shared(hashtextextended($1 COLLATE \"C\", 0))";
        sqlx::query(sql).bind(&self.instance).execute(conn).await.map(drop)
    }

    /// Notes that the connection that writes was replaced.
    pub(crate) fn reconnected(&self) {
        *self.reconnected.lock() = Some(Instant::now());
    }

    /// Whether a process without a lock is dead.
    pub(crate) fn locks_are_reliable(&self) -> bool {
        self.reconnected.lock().is_none_or(|at| at.elapsed() > RECONNECT_TIME)
    }
}
