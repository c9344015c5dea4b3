//! The database: one connection that writes, some that read.

use std::sync::Arc;

use tokio::sync::{Mutex, MutexGuard};

use crate::db::presence::Presence;
use crate::db::sql::{Address, Arg, Conn, Pool, Row};
use crate::model::Error;

/// The database. All calls are made on the ledger's runtime.
pub(crate) struct Store {
    pub(crate) address: Address,
    pool: Pool,
    presence: Arc<Presence>,
    /// Taken out by whoever writes, and put back if all went well.
    conn: Mutex<Option<Conn>>,
}

impl Store {
    /// # Errors
    ///
    /// The database does not answer.
    pub(crate) async fn new(
        address: Address,
        mut conn: Conn,
        presence: Arc<Presence>,
    ) -> Result<Store, Error> {
        if let Conn::Postgres(conn) = &mut conn {
            presence.hold(conn).await.map_err(|error| address.error(&error))?;
        }
        let pool = address.pool();
        Ok(Store { address, pool, presence, conn: Mutex::new(Some(conn)) })
    }

    /// Asks.
    pub(crate) async fn rows(&self, sql: &str, args: &[Arg]) -> Result<Vec<Row>, Error> {
        self.pool.rows(sql, args).await.map_err(|error| self.address.error(&error))
    }

    /// Begins a transaction. Whoever lets go of it takes it back.
    pub(crate) async fn begin(&self) -> Result<Transaction<'_>, sqlx::Error> {
        let mut place = self.conn.lock().await;
        let mut conn = match place.take() {
            Some(conn) => conn,
            None => {
                let mut conn = self.address.connect().await?;
                if let Conn::Postgres(conn) = &mut conn {
                    self.presence.hold(conn).await?;
                    self.presence.made_anew();
                }
                conn
            }
        };
        conn.begin().await?;
        Ok(Transaction { place, conn })
    }

    /// Ends all connections. SQLite moves what is in the log into the file.
    pub(crate) async fn close(&self) {
        self.pool.close().await;
        match self.conn.lock().await.take() {
            Some(Conn::Sqlite(mut conn)) => {
                let _ = sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").execute(&mut conn).await;
                let _ = sqlx::Connection::close(conn).await;
            }
            Some(Conn::Postgres(conn)) => drop(sqlx::Connection::close(conn).await),
            None => {}
        }
    }

    pub(crate) fn pool(&self) -> &Pool {
        &self.pool
    }
}

/// A transaction under way. Dropped, its connection is closed, which takes it back.
pub(crate) struct Transaction<'a> {
    place: MutexGuard<'a, Option<Conn>>,
    conn: Conn,
}

impl Transaction<'_> {
    pub(crate) fn conn(&mut self) -> &mut Conn {
        &mut self.conn
    }

    /// Commits if `done` went well, else takes it back.
    ///
    /// # Errors
    ///
    /// What the database says; nothing has happened then, unless it was the commit that failed.
    pub(crate) async fn finish<T>(mut self, done: Result<T, sqlx::Error>) -> Result<T, sqlx::Error> {
        let error = match done {
            Ok(done) => match self.conn.commit().await {
                Ok(()) => {
                    *self.place = Some(self.conn);
                    return Ok(done);
                }
                Err(error) => error,
            },
            Err(error) => error,
        };
        if !matches!(error, sqlx::Error::Io(_)) && self.conn.rollback().await.is_ok() {
            *self.place = Some(self.conn);
        }
        Err(error)
    }
}

/// Does something in a transaction of `$store`, again if it met another one.
macro_rules! written {
    ($store:expr, |$conn:ident| $work:expr) => {{
        let mut tries = 0;
        loop {
            let done = async {
                let mut transaction = $store.begin().await?;
                let done: Result<_, sqlx::Error> = async {
                    let $conn = transaction.conn();
                    $work
                }
                .await;
                transaction.finish(done).await
            };
            match done.await {
                Ok(done) => break Ok(done),
                Err(error) if tries < 10 && $crate::db::sql::passes(&error) => tries += 1,
                Err(error) => break Err($store.address.error(&error)),
            }
        }
    }};
}

pub(crate) use written;
