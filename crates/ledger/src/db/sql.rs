//! The two databases behind one face: the same statements, translated where the dialects differ.
//!
//! Statements have `$1`, `$2` … for arguments, and some words of their own: `EACH($1)` is the elements of a JSON array
//! as rows `k(value)` (so that one statement takes any number of rows), of which `k.value->>0` is the first column; `CLOCK` is
//! the database's clock; `GONE` is whether the process of the row `i` of `instances` is known to have ended (see `presence`;
//! SQLite does not know); `FOR UPDATE` and `SKIP LOCKED` vanish where there is one writer anyway.

use std::sync::Arc;

use sqlx::postgres::{PgConnection, PgPool, PgRow};
use sqlx::sqlite::{SqliteConnection, SqlitePool, SqliteRow};
use sqlx::{AssertSqlSafe, Row as _};

pub(crate) use super::address::Address;
use super::rows::Cell;
pub(crate) use super::rows::Rows;
pub(crate) use super::trouble::passes;

/// What a statement is given.
#[derive(Clone, Debug)]
pub(crate) enum Arg {
    Int(i64),
    Text(String),
    /// What `EACH` takes.
    Rows(Rows),
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
                Arg::Text(value) => query.bind(value.clone()),
                Arg::Rows(rows) => query.bind(rows.json(0..rows.len())),
                Arg::NoInt => query.bind(None::<i64>),
                Arg::NoText => query.bind(None::<String>),
            };
        }
        query
    }};
}

/// So many rows SQLite is given as values rather than as JSON, out of which it reads a column for more than it costs to write
/// it. Each number makes statements of its own, which stay prepared; what is left over is JSON.
const TOGETHER: [usize; 2] = [128, 16];

/// `sql` with so many rows in place of `EACH($1)`.
fn with_values(sql: &str, rows: usize, width: usize) -> String {
    let row = format!("({})", vec!["?"; width].join(","));
    let text = sql.replace("EACH($1)", &format!("(VALUES {}) AS k", vec![row; rows].join(",")));
    // From the last to the first: `->>1` begins `->>10`, too.
    (0..width)
        .rev()
        .fold(text, |text, at| text.replace(&format!("k.value->>{at}"), &format!("k.column{}", at + 1)))
}

/// Runs `sql`, which goes through all of `rows` and has no other argument.
async fn run_rows(conn: &mut SqliteConnection, sql: &str, rows: &Rows) -> Result<u64, sqlx::Error> {
    let (mut at, mut changed) = (0, 0);
    for together in TOGETHER {
        if rows.len() - at < together {
            continue;
        }
        let text = with_values(sql, together, rows.width());
        while rows.len() - at >= together {
            let mut query = sqlx::query(Dialect::Sqlite.translate(&text));
            for cell in rows.cells(at..at + together) {
                query = match cell {
                    Cell::Int(value) => query.bind(*value),
                    Cell::Text(value) => query.bind(Arc::clone(value)),
                    Cell::Nothing => query.bind(None::<i64>),
                };
            }
            changed += query.execute(&mut *conn).await?.rows_affected();
            at += together;
        }
    }
    if at < rows.len() {
        let query = sqlx::query(Dialect::Sqlite.translate(sql)).bind(rows.json(at..rows.len()));
        changed += query.execute(conn).await?.rows_affected();
    }
    Ok(changed)
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
        if let (Conn::Sqlite(conn), [Arg::Rows(rows)]) = (&mut *self, args) {
            return run_rows(conn, sql, rows).await;
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn any_number_of_rows_arrives_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let address = Address::parse(folder.path().join("ledger").to_str().unwrap()).unwrap();
        let mut conn = address.prepare().await.unwrap();
        let sql = "INSERT INTO endpoints (id, failing, disabled, reason) \
                   SELECT k.value->>0, CAST(k.value->>1 AS bigint), NULL, k.value->>2 FROM EACH($1) WHERE true \
                   ON CONFLICT (id) DO UPDATE SET failing = excluded.failing";
        for count in [0, 1, 15, 16, 17, 127, 128, 129, 300] {
            conn.run("DELETE FROM endpoints", &[]).await.unwrap();
            let mut rows = Rows::default();
            for number in 0..count {
                let reason = (number % 3 > 0).then(|| format!("it's \"{number}\"\n"));
                rows.row().put(&format!("{number:03}")).int(number).put(&reason);
            }
            let again = rows.clone();
            assert_eq!(conn.run(sql, &[rows.arg()]).await.unwrap(), count);
            assert_eq!(conn.run(sql, &[again.arg()]).await.unwrap(), count);
            let found = conn
                .rows("SELECT id, failing, reason, typeof(failing) FROM endpoints ORDER BY id", &[])
                .await
                .unwrap();
            assert_eq!(found.len() as u64, count);
            for (number, row) in (0_i64..).zip(&found) {
                assert_eq!(row.text(0).unwrap(), format!("{number:03}"));
                assert_eq!((row.int(1).unwrap(), row.text(3).unwrap().as_str()), (number, "integer"));
                let reason = (number % 3 > 0).then(|| format!("it's \"{number}\"\n"));
                assert_eq!(row.maybe_text(2).unwrap(), reason);
            }
        }
    }

    #[test]
    fn columns_are_told_apart() {
        let sql = "SELECT k.value->>1, k.value->>10 FROM EACH($1)";
        let values = "(?,?,?,?,?,?,?,?,?,?,?)";
        assert_eq!(
            with_values(sql, 2, 11),
            format!("SELECT k.column2, k.column11 FROM (VALUES {values},{values}) AS k")
        );
    }
}
