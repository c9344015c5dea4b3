//! How links are used.

use crate::db::connection::Row;
use crate::db::database::Database;
use crate::db::download_row::time;
use crate::db::statement::{Statement, statements};
use crate::model::{ContentKey, LedgerError, LinkState};

statements! {
    LINK = Statement::new("SELECT receipts, revoked FROM links WHERE id = $1");
    LINKS = Statement::new("SELECT receipts, revoked, id FROM links ORDER BY id LIMIT $1");
    INCOMPLETE_DOWNLOAD = Statement::new(
        "SELECT id FROM downloads WHERE link = $1 AND content = $2 AND state <> 3 LIMIT 1",
    );
}

pub(crate) async fn link(database: &Database, id: &str) -> Result<LinkState, LedgerError> {
    let rows = database.rows(&LINK, &[id.into()]).await?;
    let Some(row) = rows.first() else { return Ok(LinkState::default()) };
    state(row).map_err(|error| database.address.error(&error))
}

/// The links that were used or revoked, by id.
pub(crate) async fn links(database: &Database, limit: u32) -> Result<Vec<(String, LinkState)>, LedgerError> {
    let rows = database.rows(&LINKS, &[i64::from(limit).into()]).await?;
    let states = rows.iter().map(|row| Ok((row.text(2)?, state(row)?)));
    states.collect::<Result<_, sqlx::Error>>().map_err(|error| database.address.error(&error))
}

fn state(row: &Row) -> Result<LinkState, sqlx::Error> {
    Ok(LinkState {
        receipts: u32::try_from(row.int(0)?).unwrap_or(u32::MAX),
        revoked: row.maybe_int(1)?.map(time),
    })
}

pub(crate) async fn has_incomplete_download(
    database: &Database,
    link: &str,
    content: &ContentKey,
) -> Result<bool, LedgerError> {
    let args = [link.into(), content.to_string().as_str().into()];
    Ok(!database.rows(&INCOMPLETE_DOWNLOAD, &args).await?.is_empty())
}
