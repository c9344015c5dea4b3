//! Statements in one language for both databases.
//!
//! A statement is SQL with `$1`, `$2` … for arguments, and with placeholders where the dialects
//! differ:
//!
//! ```text
//! {{rows $1}}                the rows of argument 1, as table `k`: one statement takes any number
//! {{insert $1}} … {{end}}    the columns between, of the rows of argument 1, for an INSERT. Rows
//!                            that are bound one by one are VALUES: SQLite inserts these without
//!                            a journal for each
//! {{text 0}}                 column 0 of a row of `k`, as text
//! {{int 3}}                  column 3 of a row of `k`, as an integer
//! {{now}}                    the database's clock, in microseconds since 1970
//! {{gone i}}                 whether the process of row `i` of `instances` is known to have ended
//!                            (see `presence`); SQLite does not know
//! {{for update}}             locks the rows until the end of the transaction; nothing on SQLite,
//!                            which has one writer
//! {{for update skip locked}} the same, without the rows that another transaction has locked
//! ```
//!
//! Every statement is declared with [`statements!`], which lists it for the test that prepares all
//! of them on both databases (`crate::tests`). A declaration that the test does not know is unused
//! code, which the compiler reports.

use std::borrow::Cow;

/// A database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    Sqlite,
    Postgres,
}

/// SQL with placeholders. It is made of constants only: input is an argument.
#[derive(Clone, Debug)]
pub(crate) struct Statement {
    text: Cow<'static, str>,
    /// The only database that has it, if it is one.
    pub(super) only: Option<Dialect>,
}

/// Where `{{rows $1}}` gets its rows.
#[derive(Clone, Copy)]
pub(super) enum RowSource {
    /// From a JSON array of arrays in the argument.
    Json,
    /// From arguments: the statement has one row, and runs for each.
    Bound,
}

impl Statement {
    pub(crate) const fn new(text: &'static str) -> Statement {
        Statement { text: Cow::Borrowed(text), only: None }
    }

    /// A statement that one database alone understands.
    pub(crate) const fn only(dialect: Dialect, text: &'static str) -> Statement {
        Statement { text: Cow::Borrowed(text), only: Some(dialect) }
    }

    /// A statement that is put together from constants at run time.
    pub(crate) fn assembled(text: String) -> Statement {
        Statement { text: Cow::Owned(text), only: None }
    }

    /// What SQLite would do for it.
    #[cfg(test)]
    pub(crate) fn explained(&self) -> Statement {
        Statement { text: format!("EXPLAIN QUERY PLAN {}", self.text).into(), only: Some(Dialect::Sqlite) }
    }

    /// The SQL of `dialect`.
    pub(super) fn render(&self, dialect: Dialect, rows: RowSource) -> String {
        debug_assert!(self.only.is_none_or(|only| only == dialect), "{self:?} on {dialect:?}");
        let mut sql = String::with_capacity(self.text.len() * 2);
        let mut inserted = None;
        let mut rest = &*self.text;
        while let Some((before, placeholder)) = rest.split_once("{{") {
            let (placeholder, after) = placeholder.split_once("}}").expect("a placeholder has an end");
            sql.push_str(before);
            match (placeholder.split_once(' '), rows) {
                (Some(("insert", argument)), RowSource::Json) => {
                    sql.push_str("SELECT");
                    inserted = Some(argument);
                }
                (Some(("insert", _)), RowSource::Bound) => sql.push_str("VALUES ("),
                (None, RowSource::Bound) if placeholder == "end" => sql.push(')'),
                (None, RowSource::Json) if placeholder == "end" => {
                    let argument = inserted.take().expect("{{insert $1}} comes before {{end}}");
                    // Without WHERE, SQLite would take ON CONFLICT for the constraint of a join.
                    sql.push_str(&format!("FROM {} WHERE true", from_rows(argument, dialect, rows)));
                }
                _ => sql.push_str(&expand(placeholder, dialect, rows)),
            }
            rest = after;
        }
        sql.push_str(rest);
        sql
    }
}

fn expand(placeholder: &str, dialect: Dialect, rows: RowSource) -> Cow<'static, str> {
    let (name, operand) = placeholder.split_once(' ').unwrap_or((placeholder, ""));
    let column = || match rows {
        RowSource::Json => format!("k.value->>{operand}"),
        RowSource::Bound => {
            let column: usize = operand.parse().expect("a column is a number");
            format!("?{}", column + 1)
        }
    };
    match (name, dialect) {
        ("rows", _) => from_rows(operand, dialect, rows).into(),
        ("text", _) => column().into(),
        ("int", _) => format!("CAST({} AS bigint)", column()).into(),
        ("now", Dialect::Sqlite) => "CAST(unixepoch('subsec') * 1000000 AS bigint)".into(),
        ("now", Dialect::Postgres) => {
            "CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS bigint)".into()
        }
        ("gone", Dialect::Sqlite) => "1 = 0".into(),
        ("gone", Dialect::Postgres) => {
            let now = expand("now", dialect, rows);
            // After a restart of the database, its clients need a moment to take their locks again:
            // `presence::RECONNECT_TIME`.
            format!(
                "(greatest({operand}.beat, {now} - 5000000) \
                      > extract(epoch FROM pg_postmaster_start_time()) * 1000000 \
                  AND hashtextextended({operand}.id, 0) NOT IN (\
                      SELECT (l.classid::bigint << 32) | l.objid::bigint FROM pg_locks l \
                      WHERE l.locktype = 'advisory' AND l.objsubid = 1 AND l.granted \
                          AND l.database = (SELECT b.oid FROM pg_database b WHERE b.datname = current_database())))"
            )
            .into()
        }
        ("for", Dialect::Sqlite) => "".into(),
        ("for", Dialect::Postgres) => match operand {
            "update" => "FOR UPDATE".into(),
            "update skip locked" => "FOR UPDATE SKIP LOCKED".into(),
            _ => unreachable!("there is no placeholder {placeholder:?}"),
        },
        _ => unreachable!("there is no placeholder {placeholder:?}"),
    }
}

fn from_rows(argument: &str, dialect: Dialect, rows: RowSource) -> String {
    match (rows, dialect) {
        (RowSource::Bound, _) => "(SELECT 1) AS k".to_owned(),
        // The limit keeps SQLite from folding the subquery into the statement: there, each mention
        // of `k.value` would serialise the row again.
        (RowSource::Json, Dialect::Sqlite) => {
            format!("(SELECT value FROM json_each({argument}) LIMIT -1) AS k")
        }
        (RowSource::Json, Dialect::Postgres) => format!("json_array_elements({argument}::json) AS k(value)"),
    }
}

/// Declares the statements of a file as constants, and lists them as `STATEMENTS` for the test that
/// prepares all of them.
macro_rules! statements {
    ($($(#[$meta:meta])* $vis:vis $name:ident = $statement:expr;)+) => {
        $($(#[$meta])* $vis const $name: $crate::db::statement::Statement = $statement;)+

        #[cfg(test)]
        pub(crate) const STATEMENTS: &[(&str, $crate::db::statement::Statement)] =
            &[$((concat!(module_path!(), "::", stringify!($name)), $name)),+];
    };
}

pub(crate) use statements;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_told_apart() {
        let statement = Statement::new("SELECT {{text 1}}, {{int 10}} FROM {{rows $1}}");
        assert_eq!(
            statement.render(Dialect::Sqlite, RowSource::Bound),
            "SELECT ?2, CAST(?11 AS bigint) FROM (SELECT 1) AS k"
        );
        assert_eq!(
            statement.render(Dialect::Postgres, RowSource::Json),
            "SELECT k.value->>1, CAST(k.value->>10 AS bigint) FROM json_array_elements($1::json) AS k(value)"
        );
        let insert = Statement::new("INSERT INTO t (a) {{insert $1}} {{text 0}} {{end}}");
        assert_eq!(insert.render(Dialect::Sqlite, RowSource::Bound), "INSERT INTO t (a) VALUES ( ?1 )");
        assert_eq!(
            insert.render(Dialect::Postgres, RowSource::Json),
            "INSERT INTO t (a) SELECT k.value->>0 FROM json_array_elements($1::json) AS k(value) WHERE true"
        );
    }
}
