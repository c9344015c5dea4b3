//! The database of a ledger: one connection that writes, several that read.

use std::sync::Arc;

use tokio::sync::{Mutex, MutexGuard};

use super::address::DatabaseAddress;
use super::connection::{Arg, Conn, ReadPool, Row};
use super::presence::Presence;
use super::statement::{Dialect, Statement, statements};
use crate::model::LedgerError;

statements! {
    CHECKPOINT_WAL = Statement::only(Dialect::Sqlite, "PRAGMA wal_checkpoint(TRUNCATE)");
    SHRINK_MEMORY = Statement::only(Dialect::Sqlite, "PRAGMA shrink_memory");
}

/// The database. All of its methods run on the ledger's runtime.
pub(crate) struct Database {
    pub(crate) address: DatabaseAddress,
    pool: ReadPool,
    presence: Arc<Presence>,
    /// A transaction takes it out, and puts it back unless it is broken.
    conn: Mutex<Option<Conn>>,
}

impl Database {
    /// # Errors
    ///
    /// The database does not answer.
    pub(crate) async fn new(
        address: DatabaseAddress,
        mut conn: Conn,
        presence: Arc<Presence>,
    ) -> Result<Database, LedgerError> {
        presence.hold(&mut conn).await.map_err(|error| address.error(&error))?;
        let pool = address.pool();
        Ok(Database { address, pool, presence, conn: Mutex::new(Some(conn)) })
    }

    /// The rows of a query's result.
    pub(crate) async fn rows(&self, statement: &Statement, args: &[Arg]) -> Result<Vec<Row>, LedgerError> {
        self.pool.rows(statement, args).await.map_err(|error| self.address.error(&error))
    }

    /// Begins a transaction. Dropping it rolls it back.
    pub(crate) async fn begin(&self) -> Result<Transaction<'_>, sqlx::Error> {
        let mut slot = self.conn.lock().await;
        let mut conn = match slot.take() {
            Some(conn) => conn,
            None => {
                let mut conn = self.address.connect().await?;
                self.presence.hold(&mut conn).await?;
                if conn.dialect() == Dialect::Postgres {
                    self.presence.reconnected();
                }
                conn
            }
        };
        conn.begin().await?;
        Ok(Transaction { slot, conn })
    }

    /// Frees the cache of the connection that writes, which is idle.
    pub(crate) async fn shrink_memory(&self) {
        if let Some(conn @ Conn::Sqlite(_)) = &mut *self.conn.lock().await {
            let _ = conn.rows(&SHRINK_MEMORY, &[]).await;
        }
    }

    /// Closes all connections. SQLite moves its log into the file.
    pub(crate) async fn close(&self) {
        self.pool.close().await;
        let Some(mut conn) = self.conn.lock().await.take() else { return };
        if conn.dialect() == Dialect::Sqlite {
            let _ = conn.rows(&CHECKPOINT_WAL, &[]).await;
        }
        let _ = conn.close().await;
    }

    pub(crate) fn pool(&self) -> &ReadPool {
        &self.pool
    }
}

/// A transaction under way. Dropped, its connection is closed, which rolls it back.
pub(crate) struct Transaction<'a> {
    slot: MutexGuard<'a, Option<Conn>>,
    conn: Conn,
}

impl Transaction<'_> {
    pub(crate) fn conn(&mut self) -> &mut Conn {
        &mut self.conn
    }

    /// Commits if `result` is `Ok`, else rolls back.
    ///
    /// # Errors
    ///
    /// The error of `result` or of the commit. Nothing has been written then, unless it was the
    /// commit that failed.
    pub(crate) async fn finish<T>(mut self, result: Result<T, sqlx::Error>) -> Result<T, sqlx::Error> {
        let error = match result {
            Ok(value) => match self.conn.commit().await {
                Ok(()) => {
                    *self.slot = Some(self.conn);
                    return Ok(value);
                }
                Err(error) => error,
            },
            Err(error) => error,
        };
        if !matches!(error, sqlx::Error::Io(_)) && self.conn.rollback().await.is_ok() {
            *self.slot = Some(self.conn);
        }
        Err(error)
    }
}

/// Runs `$work` in a transaction of `$database`, and repeats it if it met another transaction.
macro_rules! in_transaction {
    ($database:expr, |$conn:ident| $work:expr) => {{
        let mut tries = 0;
        loop {
            let result = async {
                let mut transaction = $database.begin().await?;
                let result: Result<_, sqlx::Error> = async {
                    let $conn = transaction.conn();
                    $work
                }
                .await;
                transaction.finish(result).await
            };
            match result.await {
                Ok(value) => break Ok(value),
                Err(error) if tries < 10 && $crate::db::is_transient(&error) => tries += 1,
                Err(error) => break Err($database.address.error(&error)),
            }
        }
    }};
}

pub(crate) use in_transaction;
