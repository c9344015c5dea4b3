//! Connections to either database behind one interface.

use std::sync::Arc;

#[cfg(feature = "postgres")]
use sqlx::postgres::{PgConnection, PgPool, PgRow};
use sqlx::sqlite::{SqliteConnection, SqlitePool, SqliteRow};
use sqlx::{AssertSqlSafe, Connection as _, Row as _};

use super::rows::{Cell, Rows};
use super::statement::{Dialect, RowSource, Statement, statements};

statements! {
    /// Takes the write lock at once: a reader could not wait for it when it becomes a writer.
    BEGIN_SQLITE = Statement::only(Dialect::Sqlite, "BEGIN IMMEDIATE");
    #[cfg(feature = "postgres")]
    BEGIN_POSTGRES = Statement::only(Dialect::Postgres, "BEGIN");
    COMMIT = Statement::new("COMMIT");
    ROLLBACK = Statement::new("ROLLBACK");
}

/// An argument of a statement.
#[derive(Clone, Debug)]
pub(crate) enum Arg {
    Int(i64),
    Text(String),
    /// For `{{rows …}}`.
    Rows(Rows),
    NullInt,
    NullText,
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

impl From<Rows> for Arg {
    fn from(rows: Rows) -> Arg {
        Arg::Rows(rows)
    }
}

impl From<Option<i64>> for Arg {
    fn from(value: Option<i64>) -> Arg {
        value.map_or(Arg::NullInt, Arg::Int)
    }
}

impl From<Option<&str>> for Arg {
    fn from(value: Option<&str>) -> Arg {
        value.map_or(Arg::NullText, Arg::from)
    }
}

/// A row of a result.
pub(crate) enum Row {
    Sqlite(SqliteRow),
    #[cfg(feature = "postgres")]
    Postgres(PgRow),
}

impl Row {
    pub(crate) fn int(&self, at: usize) -> Result<i64, sqlx::Error> {
        match self {
            Row::Sqlite(row) => row.try_get(at),
            #[cfg(feature = "postgres")]
            Row::Postgres(row) => row.try_get(at),
        }
    }

    pub(crate) fn maybe_int(&self, at: usize) -> Result<Option<i64>, sqlx::Error> {
        match self {
            Row::Sqlite(row) => row.try_get(at),
            #[cfg(feature = "postgres")]
            Row::Postgres(row) => row.try_get(at),
        }
    }

    pub(crate) fn text(&self, at: usize) -> Result<String, sqlx::Error> {
        match self {
            Row::Sqlite(row) => row.try_get(at),
            #[cfg(feature = "postgres")]
            Row::Postgres(row) => row.try_get(at),
        }
    }

    pub(crate) fn maybe_text(&self, at: usize) -> Result<Option<String>, sqlx::Error> {
        match self {
            Row::Sqlite(row) => row.try_get(at),
            #[cfg(feature = "postgres")]
            Row::Postgres(row) => row.try_get(at),
        }
    }
}

macro_rules! bound {
    ($sql:expr, $args:expr) => {{
        let mut query = sqlx::query(AssertSqlSafe($sql));
        for arg in $args {
            query = match arg {
                Arg::Int(value) => query.bind(*value),
                Arg::Text(value) => query.bind(value.clone()),
                Arg::Rows(rows) => query.bind(rows.json(0..rows.len())),
                Arg::NullInt => query.bind(None::<i64>),
                Arg::NullText => query.bind(None::<String>),
            };
        }
        query
    }};
}

/// Numbers of rows that SQLite gets as values instead of JSON: reading a column out of JSON costs
/// more than writing it there. Each number makes a statement of its own, which stays prepared. The
/// remaining rows are JSON.
const ROWS_AS_VALUES: [usize; 2] = [128, 16];

/// Runs a statement that goes through all of `rows` and has no other argument.
async fn run_rows(
    conn: &mut SqliteConnection,
    statement: &Statement,
    rows: &Rows,
) -> Result<u64, sqlx::Error> {
    let (mut at, mut changed) = (0, 0);
    for count in ROWS_AS_VALUES {
        if rows.len() - at < count {
            continue;
        }
        let sql = statement.render(Dialect::Sqlite, RowSource::Values { count, width: rows.width() });
        while rows.len() - at >= count {
            let mut query = sqlx::query(AssertSqlSafe(sql.clone()));
            for cell in rows.cells(at..at + count) {
                query = match cell {
                    Cell::Int(value) => query.bind(*value),
                    Cell::Text(value) => query.bind(Arc::clone(value)),
                    Cell::Null => query.bind(None::<i64>),
                };
            }
            changed += query.execute(&mut *conn).await?.rows_affected();
            at += count;
        }
    }
    if at < rows.len() {
        let sql = statement.render(Dialect::Sqlite, RowSource::Json);
        let query = sqlx::query(AssertSqlSafe(sql)).bind(rows.json(at..rows.len()));
        changed += query.execute(conn).await?.rows_affected();
    }
    Ok(changed)
}

/// One connection.
pub(crate) enum Conn {
    Sqlite(SqliteConnection),
    #[cfg(feature = "postgres")]
    Postgres(PgConnection),
}

impl Conn {
    pub(crate) fn dialect(&self) -> Dialect {
        match self {
            Conn::Sqlite(_) => Dialect::Sqlite,
            #[cfg(feature = "postgres")]
            Conn::Postgres(_) => Dialect::Postgres,
        }
    }

    /// The rows of a query's result.
    pub(crate) async fn rows(
        &mut self,
        statement: &Statement,
        args: &[Arg],
    ) -> Result<Vec<Row>, sqlx::Error> {
        let sql = statement.render(self.dialect(), RowSource::Json);
        match self {
            Conn::Sqlite(conn) => {
                let rows = bound!(sql, args).fetch_all(conn).await?;
                Ok(rows.into_iter().map(Row::Sqlite).collect())
            }
            #[cfg(feature = "postgres")]
            Conn::Postgres(conn) => {
                let rows = bound!(sql, args).fetch_all(conn).await?;
                Ok(rows.into_iter().map(Row::Postgres).collect())
            }
        }
    }

    /// Runs a statement. Returns the number of rows that it has changed.
    pub(crate) async fn run(&mut self, statement: &Statement, args: &[Arg]) -> Result<u64, sqlx::Error> {
        if let (Conn::Sqlite(conn), [Arg::Rows(rows)]) = (&mut *self, args) {
            return run_rows(conn, statement, rows).await;
        }
        let sql = statement.render(self.dialect(), RowSource::Json);
        match self {
            Conn::Sqlite(conn) => Ok(bound!(sql, args).execute(conn).await?.rows_affected()),
            #[cfg(feature = "postgres")]
            Conn::Postgres(conn) => Ok(bound!(sql, args).execute(conn).await?.rows_affected()),
        }
    }

    /// Begins a transaction that writes.
    pub(crate) async fn begin(&mut self) -> Result<(), sqlx::Error> {
        let statement = match self {
            Conn::Sqlite(_) => BEGIN_SQLITE,
            #[cfg(feature = "postgres")]
            Conn::Postgres(_) => BEGIN_POSTGRES,
        };
        self.run(&statement, &[]).await.map(drop)
    }

    pub(crate) async fn commit(&mut self) -> Result<(), sqlx::Error> {
        self.run(&COMMIT, &[]).await.map(drop)
    }

    /// Rolls a transaction back. After an error the connection is unusable.
    pub(crate) async fn rollback(&mut self) -> Result<(), sqlx::Error> {
        self.run(&ROLLBACK, &[]).await.map(drop)
    }

    pub(crate) async fn close(self) -> Result<(), sqlx::Error> {
        match self {
            Conn::Sqlite(conn) => conn.close().await,
            #[cfg(feature = "postgres")]
            Conn::Postgres(conn) => conn.close().await,
        }
    }

    /// Prepares a statement without running it, in each form that it has.
    #[cfg(test)]
    pub(crate) async fn prepare(&mut self, statement: &Statement) -> Result<(), sqlx::Error> {
        use sqlx::{Executor as _, SqlSafeStr as _};

        let dialect = self.dialect();
        if statement.only.is_some_and(|only| only != dialect) {
            return Ok(());
        }
        let sql = statement.render(dialect, RowSource::Json);
        match self {
            Conn::Sqlite(conn) => {
                (&mut *conn).prepare(AssertSqlSafe(sql).into_sql_str()).await?;
                for count in ROWS_AS_VALUES {
                    let sql = statement.render(dialect, RowSource::Values { count, width: 26 });
                    (&mut *conn).prepare(AssertSqlSafe(sql).into_sql_str()).await?;
                }
            }
            #[cfg(feature = "postgres")]
            Conn::Postgres(conn) => drop(conn.prepare(AssertSqlSafe(sql).into_sql_str()).await?),
        }
        Ok(())
    }
}

/// Connections for queries, opened on demand.
#[derive(Clone)]
pub(crate) enum ReadPool {
    Sqlite(SqlitePool),
    #[cfg(feature = "postgres")]
    Postgres(PgPool),
}

impl ReadPool {
    pub(crate) fn dialect(&self) -> Dialect {
        match self {
            ReadPool::Sqlite(_) => Dialect::Sqlite,
            #[cfg(feature = "postgres")]
            ReadPool::Postgres(_) => Dialect::Postgres,
        }
    }

    pub(crate) async fn rows(&self, statement: &Statement, args: &[Arg]) -> Result<Vec<Row>, sqlx::Error> {
        match self {
            ReadPool::Sqlite(pool) => {
                let sql = statement.render(Dialect::Sqlite, RowSource::Json);
                let rows = bound!(sql, args).fetch_all(pool).await?;
                Ok(rows.into_iter().map(Row::Sqlite).collect())
            }
            #[cfg(feature = "postgres")]
            ReadPool::Postgres(pool) => {
                let sql = statement.render(Dialect::Postgres, RowSource::Json);
                let rows = bound!(sql, args).fetch_all(pool).await?;
                Ok(rows.into_iter().map(Row::Postgres).collect())
            }
        }
    }

    pub(crate) async fn close(&self) {
        match self {
            ReadPool::Sqlite(pool) => pool.close().await,
            #[cfg(feature = "postgres")]
            ReadPool::Postgres(pool) => pool.close().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::address::DatabaseAddress;

    statements! {
        UPSERT_ENDPOINTS = Statement::new(
            "INSERT INTO endpoints (id, failing, disabled, reason) \
             SELECT {{text 0}}, {{int 1}}, NULL, {{text 2}} FROM {{rows $1}} WHERE true \
             ON CONFLICT (id) DO UPDATE SET failing = excluded.failing",
        );
        DELETE_ENDPOINTS = Statement::new("DELETE FROM endpoints");
        SELECT_ENDPOINTS = Statement::only(
            Dialect::Sqlite,
            "SELECT id, failing, reason, typeof(failing) FROM endpoints ORDER BY id",
        );
    }

    #[tokio::test]
    async fn any_number_of_rows_arrives_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let address = DatabaseAddress::parse(folder.path().join("ledger").to_str().unwrap()).unwrap();
        let mut conn = address.prepare().await.unwrap();
        for (_, statement) in STATEMENTS {
            conn.prepare(statement).await.unwrap();
        }
        for count in [0, 1, 15, 16, 17, 127, 128, 129, 300] {
            conn.run(&DELETE_ENDPOINTS, &[]).await.unwrap();
            let mut rows = Rows::default();
            for number in 0..count {
                let reason = (number % 3 > 0).then(|| format!("it's \"{number}\"\n"));
                rows.row().put(&format!("{number:03}")).put(&number).put(&reason);
            }
            let again = rows.clone();
            assert_eq!(conn.run(&UPSERT_ENDPOINTS, &[rows.into()]).await.unwrap(), count);
            assert_eq!(conn.run(&UPSERT_ENDPOINTS, &[again.into()]).await.unwrap(), count);
            let found = conn.rows(&SELECT_ENDPOINTS, &[]).await.unwrap();
            assert_eq!(found.len() as u64, count);
            for (number, row) in (0_i64..).zip(&found) {
                assert_eq!(row.text(0).unwrap(), format!("{number:03}"));
                assert_eq!((row.int(1).unwrap(), row.text(3).unwrap().as_str()), (number, "integer"));
                let reason = (number % 3 > 0).then(|| format!("it's \"{number}\"\n"));
                assert_eq!(row.maybe_text(2).unwrap(), reason);
            }
        }
    }
}
