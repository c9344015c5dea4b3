//! By what others see at once that this process lives, or does not any more (PostgreSQL).
//!
//! Its connections that last hold a lock on its id, which the database lets go of when they end: the one that writes, so that
//! nothing of it is committed after it was taken for dead, and the one that listens, so that it is not taken for dead
//! when only one of them is lost. Both are lost when the database is restarted, or another one takes its place. Therefore what
//! the locks say is not believed for a moment after that.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use sqlx::postgres::PgExecutor;

/// So long after their connections were lost processes that live may be without locks: they connect again after a second.
/// `GONE` has the same.
const AGAIN: Duration = Duration::from_secs(5);

/// A process among those that share the ledger.
pub(crate) struct Presence {
    pub(crate) instance: String,
    /// When the connection that writes was made anew.
    again: Mutex<Option<Instant>>,
}

impl Presence {
    pub(crate) fn new(instance: String) -> Presence {
        Presence { instance, again: Mutex::default() }
    }

    /// Has a connection hold the lock for as long as it lasts.
    pub(crate) async fn hold(&self, conn: impl PgExecutor<'_>) -> Result<(), sqlx::Error> {
        // Shared by the connections of one process; nobody else takes it.
        let sql = "SELECT pg_advisory_lock_shared(hashtextextended($1 COLLATE \"C\", 0))";
        sqlx::query(sql).bind(&self.instance).execute(conn).await.map(drop)
    }

    pub(crate) fn made_anew(&self) {
        *self.again.lock().expect("nothing panics while it is held") = Some(Instant::now());
    }

    /// Whether somebody without a lock is dead.
    pub(crate) fn knows_who_is_gone(&self) -> bool {
        self.again.lock().expect("nothing panics while it is held").is_none_or(|at| at.elapsed() > AGAIN)
    }
}
