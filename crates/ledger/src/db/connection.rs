//! Connections to either database behind one interface.

#[cfg(feature = "postgres")]
use sqlx::Connection as _;
#[cfg(feature = "postgres")]
use sqlx::postgres::{PgConnection, PgPool, PgRow};
use sqlx::sqlite::{SqlitePool, SqliteRow};
use sqlx::{AssertSqlSafe, Row as _};

pub(crate) use super::rows::Arg;
use super::sqlite::{LocalRow, SqliteWriter};
use super::statement::{Dialect, RowSource, Statement, statements};

statements! {
    #[cfg(feature = "postgres")]
    BEGIN_POSTGRES = Statement::only(Dialect::Postgres, "BEGIN");
    COMMIT = Statement::new("COMMIT");
    ROLLBACK = Statement::new("ROLLBACK");
}

/// A row of a result.
pub(crate) enum Row {
    Sqlite(SqliteRow),
    Local(LocalRow),
    #[cfg(feature = "postgres")]
    Postgres(PgRow),
}

impl Row {
    pub(crate) fn int(&self, at: usize) -> Result<i64, sqlx::Error> {
        match self {
            Row::Local(row) => row.int(at),
            Row::Sqlite(row) => row.try_get(at),
            #[cfg(feature = "postgres")]
            Row::Postgres(row) => row.try_get(at),
        }
    }

    pub(crate) fn maybe_int(&self, at: usize) -> Result<Option<i64>, sqlx::Error> {
        match self {
            Row::Local(row) => row.maybe_int(at),
            Row::Sqlite(row) => row.try_get(at),
            #[cfg(feature = "postgres")]
            Row::Postgres(row) => row.try_get(at),
        }
    }

    pub(crate) fn text(&self, at: usize) -> Result<String, sqlx::Error> {
        match self {
            Row::Local(row) => row.text(at),
            Row::Sqlite(row) => row.try_get(at),
            #[cfg(feature = "postgres")]
            Row::Postgres(row) => row.try_get(at),
        }
    }

    pub(crate) fn maybe_text(&self, at: usize) -> Result<Option<String>, sqlx::Error> {
        match self {
            Row::Local(row) => row.maybe_text(at),
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

/// One connection.
pub(crate) enum Conn {
    Sqlite(SqliteWriter),
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
            Conn::Sqlite(conn) => Ok(conn.rows(&sql, args)?.into_iter().map(Row::Local).collect()),
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
            return conn.run_rows(&statement.render(Dialect::Sqlite, RowSource::Bound), rows);
        }
        let sql = statement.render(self.dialect(), RowSource::Json);
        match self {
            Conn::Sqlite(conn) => conn.run(&sql, args),
            #[cfg(feature = "postgres")]
            Conn::Postgres(conn) => Ok(bound!(sql, args).execute(conn).await?.rows_affected()),
        }
    }

    /// Begins a transaction that writes.
    pub(crate) async fn begin(&mut self) -> Result<(), sqlx::Error> {
        match self {
            Conn::Sqlite(conn) => conn.begin().await,
            #[cfg(feature = "postgres")]
            Conn::Postgres(_) => self.run(&BEGIN_POSTGRES, &[]).await.map(drop),
        }
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
            Conn::Sqlite(conn) => conn.close(),
            #[cfg(feature = "postgres")]
            Conn::Postgres(conn) => conn.close().await,
        }
    }

    /// Prepares a statement without running it, in each form that it has.
    #[cfg(test)]
    pub(crate) async fn prepare(&mut self, statement: &Statement) -> Result<(), sqlx::Error> {
        let dialect = self.dialect();
        if statement.only.is_some_and(|only| only != dialect) {
            return Ok(());
        }
        let sql = statement.render(dialect, RowSource::Json);
        match self {
            Conn::Sqlite(conn) => {
                conn.prepare(&sql)?;
                conn.prepare(&statement.render(dialect, RowSource::Bound))
            }
            #[cfg(feature = "postgres")]
            Conn::Postgres(conn) => {
                use sqlx::{Executor as _, SqlSafeStr as _};
                conn.prepare(AssertSqlSafe(sql).into_sql_str()).await.map(drop)
            }
        }
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
    use crate::db::rows::Rows;

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
