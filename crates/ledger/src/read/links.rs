//! How links are used.

use crate::db::download_row::time;
use crate::db::store::Store;
use crate::model::{ContentKey, Error, LinkState};

pub(crate) async fn link(store: &Store, id: &str) -> Result<LinkState, Error> {
    let rows = store.rows("SELECT receipts, revoked FROM links WHERE id = $1", &[id.into()]).await?;
    let Some(row) = rows.first() else { return Ok(LinkState::default()) };
    let read = || -> Result<LinkState, sqlx::Error> {
        Ok(LinkState {
            receipts: u32::try_from(row.int(0)?).unwrap_or(u32::MAX),
            revoked: row.maybe_int(1)?.map(time),
        })
    };
    read().map_err(|error| store.address.error(&error))
}

pub(crate) async fn has_open(store: &Store, link: &str, content: &ContentKey) -> Result<bool, Error> {
    let sql = "SELECT id FROM downloads WHERE link = $1 AND content = $2 AND state <> 3 LIMIT 1";
    let rows = store.rows(sql, &[link.into(), content.to_string().as_str().into()]).await?;
    Ok(!rows.is_empty())
}
