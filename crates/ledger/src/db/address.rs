//! Where the database is, how it is opened, and the tables.

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};
#[cfg(feature = "postgres")]
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection as _, SqlSafeStr};

use super::connection::{Conn, ReadPool};
use super::errors;
use super::sqlite::SqliteWriter;
use super::statement::{Dialect, Statement, statements};
use crate::model::LedgerError;

/// Time to connect, and to wait for a connection of the pool.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);

/// The cache of a connection to SQLite, in KiB, as SQLite wants it: negative.
const CACHE_SIZE: &str = "-2048";
/// The settings of the connection that writes to SQLite.
const PRAGMAS: [(&str, &str); 6] = [
    // Of new files: a receipt that comes alone writes a page of the table and of each index.
    ("page_size", "1024"),
    ("journal_mode", "wal"),
    // A receipt that was reported must survive a power cut.
    ("synchronous", "full"),
    ("foreign_keys", "on"),
    ("cache_size", CACHE_SIZE),
    // Pages in the log until they are moved into the file: 4 MB, as with pages of 4 KiB.
    ("wal_autocheckpoint", "4000"),
];

statements! {
    CHECK_FILE = Statement::only(Dialect::Sqlite, "PRAGMA quick_check(1)");
    CHECK_HEADER = Statement::only(Dialect::Sqlite, "SELECT count(*) FROM sqlite_schema");
}

/// What brings the tables of any version up to date: names and statements, in their order.
type MigrationSteps = [(&'static str, &'static str); 4];

const SQLITE_STEPS: MigrationSteps = [
    ("ledger", include_str!("../../migrations/sqlite/0001_ledger.sql")),
    ("counts", include_str!("../../migrations/sqlite/0002_counts.sql")),
    ("indexes", include_str!("../../migrations/sqlite/0003_indexes.sql")),
    ("told", include_str!("../../migrations/sqlite/0004_told.sql")),
];

#[cfg(feature = "postgres")]
const POSTGRES_STEPS: MigrationSteps = [
    ("ledger", include_str!("../../migrations/postgres/0001_ledger.sql")),
    ("counts", include_str!("../../migrations/postgres/0002_counts.sql")),
    ("indexes", include_str!("../../migrations/postgres/0003_indexes.sql")),
    ("told", include_str!("../../migrations/postgres/0004_told.sql")),
];

/// Parameters of a PostgreSQL address that sqlx knows. It logs the others with their values.
#[cfg(feature = "postgres")]
const POSTGRES_PARAMETERS: [&str; 18] = [
    "application_name",
    "dbname",
    "host",
    "hostaddr",
    "options",
    "password",
    "port",
    "ssl-ca",
    "ssl-cert",
    "ssl-key",
    "ssl-mode",
    "ssl-root-cert",
    "sslcert",
    "sslkey",
    "sslmode",
    "sslrootcert",
    "statement-cache-capacity",
    "user",
];

/// The address of a ledger's database.
#[derive(Clone)]
pub(crate) struct DatabaseAddress {
    /// The address in messages: without a password.
    pub(crate) shown: String,
    kind: DatabaseEngine,
}

#[derive(Clone)]
enum DatabaseEngine {
    Sqlite(PathBuf),
    #[cfg(feature = "postgres")]
    Postgres(Box<PgConnectOptions>),
}

impl DatabaseAddress {
    pub(crate) fn parse(address: &str) -> Result<DatabaseAddress, LedgerError> {
        if address.starts_with("postgres:") || address.starts_with("postgresql:") {
            return Self::postgres(address);
        }
        let path =
            address.strip_prefix("sqlite://").or_else(|| address.strip_prefix("sqlite:")).unwrap_or(address);
        // The message has only the scheme: there may be a password in the rest.
        if let Some((scheme, _)) = path.split_once("://") {
            return Err(LedgerError::Database(format!(
                "a ledger's address does not begin with {scheme}:; write sqlite:PATH or postgres://USER@HOST/NAME"
            )));
        }
        if path.is_empty() || path == ":memory:" {
            return Err(LedgerError::Database("the ledger's address has no path; write sqlite:PATH".into()));
        }
        Ok(DatabaseAddress { shown: path.to_owned(), kind: DatabaseEngine::Sqlite(path.into()) })
    }

    #[cfg(feature = "postgres")]
    fn postgres(address: &str) -> Result<DatabaseAddress, LedgerError> {
        let invalid = |error: &dyn std::fmt::Display| {
            LedgerError::Database(format!(
                "the ledger's address is invalid: {error}; write postgres://USER@HOST/NAME"
            ))
        };
        let url = url::Url::parse(address).map_err(|error| invalid(&error))?;
        check_parameters(&url)?;
        let options = PgConnectOptions::from_url(&url).map_err(|error| invalid(&error))?;
        let shown = format!(
            "postgres://{}/{}",
            options
                .get_socket()
                .map_or_else(|| options.get_host().to_owned(), |path| path.display().to_string()),
            options.get_database().unwrap_or_default()
        );
        let options = options
            .application_name("outflow")
            // A node that hangs in a transaction releases its locks after this time.
            .options([
                ("statement_timeout", "30s"),
                ("lock_timeout", "15s"),
                ("idle_in_transaction_session_timeout", "10s"),
            ]);
        Ok(DatabaseAddress { shown, kind: DatabaseEngine::Postgres(Box::new(options)) })
    }

    #[cfg(not(feature = "postgres"))]
    fn postgres(_: &str) -> Result<DatabaseAddress, LedgerError> {
        Err(LedgerError::Database(
            "the ledger's address begins with postgres:, but this program was built without PostgreSQL; write \
             sqlite:PATH, or build it with the feature postgres"
                .into(),
        ))
    }

    /// The file of an SQLite database.
    pub(crate) fn path(&self) -> Option<&Path> {
        match &self.kind {
            DatabaseEngine::Sqlite(path) => Some(path),
            #[cfg(feature = "postgres")]
            DatabaseEngine::Postgres(_) => None,
        }
    }

    pub(crate) fn error(&self, error: &sqlx::Error) -> LedgerError {
        LedgerError::Database(errors::describe(&self.shown, error))
    }

    fn sqlite(path: &Path) -> SqliteConnectOptions {
        SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            // A receipt that was reported must survive a power cut.
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(Duration::from_secs(5))
            .foreign_keys(true)
            .pragma("cache_size", CACHE_SIZE)
            .disable_statement_logging()
    }

    pub(crate) async fn connect(&self) -> Result<Conn, sqlx::Error> {
        match &self.kind {
            DatabaseEngine::Sqlite(path) => SqliteWriter::open(path, &PRAGMAS).map(Conn::Sqlite),
            #[cfg(feature = "postgres")]
            DatabaseEngine::Postgres(options) => {
                let options = (**options).clone().disable_statement_logging();
                let connecting = tokio::time::timeout(CONNECT_TIMEOUT, options.connect()).await;
                Ok(Conn::Postgres(connecting.map_err(|_| sqlx::Error::PoolTimedOut)??))
            }
        }
    }

    /// Connections that are opened on demand.
    pub(crate) fn pool(&self) -> ReadPool {
        match &self.kind {
            DatabaseEngine::Sqlite(path) => ReadPool::Sqlite(
                SqlitePoolOptions::new()
                    .max_connections(4)
                    .acquire_timeout(CONNECT_TIMEOUT)
                    .idle_timeout(Duration::from_secs(60))
                    .connect_lazy_with(Self::sqlite(path)),
            ),
            #[cfg(feature = "postgres")]
            DatabaseEngine::Postgres(options) => ReadPool::Postgres(
                PgPoolOptions::new()
                    .max_connections(4)
                    .acquire_timeout(CONNECT_TIMEOUT)
                    .idle_timeout(Duration::from_secs(60))
                    .connect_lazy_with((**options).clone().disable_statement_logging()),
            ),
        }
    }

    /// Opens the database for the first time: creates the file and its folder, checks it for
    /// damage, and brings the tables up to date.
    pub(crate) async fn prepare(&self) -> Result<Conn, LedgerError> {
        if let Some(path) = self.path()
            && let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty())
        {
            std::fs::create_dir_all(folder).map_err(|error| {
                LedgerError::Database(format!(
                    "ledger {}: cannot create its folder ({error}); create it, or choose another path",
                    self.shown
                ))
            })?;
        }
        let mut conn = self.connect().await.map_err(|error| self.error(&error))?;
        if let Some(path) = self.path() {
            self.check_file(path, &mut conn).await?;
        }
        let migrated = match (&mut conn, &self.kind) {
            #[cfg(feature = "postgres")]
            (Conn::Postgres(conn), _) => migrations(&POSTGRES_STEPS).run(conn).await,
            (_, DatabaseEngine::Sqlite(path)) => migrate_sqlite(path).await,
            #[cfg(feature = "postgres")]
            _ => unreachable!("a connection to SQLite has a path"),
        };
        match migrated {
            Ok(()) => Ok(conn),
            Err(MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _)) => {
                Err(self.error(&error))
            }
            Err(MigrateError::VersionMissing(_) | MigrateError::VersionMismatch(_)) => {
                Err(LedgerError::Database(format!(
                    "ledger {}: it was created by another version of outflow; use that version, or a new ledger",
                    self.shown
                )))
            }
            Err(error) => Err(LedgerError::Database(format!("ledger {}: {error}", self.shown))),
        }
    }

    /// Reads a small file as a whole, to find damage now rather than during a download. Of a large
    /// file it checks only what the header tells.
    async fn check_file(&self, path: &Path, conn: &mut Conn) -> Result<(), LedgerError> {
        const SMALL: u64 = 64 << 20;
        let size = std::fs::metadata(path).map_or(0, |metadata| metadata.len());
        let statement = if size <= SMALL { CHECK_FILE } else { CHECK_HEADER };
        let rows = conn.rows(&statement, &[]).await.map_err(|error| self.error(&error))?;
        if size <= SMALL {
            let report = rows.first().and_then(|row| row.text(0).ok()).unwrap_or_default();
            if report != "ok" {
                return Err(LedgerError::Database(format!(
                    "ledger {}: the file is damaged ({report}); restore it from a backup, or move it away to begin a \
                     new one",
                    self.shown
                )));
            }
        }
        Ok(())
    }
}

/// Refuses parameters that sqlx would ignore. The message has no value: it may be a password.
#[cfg(feature = "postgres")]
fn check_parameters(url: &url::Url) -> Result<(), LedgerError> {
    let is_known = |key: &str| {
        let is_setting = key.starts_with("options[") && key.ends_with(']');
        is_setting || POSTGRES_PARAMETERS.contains(&key)
    };
    let Some((key, _)) = url.query_pairs().find(|(key, _)| !is_known(key)) else { return Ok(()) };
    // A "?" in a password begins the query as well, so that the key is a part of the password.
    let is_name = key.len() <= 32 && key.chars().all(|c| c.is_ascii_alphabetic() || "-_".contains(c));
    let is_cut = url.query().is_some_and(|query| query.contains('@'));
    let what = if is_name && !is_cut { format!("the parameter {key}") } else { "a parameter".to_owned() };
    Err(LedgerError::Database(format!(
        "the ledger's address has {what}, which is not supported; leave it out, write a password as \
         postgres://USER:PASSWORD@HOST/NAME, and a \"?\" in it as %3F"
    )))
}

async fn migrate_sqlite(path: &Path) -> Result<(), MigrateError> {
    let mut conn = DatabaseAddress::sqlite(path).connect().await?;
    migrations(&SQLITE_STEPS).run(&mut conn).await?;
    conn.close().await?;
    Ok(())
}

fn migrations(steps: &[(&'static str, &'static str)]) -> Migrator {
    let migration = |(version, (name, sql)): (i64, &(&'static str, &'static str))| {
        Migration::new(version, Cow::Borrowed(*name), MigrationType::Simple, sql.into_sql_str(), false)
    };
    Migrator::with_migrations((1..).zip(steps).map(migration).collect())
}

/// A new SQLite database with the tables of an older version.
#[cfg(test)]
pub(crate) async fn old_sqlite(path: &Path, version: usize) -> sqlx::SqliteConnection {
    let mut conn = DatabaseAddress::sqlite(path).connect().await.unwrap();
    migrations(&SQLITE_STEPS[..version]).run(&mut conn).await.unwrap();
    conn
}

#[cfg(test)]
mod tests {
    use sqlx::Row as _;

    use super::*;

    #[tokio::test]
    async fn a_ledger_of_the_first_version_is_brought_up_to_date_and_keeps_its_rows() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger.db");
        let mut old = old_sqlite(&path, 1).await;
        sqlx::query("INSERT INTO links (id, receipts, exhausted) VALUES ('a', 7, 0)")
            .execute(&mut old)
            .await
            .unwrap();
        drop(old);

        // Twice: the second time there is nothing to do.
        for _ in 0..2 {
            let address = DatabaseAddress::parse(path.to_str().unwrap()).unwrap();
            address.prepare().await.unwrap().close().await.unwrap();
            let mut now = DatabaseAddress::sqlite(&path).connect().await.unwrap();
            let number = async |sql: &'static str, conn: &mut sqlx::SqliteConnection| {
                sqlx::query(sql).fetch_one(conn).await.unwrap().get::<i64, _>(0)
            };
            assert_eq!(number("SELECT receipts FROM links WHERE id = 'a'", &mut now).await, 7);
            assert_eq!(number("SELECT count(*) FROM counts", &mut now).await, 0);
            let indexes = "SELECT count(*) FROM sqlite_schema WHERE name IN \
                ('downloads_generation', 'downloads_recipient', 'sends_token', 'sends_leased')";
            assert_eq!(number(indexes, &mut now).await, 4);
        }
    }

    #[cfg(feature = "postgres")]
    #[test]
    fn an_unknown_parameter_is_refused_and_only_its_name_is_shown() {
        for (query, shown) in [
            ("passwd=sesame", "the parameter passwd,"),
            ("sslmode=disable&pass_word=sesame", "the parameter pass_word,"),
            ("options=-c%20x%3Dy&pass%3Dsesame", "a parameter,"),
            ("sesame@host/name", "a parameter,"),
            ("sesame=x@host/name", "a parameter,"),
        ] {
            let address = format!("postgres://outflow@127.0.0.1/outflow?{query}");
            let Err(LedgerError::Database(said)) = DatabaseAddress::parse(&address) else {
                panic!("{query} is accepted");
            };
            assert!(said.contains(shown) && !said.contains("sesame"), "{query}: {said}");
        }
    }

    #[cfg(feature = "postgres")]
    #[test]
    fn the_parameters_of_sqlx_are_known() {
        let address = "postgres://outflow@127.0.0.1/outflow?sslmode=disable&ssl-mode=disable&sslrootcert=a\
                       &ssl-root-cert=a&ssl-ca=a&sslcert=a&ssl-cert=a&sslkey=a&ssl-key=a\
                       &statement-cache-capacity=5&host=/run/postgresql&hostaddr=127.0.0.1&port=5432&dbname=a\
                       &user=a&password=sesame&application_name=a&options=-c%20x%3Dy&options[x]=y";
        let parsed = DatabaseAddress::parse(address).map(|address| address.shown);
        assert!(matches!(&parsed, Ok(shown) if !shown.contains("sesame")), "{:?}", parsed.err());
    }
}
