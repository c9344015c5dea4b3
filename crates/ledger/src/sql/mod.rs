//! The two databases behind one face: the same statements, translated where the dialects differ.
//!
//! Statements have `$1`, `$2` … for arguments, and some words of their own: `EACH($1)` is the elements of a JSON array
//! as rows `k(value)` (so that one statement takes any number of rows), `CLOCK` is the database's clock, `GONE` is whether
//! the process of the row `i` of `instances` is known to have ended (see `presence`; SQLite does not know), `FOR UPDATE` and
//! `SKIP LOCKED` vanish where there is one writer anyway.

mod open;
mod rows;
mod trouble;

use sqlx::postgres::{PgConnection, PgPool, PgRow};
use sqlx::sqlite::{SqliteConnection, SqlitePool, SqliteRow};
use sqlx::{AssertSqlSafe, Row as _};

pub(crate) use open::Address;
pub(crate) use rows::Rows;
pub(crate) use trouble::passes;

/// What a statement is given.
#[derive(Clone, Debug)]
pub(crate) enum Arg {
    Int(i64),
    Text(String),
    /// An array of rows, as JSON.
    Json(String),
    NoInt,
    NoText,
}

impl From<i64> for Arg {
    fn from(value: i64) -> Arg {
        Arg::Int(value)
    }
}

impl From<&str> for Arg {
    fn from(value: &str) -> Arg {
        Arg::Text(value.into())
    }
}

impl From<Option<i64>> for Arg {
    fn from(value: Option<i64>) -> Arg {
        value.map_or(Arg::NoInt, Arg::Int)
    }
}

impl From<Option<&str>> for Arg {
    fn from(value: Option<&str>) -> Arg {
        value.map_or(Arg::NoText, Arg::from)
    }
}

/// A row of an answer.
pub(crate) enum Row {
    Sqlite(SqliteRow),
    Postgres(PgRow),
}

impl Row {
    pub(crate) fn int(&self, at: usize) -> Result<i64, sqlx::Error> {
        match self {
            Row::Sqlite(row) => row.try_get(at),
            Row::Postgres(row) => row.try_get(at),
        }
    }

    pub(crate) fn maybe_int(&self, at: usize) -> Result<Option<i64>, sqlx::Error> {
        match self {
            Row::Sqlite(row) => row.try_get(at),
            Row::Postgres(row) => row.try_get(at),
        }
    }

    pub(crate) fn text(&self, at: usize) -> Result<String, sqlx::Error> {
        match self {
            Row::Sqlite(row) => row.try_get(at),
            Row::Postgres(row) => row.try_get(at),
        }
    }

    pub(crate) fn maybe_text(&self, at: usize) -> Result<Option<String>, sqlx::Error> {
        match self {
            Row::Sqlite(row) => row.try_get(at),
            Row::Postgres(row) => row.try_get(at),
        }
    }
}

/// Which database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    Sqlite,
    Postgres,
}

impl Dialect {
    fn translate(self, sql: &str) -> AssertSqlSafe<String> {
        let mut text = sql.to_owned();
        while let Some(at) = text.find("EACH(") {
            let end = at + text[at..].find(')').expect("EACH is closed");
            let argument = text[at + 5..end].to_owned();
            let each = match self {
                // The limit keeps it from being folded into the statement: there each mention of `k.value` would
                // write the row out as text again.
                Dialect::Sqlite => format!("(SELECT value FROM json_each({argument}) LIMIT -1) AS k"),
                Dialect::Postgres => format!("json_array_elements({argument}::json) AS k(value)"),
            };
            text.replace_range(at..=end, &each);
        }
        let gone = match self {
            Dialect::Sqlite => "1 = 0",
            // After the database was restarted its clients need a moment until they have their locks again.
            Dialect::Postgres => {
                "(greatest(i.beat, CLOCK - 5000000) > extract(epoch FROM pg_postmaster_start_time()) * 1000000 \
                  AND hashtextextended(i.id, 0) NOT IN (\
                      SELECT (l.classid::bigint << 32) | l.objid::bigint FROM pg_locks l \
                      WHERE l.locktype = 'advisory' AND l.objsubid = 1 AND l.granted \
                          AND l.database = (SELECT b.oid FROM pg_database b WHERE b.datname = current_database())))"
            }
        };
        text = text.replace("GONE", gone);
        let clock = match self {
            Dialect::Sqlite => "CAST(unixepoch('subsec') * 1000000 AS bigint)",
            Dialect::Postgres => "CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS bigint)",
        };
        text = text.replace("CLOCK", clock);
        if self == Dialect::Sqlite {
            text = text.replace("SKIP LOCKED", "").replace("FOR UPDATE", "");
        }
        // Made of constants only: whatever comes from outside is an argument.
        AssertSqlSafe(text)
    }
}

macro_rules! bound {
    ($sql:expr, $args:expr) => {{
        let mut query = sqlx::query($sql);
        for arg in $args {
            query = match arg {
                Arg::Int(value) => query.bind(*value),
                Arg::Text(value) | Arg::Json(value) => query.bind(value.clone()),
                Arg::NoInt => query.bind(None::<i64>),
                Arg::NoText => query.bind(None::<String>),
            };
        }
        query
    }};
}

/// A connection of one's own.
pub(crate) enum Conn {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
}

impl Conn {
    pub(crate) fn dialect(&self) -> Dialect {
        match self {
            Conn::Sqlite(_) => Dialect::Sqlite,
            Conn::Postgres(_) => Dialect::Postgres,
        }
    }

    /// What `sql` answers.
    pub(crate) async fn rows(&mut self, sql: &str, args: &[Arg]) -> Result<Vec<Row>, sqlx::Error> {
        let text = self.dialect().translate(sql);
        match self {
            Conn::Sqlite(conn) => {
                let rows = bound!(text, args).fetch_all(conn).await?;
                Ok(rows.into_iter().map(Row::Sqlite).collect())
            }
            Conn::Postgres(conn) => {
                let rows = bound!(text, args).fetch_all(conn).await?;
                Ok(rows.into_iter().map(Row::Postgres).collect())
            }
        }
    }

    /// How many rows `sql` has changed.
    pub(crate) async fn run(&mut self, sql: &str, args: &[Arg]) -> Result<u64, sqlx::Error> {
        let text = self.dialect().translate(sql);
        match self {
            Conn::Sqlite(conn) => Ok(bound!(text, args).execute(conn).await?.rows_affected()),
            Conn::Postgres(conn) => Ok(bound!(text, args).execute(conn).await?.rows_affected()),
        }
    }

    /// Begins a transaction that writes.
    pub(crate) async fn begin(&mut self) -> Result<(), sqlx::Error> {
        let sql = match self {
            // Takes the lock at once: a reader that becomes a writer could not wait for it.
            Conn::Sqlite(_) => "BEGIN IMMEDIATE",
            Conn::Postgres(_) => "BEGIN",
        };
        self.run(sql, &[]).await.map(drop)
    }

    pub(crate) async fn commit(&mut self) -> Result<(), sqlx::Error> {
        self.run("COMMIT", &[]).await.map(drop)
    }

    /// Takes a transaction back. An error means that the connection is of no use any more.
    pub(crate) async fn rollback(&mut self) -> Result<(), sqlx::Error> {
        self.run("ROLLBACK", &[]).await.map(drop)
    }
}

/// Connections for questions.
#[derive(Clone)]
pub(crate) enum Pool {
    Sqlite(SqlitePool),
    Postgres(PgPool),
}

impl Pool {
    pub(crate) async fn rows(&self, sql: &str, args: &[Arg]) -> Result<Vec<Row>, sqlx::Error> {
        match self {
            Pool::Sqlite(pool) => {
                let rows = bound!(Dialect::Sqlite.translate(sql), args).fetch_all(pool).await?;
                Ok(rows.into_iter().map(Row::Sqlite).collect())
            }
            Pool::Postgres(pool) => {
                let rows = bound!(Dialect::Postgres.translate(sql), args).fetch_all(pool).await?;
                Ok(rows.into_iter().map(Row::Postgres).collect())
            }
        }
    }

    pub(crate) async fn close(&self) {
        match self {
            Pool::Sqlite(pool) => pool.close().await,
            Pool::Postgres(pool) => pool.close().await,
        }
    }
}
