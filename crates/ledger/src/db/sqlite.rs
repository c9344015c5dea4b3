//! The connection that writes to an SQLite ledger. Its statements run on the calling thread:
//! handing each to a thread of its own cost more than the statement.

use std::borrow::Cow;
use std::error::Error;
use std::fmt;
use std::path::Path;
use std::time::Duration;

use rusqlite::types::{ToSqlOutput, Value, ValueRef};
use rusqlite::{Connection, OpenFlags, ToSql};
use sqlx::error::{DatabaseError, ErrorKind};
use tokio::time::Instant;

use super::rows::{Arg, Cell, Rows};

/// How long to wait for another process that writes.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// The first and the longest pause between two attempts to begin a transaction.
const BUSY_PAUSES: [Duration; 2] = [Duration::from_millis(1), Duration::from_millis(50)];
/// Number of statements that stay prepared.
const PREPARED: usize = 100;

/// A connection of SQLite.
pub(crate) struct SqliteWriter(Connection);

/// A row of a result, read as a whole.
pub(crate) struct LocalRow(Vec<Value>);

/// An error of SQLite, as `sqlx` reports its own.
#[derive(Debug)]
struct SqliteFailure {
    code: String,
    kind: ErrorKind,
    message: String,
}

impl SqliteWriter {
    pub(crate) fn open(path: &Path, pragmas: &[(&str, &str)]) -> Result<SqliteWriter, sqlx::Error> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_CREATE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let open = || {
            let conn = Connection::open_with_flags(path, flags)?;
            conn.busy_timeout(BUSY_TIMEOUT)?;
            for (name, value) in pragmas {
                conn.pragma_update(None, name, value)?;
            }
            // From here on, `begin` waits without blocking the thread.
            conn.busy_timeout(Duration::ZERO)?;
            conn.set_prepared_statement_cache_capacity(PREPARED);
            Ok(conn)
        };
        open().map(SqliteWriter).map_err(|error| failure(&error))
    }

    /// Begins a transaction that writes. It takes the write lock at once: a reader could not wait
    /// for it when it becomes a writer.
    pub(crate) async fn begin(&mut self) -> Result<(), sqlx::Error> {
        let (began, [mut pause, longest]) = (Instant::now(), BUSY_PAUSES);
        loop {
            match self.try_begin() {
                Ok(()) => return Ok(()),
                Err(error) if !is_busy(&error) || began.elapsed() >= BUSY_TIMEOUT => {
                    return Err(failure(&error));
                }
                Err(_) => {}
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(longest);
        }
    }

    fn try_begin(&self) -> rusqlite::Result<()> {
        self.0.prepare_cached("BEGIN IMMEDIATE")?.execute(()).map(drop)
    }

    /// The rows of a query's result.
    pub(crate) fn rows(&self, sql: &str, args: &[Arg]) -> Result<Vec<LocalRow>, sqlx::Error> {
        let query = || {
            let mut statement = self.0.prepare_cached(sql)?;
            bind(&mut statement, args)?;
            let columns = statement.column_count();
            let (mut found, mut rows) = (Vec::new(), statement.raw_query());
            while let Some(row) = rows.next()? {
                found.push(LocalRow((0..columns).map(|at| row.get(at)).collect::<Result<_, _>>()?));
            }
            Ok(found)
        };
        query().map_err(|error| failure(&error))
    }

    /// Runs a statement that has no result. Returns the number of rows that it has changed.
    pub(crate) fn run(&self, sql: &str, args: &[Arg]) -> Result<u64, sqlx::Error> {
        let run = || {
            let mut statement = self.0.prepare_cached(sql)?;
            bind(&mut statement, args)?;
            statement.raw_execute()
        };
        run().map(|count| count as u64).map_err(|error| failure(&error))
    }

    /// Runs a statement for each of `rows`.
    pub(crate) fn run_rows(&self, sql: &str, rows: &Rows) -> Result<u64, sqlx::Error> {
        let run = || {
            let mut statement = self.0.prepare_cached(sql)?;
            // The last columns may be unused.
            let (bound, mut changed) = (statement.parameter_count(), 0);
            for at in 0..rows.len() {
                for (at, cell) in (1..=bound).zip(rows.cells(at..at + 1)) {
                    statement.raw_bind_parameter(at, cell)?;
                }
                changed += statement.raw_execute()? as u64;
            }
            Ok(changed)
        };
        run().map_err(|error| failure(&error))
    }

    /// Prepares a statement without running it.
    #[cfg(test)]
    pub(crate) fn prepare(&self, sql: &str) -> Result<(), sqlx::Error> {
        self.0.prepare(sql).map(drop).map_err(|error| failure(&error))
    }

    pub(crate) fn close(self) -> Result<(), sqlx::Error> {
        self.0.close().map_err(|(_, error)| failure(&error))
    }
}

/// Binds `$1` to the first argument, whichever the statement mentions first.
fn bind(statement: &mut rusqlite::CachedStatement<'_>, args: &[Arg]) -> rusqlite::Result<()> {
    for at in 1..=statement.parameter_count() {
        let number = statement.parameter_name(at).and_then(|name| name[1..].parse::<usize>().ok());
        let arg = args.get(number.unwrap_or(at) - 1).unwrap_or(&Arg::NullText);
        statement.raw_bind_parameter(at, arg)?;
    }
    Ok(())
}

impl ToSql for Arg {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(match self {
            Arg::Int(value) => ToSqlOutput::from(*value),
            Arg::Text(text) => ToSqlOutput::Borrowed(ValueRef::Text(text.as_bytes())),
            Arg::Rows(rows) => ToSqlOutput::from(rows.json(0..rows.len())),
            Arg::NullInt | Arg::NullText => ToSqlOutput::Borrowed(ValueRef::Null),
        })
    }
}

impl ToSql for Cell {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Cell::Int(value) => ValueRef::Integer(*value),
            Cell::Text(text) => ValueRef::Text(text.as_bytes()),
            Cell::Null => ValueRef::Null,
        }))
    }
}

impl LocalRow {
    pub(crate) fn int(&self, at: usize) -> Result<i64, sqlx::Error> {
        self.maybe_int(at)?.ok_or_else(|| unexpected(at, &Value::Null))
    }

    pub(crate) fn maybe_int(&self, at: usize) -> Result<Option<i64>, sqlx::Error> {
        match self.value(at)? {
            Value::Integer(value) => Ok(Some(*value)),
            Value::Null => Ok(None),
            other => Err(unexpected(at, other)),
        }
    }

    pub(crate) fn text(&self, at: usize) -> Result<String, sqlx::Error> {
        self.maybe_text(at)?.ok_or_else(|| unexpected(at, &Value::Null))
    }

    pub(crate) fn maybe_text(&self, at: usize) -> Result<Option<String>, sqlx::Error> {
        match self.value(at)? {
            Value::Text(text) => Ok(Some(text.clone())),
            Value::Null => Ok(None),
            other => Err(unexpected(at, other)),
        }
    }

    fn value(&self, at: usize) -> Result<&Value, sqlx::Error> {
        self.0.get(at).ok_or(sqlx::Error::ColumnIndexOutOfBounds { index: at, len: self.0.len() })
    }
}

fn unexpected(at: usize, value: &Value) -> sqlx::Error {
    let kind = value.data_type();
    sqlx::Error::ColumnDecode { index: at.to_string(), source: format!("it has the type {kind}").into() }
}

fn is_busy(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(rusqlite::ErrorCode::DatabaseBusy)
}

/// The error as `sqlx` would report it.
fn failure(error: &rusqlite::Error) -> sqlx::Error {
    let Some(code) = error.sqlite_error() else {
        return sqlx::Error::Protocol(error.to_string());
    };
    // SQLITE_CONSTRAINT_PRIMARYKEY, SQLITE_CONSTRAINT_UNIQUE.
    let is_unique = matches!(code.extended_code, 1555 | 2067);
    sqlx::Error::Database(Box::new(SqliteFailure {
        code: code.extended_code.to_string(),
        kind: if is_unique { ErrorKind::UniqueViolation } else { ErrorKind::Other },
        message: error.to_string(),
    }))
}

impl fmt::Display for SqliteFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "(code: {}) {}", self.code, self.message)
    }
}

impl Error for SqliteFailure {}

impl DatabaseError for SqliteFailure {
    fn message(&self) -> &str {
        &self.message
    }

    fn code(&self) -> Option<Cow<'_, str>> {
        Some(Cow::Borrowed(&self.code))
    }

    fn as_error(&self) -> &(dyn Error + Send + Sync + 'static) {
        self
    }

    fn as_error_mut(&mut self) -> &mut (dyn Error + Send + Sync + 'static) {
        self
    }

    fn into_error(self: Box<Self>) -> Box<dyn Error + Send + Sync + 'static> {
        self
    }

    fn kind(&self) -> ErrorKind {
        match self.kind {
            ErrorKind::UniqueViolation => ErrorKind::UniqueViolation,
            _ => ErrorKind::Other,
        }
    }
}
