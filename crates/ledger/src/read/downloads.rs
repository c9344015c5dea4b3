//! Downloads and their files.

use super::conditions::Where;
use crate::db::download_row::{COLUMNS, Stored, clean, state_number};
use crate::db::sql::Row;
use crate::db::store::Store;
use crate::model::{Download, DownloadQuery, Error, FileState, limit};

pub(crate) async fn download(store: &Store, id: &str) -> Result<Option<Download>, Error> {
    let sql = format!("SELECT {COLUMNS} FROM downloads d WHERE d.id = $1");
    let rows = store.rows(&sql, &[id.into()]).await?;
    Ok(list(store, &rows)?.pop())
}

pub(crate) async fn downloads(store: &Store, query: &DownloadQuery) -> Result<Vec<Download>, Error> {
    let mut filter = Where::default();
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
        // Numbers of our own, not arguments, so that the index of open downloads can be chosen.
        let states: Vec<_> = query.states.iter().map(|state| state_number(*state).to_string()).collect();
        let open = if states.iter().any(|state| state == "3") { "" } else { " AND d.state <> 3" };
        filter.conditions.push(format!("d.state IN ({}){open}", states.join(", ")));
    }
    if let Some(before) = &query.before {
        filter.and("d.id < ?", before.as_str());
    }
    let sql = format!(
        "SELECT {COLUMNS} FROM downloads d {} ORDER BY d.id DESC LIMIT {}",
        filter.text(),
        limit(query.limit)
    );
    list(store, &store.rows(&sql, &filter.args).await?)
}

fn list(store: &Store, rows: &[Row]) -> Result<Vec<Download>, Error> {
    let downloads: Result<Vec<_>, _> = rows.iter().map(|row| Ok(Stored::read(row)?.download)).collect();
    downloads.map_err(|error: sqlx::Error| store.address.error(&error))
}

pub(crate) async fn files(store: &Store, id: &str) -> Result<Option<Vec<FileState>>, Error> {
    let Some(download) = download(store, id).await? else { return Ok(None) };
    let complete = download.completed.is_some();
    if download.files.is_none() {
        return Ok(Some(vec![FileState { name: download.name, size: download.total, done: complete }]));
    }
    let failed = |error: sqlx::Error| store.address.error(&error);
    let rows = store
        .rows("SELECT parts FROM contents WHERE content = $1", &[download.content.as_str().into()])
        .await?;
    let Some(row) = rows.first() else { return Ok(None) };
    let parts: Vec<(String, u64, u64, u64)> =
        serde_json::from_str(&row.text(0).map_err(failed)?).unwrap_or_default();
    let sql = "SELECT first, past FROM fragments WHERE download = $1 ORDER BY first";
    let mut fragments = Vec::new();
    for row in store.rows(sql, &[id.into()]).await? {
        let edge = |at| row.int(at).map(|value| u64::try_from(value).unwrap_or(0));
        fragments.push(edge(0).map_err(failed)?..edge(1).map_err(failed)?);
    }
    let whole = |first: u64, past: u64| {
        let behind = fragments.partition_point(|fragment| fragment.start <= first);
        first == past || (behind > 0 && fragments[behind - 1].end >= past)
    };
    let state = |(name, size, first, past)| FileState { name, size, done: complete || whole(first, past) };
    Ok(Some(parts.into_iter().map(state).collect()))
}
