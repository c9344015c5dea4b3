//! Opening a database: what its address means, how connections behave, and the tables.

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions, SqlSafeStr};

use super::sql::{Conn, Pool};
use super::trouble;
use crate::model::Error;

/// Where a ledger is.
#[derive(Clone)]
pub(crate) struct Address {
    /// As errors name it: without a password.
    pub(crate) shown: String,
    kind: Kind,
}

#[derive(Clone)]
enum Kind {
    Sqlite(PathBuf),
    Postgres(Box<PgConnectOptions>),
}

impl Address {
    pub(crate) fn parse(address: &str) -> Result<Address, Error> {
        if address.starts_with("postgres:") || address.starts_with("postgresql:") {
            let options = PgConnectOptions::from_str(address).map_err(|error| {
                Error::Database(format!(
                    "the ledger's address is not understood: {error}; write postgres://USER@HOST/NAME"
                ))
            })?;
            let shown = format!(
                "postgres://{}/{}",
                options
                    .get_socket()
                    .map_or_else(|| options.get_host().to_owned(), |path| path.display().to_string()),
                options.get_database().unwrap_or_default()
            );
            let options = options
                .application_name("outflow")
                // Whatever hangs must not hang the others: a node that is gone in the middle of a transaction keeps its
                // locks for so long.
                .options([
                    ("statement_timeout", "30s"),
                    ("lock_timeout", "15s"),
                    ("idle_in_transaction_session_timeout", "10s"),
                ]);
            return Ok(Address { shown, kind: Kind::Postgres(Box::new(options)) });
        }
        let path =
            address.strip_prefix("sqlite://").or_else(|| address.strip_prefix("sqlite:")).unwrap_or(address);
        // Only the scheme is said: there may be a password in the rest.
        if let Some((scheme, _)) = path.split_once("://") {
            return Err(Error::Database(format!(
                "there are no ledgers at {scheme}: addresses; write sqlite:PATH or postgres://USER@HOST/NAME"
            )));
        }
        if path.is_empty() || path == ":memory:" {
            return Err(Error::Database("the ledger's address has no path; write sqlite:PATH".into()));
        }
        Ok(Address { shown: path.to_owned(), kind: Kind::Sqlite(path.into()) })
    }

    /// The file.
    pub(crate) fn path(&self) -> Option<&Path> {
        match &self.kind {
            Kind::Sqlite(path) => Some(path),
            Kind::Postgres(_) => None,
        }
    }

    pub(crate) fn error(&self, error: &sqlx::Error) -> Error {
        Error::Database(trouble::tell(&self.shown, error))
    }

    fn sqlite(path: &Path) -> SqliteConnectOptions {
        SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            // A receipt that was told must survive a power cut.
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(Duration::from_secs(5))
            .foreign_keys(true)
            .pragma("cache_size", "-16384")
            .disable_statement_logging()
    }

    pub(crate) async fn connect(&self) -> Result<Conn, sqlx::Error> {
        let limit = Duration::from_secs(15);
        match &self.kind {
            Kind::Sqlite(path) => Ok(Conn::Sqlite(Self::sqlite(path).connect().await?)),
            Kind::Postgres(options) => {
                let options = (**options).clone().disable_statement_logging();
                let connecting = tokio::time::timeout(limit, options.connect()).await;
                Ok(Conn::Postgres(connecting.map_err(|_| sqlx::Error::PoolTimedOut)??))
            }
        }
    }

    /// Connections that are opened when they are needed.
    pub(crate) fn pool(&self) -> Pool {
        let limit = Duration::from_secs(15);
        match &self.kind {
            Kind::Sqlite(path) => Pool::Sqlite(
                SqlitePoolOptions::new()
                    .max_connections(4)
                    .acquire_timeout(limit)
                    .idle_timeout(Duration::from_secs(60))
                    .connect_lazy_with(Self::sqlite(path)),
            ),
            Kind::Postgres(options) => Pool::Postgres(
                PgPoolOptions::new()
                    .max_connections(4)
                    .acquire_timeout(limit)
                    .idle_timeout(Duration::from_secs(60))
                    .connect_lazy_with((**options).clone().disable_statement_logging()),
            ),
        }
    }

    /// Opens the database for the first time: makes the file and its folder, looks whether it is sound, and brings the
    /// tables up to date.
    pub(crate) async fn prepare(&self) -> Result<Conn, Error> {
        if let Kind::Sqlite(path) = &self.kind
            && let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty())
        {
            std::fs::create_dir_all(folder).map_err(|error| {
                Error::Database(format!(
                    "ledger {}: its folder cannot be made ({error}); make it, or name another place",
                    self.shown
                ))
            })?;
        }
        let mut conn = self.connect().await.map_err(|error| self.error(&error))?;
        if let Kind::Sqlite(path) = &self.kind {
            self.check(path, &mut conn).await?;
        }
        let migrated = match &mut conn {
            Conn::Sqlite(conn) => {
                migrations(include_str!("../../migrations/sqlite/0001_ledger.sql")).run(conn).await
            }
            Conn::Postgres(conn) => {
                migrations(include_str!("../../migrations/postgres/0001_ledger.sql")).run(conn).await
            }
        };
        match migrated {
            Ok(()) => Ok(conn),
            Err(MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _)) => {
                Err(self.error(&error))
            }
            Err(MigrateError::VersionMissing(_) | MigrateError::VersionMismatch(_)) => {
                Err(Error::Database(format!(
                    "ledger {}: it was made by another version of outflow; use that one, or a new ledger",
                    self.shown
                )))
            }
            Err(error) => Err(Error::Database(format!("ledger {}: {error}", self.shown))),
        }
    }

    /// Reads a small file as a whole to find damage now rather than in the middle of a download; of a large one what
    /// can be seen at once.
    async fn check(&self, path: &Path, conn: &mut Conn) -> Result<(), Error> {
        const SMALL: u64 = 64 << 20;
        let size = std::fs::metadata(path).map_or(0, |metadata| metadata.len());
        let sql = if size <= SMALL { "PRAGMA quick_check(1)" } else { "SELECT count(*) FROM sqlite_schema" };
        let rows = conn.rows(sql, &[]).await.map_err(|error| self.error(&error))?;
        if size <= SMALL {
            let said = rows.first().and_then(|row| row.text(0).ok()).unwrap_or_default();
            if said != "ok" {
                return Err(Error::Database(format!(
                    "ledger {}: the file is damaged ({said}); move it away and restore it from a backup, or begin with \
                     a new one",
                    self.shown
                )));
            }
        }
        Ok(())
    }
}

fn migrations(first: &'static str) -> Migrator {
    Migrator::with_migrations(vec![Migration::new(
        1,
        Cow::Borrowed("ledger"),
        MigrationType::Simple,
        first.into_sql_str(),
        false,
    )])
}
