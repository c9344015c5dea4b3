//! Downloads and their files.

use super::conditions::Conditions;
use crate::db::connection::Row;
use crate::db::database::Database;
use crate::db::download_row::{DownloadRow, clean, download_columns, state_number};
use crate::db::statement::{Statement, statements};
use crate::model::{Download, DownloadQuery, DownloadState, FileState, LedgerError, result_limit};

statements! {
    DOWNLOAD = Statement::new(concat!("SELECT ", download_columns!(), " FROM downloads d WHERE d.id = $1"));
    PARTS = Statement::new("SELECT parts FROM contents WHERE content = $1");
    FRAGMENTS = Statement::new("SELECT first, past FROM fragments WHERE download = $1 ORDER BY first");
}

pub(crate) async fn download(database: &Database, id: &str) -> Result<Option<Download>, LedgerError> {
    let rows = database.rows(&DOWNLOAD, &[id.into()]).await?;
    Ok(read_downloads(database, &rows)?.pop())
}

pub(crate) async fn downloads(
    database: &Database,
    query: &DownloadQuery,
) -> Result<Vec<Download>, LedgerError> {
    let mut filter = Conditions::default();
    if let Some(content) = &query.content {
        filter.and("d.content = ?", content.to_string().as_str());
    }
    if let Some(recipient) = &query.recipient {
        filter.and("d.recipient = ?", &*clean(recipient, 1024));
    }
    if let Some(link) = &query.link {
        filter.and("d.link = ?", link.as_str());
    }
    if let Some(transfer) = &query.transfer {
        filter.and("d.transfer = ?", transfer.as_str());
    }
    if let Some(path) = &query.path {
        filter.and("substr(d.path, 1, length(?)) = ?", path.as_str());
    }
    if let Some(address) = &query.address {
        filter.and("d.path = ?", &*clean(address, 4096));
    }
    if !query.states.is_empty() {
        // Numbers instead of arguments, so that the database can use the index of incomplete
        // downloads.
        let states: Vec<_> = query.states.iter().map(|state| state_number(*state).to_string()).collect();
        let complete = query.states.contains(&DownloadState::Completed);
        let incomplete = if complete { "" } else { " AND d.state <> 3" };
        filter.and_constant(format!("d.state IN ({}){incomplete}", states.join(", ")));
    }
    if let Some(before) = &query.before {
        filter.and("d.id < ?", before.as_str());
    }
    let select = concat!("SELECT ", download_columns!(), " FROM downloads d");
    let tail = format!("ORDER BY d.id DESC LIMIT {}", result_limit(query.limit));
    let (statement, args) = filter.statement(select, &tail);
    read_downloads(database, &database.rows(&statement, &args).await?)
}

fn read_downloads(database: &Database, rows: &[Row]) -> Result<Vec<Download>, LedgerError> {
    let downloads: Result<Vec<_>, _> = rows.iter().map(|row| Ok(DownloadRow::read(row)?.download)).collect();
    downloads.map_err(|error: sqlx::Error| database.address.error(&error))
}

pub(crate) async fn files(database: &Database, id: &str) -> Result<Option<Vec<FileState>>, LedgerError> {
    let Some(download) = download(database, id).await? else { return Ok(None) };
    let complete = download.completed.is_some();
    if download.files.is_none() {
        return Ok(Some(vec![FileState { name: download.name, size: download.total, done: complete }]));
    }
    let failed = |error: sqlx::Error| database.address.error(&error);
    let rows = database.rows(&PARTS, &[download.content.as_str().into()]).await?;
    let Some(row) = rows.first() else { return Ok(None) };
    let parts: Vec<(String, u64, u64, u64)> =
        serde_json::from_str(&row.text(0).map_err(failed)?).unwrap_or_default();
    let mut fragments = Vec::new();
    for row in database.rows(&FRAGMENTS, &[id.into()]).await? {
        let offset = |column| row.int(column).map(|value| u64::try_from(value).unwrap_or(0));
        fragments.push(offset(0).map_err(failed)?..offset(1).map_err(failed)?);
    }
    let has_arrived = |start: u64, end: u64| {
        let after = fragments.partition_point(|fragment| fragment.start <= start);
        start == end || (after > 0 && fragments[after - 1].end >= end)
    };
    let state =
        |(name, size, start, end)| FileState { name, size, done: complete || has_arrived(start, end) };
    Ok(Some(parts.into_iter().map(state).collect()))
}
