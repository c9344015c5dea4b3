//! How links are used.

use crate::db::database::Database;
use crate::db::download_row::time;
use crate::db::statement::{Statement, statements};
use crate::model::{ContentKey, LedgerError, LinkState};

statements! {
    LINK = Statement::new("SELECT receipts, revoked FROM links WHERE id = $1");
    INCOMPLETE_DOWNLOAD = Statement::new(
        "SELECT id FROM downloads WHERE link = $1 AND content = $2 AND state <> 3 LIMIT 1",
    );
}

pub(crate) async fn link(database: &Database, id: &str) -> Result<LinkState, LedgerError> {
    let rows = database.rows(&LINK, &[id.into()]).await?;
    let Some(row) = rows.first() else { return Ok(LinkState::default()) };
    let read = || -> Result<LinkState, sqlx::Error> {
        Ok(LinkState {
            receipts: u32::try_from(row.int(0)?).unwrap_or(u32::MAX),
            revoked: row.maybe_int(1)?.map(time),
        })
    };
    read().map_err(|error| database.address.error(&error))
}

pub(crate) async fn has_incomplete_download(
    database: &Database,
    link: &str,
    content: &ContentKey,
) -> Result<bool, LedgerError> {
    let args = [link.into(), content.to_string().as_str().into()];
    Ok(!database.rows(&INCOMPLETE_DOWNLOAD, &args).await?.is_empty())
}
