//! Counts of deliveries, by day and file.

use jiff::civil::Date;
use jiff::{Timestamp, tz};

use super::conditions::Conditions;
use crate::db::connection::Row;
use crate::db::database::Database;
use crate::db::download_row::clean;
use crate::model::{CountQuery, DailyCount, LedgerError, result_limit};

pub(crate) async fn counts(database: &Database, query: &CountQuery) -> Result<Vec<DailyCount>, LedgerError> {
    let mut filter = Conditions::default();
    if let Some(path) = &query.path {
        filter.and("substr(c.path, 1, length(?)) = ?", path.as_str());
    }
    if let Some(address) = &query.address {
        filter.and("c.path = ?", &*clean(address, 4096));
    }
    let select =
        "SELECT c.day, c.content, c.path, c.deliveries, c.completed, c.broken, c.bytes FROM counts c";
    let tail = format!("ORDER BY c.day DESC, c.path, c.content LIMIT {}", result_limit(query.limit));
    let (statement, args) = filter.statement(select, &tail);
    let rows = database.rows(&statement, &args).await?;
    let counts: Result<Vec<_>, sqlx::Error> = rows.iter().map(read).collect();
    counts.map_err(|error| database.address.error(&error))
}

fn read(row: &Row) -> Result<DailyCount, sqlx::Error> {
    let number = |column| row.int(column).map(|value| u64::try_from(value).unwrap_or(0));
    Ok(DailyCount {
        day: day(row.int(0)?),
        content: row.text(1)?,
        path: row.text(2)?,
        deliveries: number(3)?,
        completed: number(4)?,
        broken: number(5)?,
        bytes: number(6)?,
    })
}

/// The day with this number of days since 1970.
fn day(number: i64) -> Date {
    let at = Timestamp::from_second(number.saturating_mul(24 * 3600)).unwrap_or_default();
    at.to_zoned(tz::TimeZone::UTC).date()
}
