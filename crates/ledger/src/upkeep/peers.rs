//! Messages between the nodes of a ledger on PostgreSQL: new events, and progress of downloads.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use sqlx::postgres::PgListener;

use super::context::UpkeepContext;
use crate::db::connection::ReadPool;
use crate::db::download_row::clean;
use crate::db::rows::Rows;
use crate::db::statement::{Dialect, Statement, statements};
use crate::model::DownloadProgress;

/// Maximum size of a message in bytes. PostgreSQL accepts less than 8,000.
///
/// Bound: progress.
const MAX_MESSAGE: usize = 7_999;
/// Time before the next attempt after an error.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

statements! {
    NOTIFY_PROGRESS = Statement::only(
        Dialect::Postgres,
        "SELECT count(pg_notify('outflow_progress', {{text 0}})) FROM {{rows $1}}",
    );
}

/// A message about progress.
#[derive(Serialize, Deserialize)]
struct PeerMessage {
    /// The sender.
    node: String,
    /// `None`: updates were lost.
    progress: Option<DownloadProgress>,
}

/// Receives messages of other nodes.
pub(super) async fn listen(shared: UpkeepContext) {
    let UpkeepContext { database, context, progress, new_sends, .. } = shared;
    let ReadPool::Postgres(pool) = database.pool() else { return };
    let presence = &context.presence;
    loop {
        let listening = async {
            let mut listener = PgListener::connect_with(pool).await?;
            presence.lock(&mut listener).await?;
            listener.listen_all(["outflow_events", "outflow_progress"]).await?;
            progress.report_missed();
            loop {
                // `None`: the connection was replaced, and messages may have been lost.
                let Some(notification) = listener.try_recv().await? else {
                    presence.lock(&mut listener).await?;
                    new_sends.notify_one();
                    progress.report_missed();
                    continue;
                };
                if notification.channel() == "outflow_events" {
                    new_sends.notify_one();
                } else if let Ok(message) = serde_json::from_str::<PeerMessage>(notification.payload())
                    && message.node != presence.instance
                {
                    match message.progress {
                        Some(update) => progress.forward(update),
                        None => progress.report_missed(),
                    }
                }
            }
        };
        let result: Result<(), sqlx::Error> = listening.await;
        if let Err(error) = result {
            tracing::debug!("cannot receive messages of other nodes: {error}");
        }
        tokio::time::sleep(RETRY_PAUSE).await;
        new_sends.notify_one();
    }
}

/// Sends the progress of this node's downloads to the others.
pub(super) async fn notify(shared: UpkeepContext) {
    let UpkeepContext { database, context, progress, .. } = shared;
    let instance = &context.presence.instance;
    loop {
        progress.peer_updates_wake.notified().await;
        let mut rows = Rows::default();
        let mut put = |progress: Option<DownloadProgress>| {
            let message = PeerMessage { node: instance.clone(), progress };
            let text = serde_json::to_string(&message).expect("plain values, into memory");
            if text.len() <= MAX_MESSAGE {
                rows.row().put(&text);
            }
        };
        let updates = progress.take_peer_updates();
        for update in updates.progress.into_values() {
            let mut update = (*update).clone();
            for text in [&mut update.path, &mut update.recipient] {
                *text = clean(text, 1500).into_owned();
            }
            put(Some(update));
        }
        if updates.missed {
            put(None);
        }
        if rows.is_empty() {
            continue;
        }
        if let Err(error) = database.rows(&NOTIFY_PROGRESS, &[rows.into()]).await {
            tracing::debug!("cannot send progress to other nodes: {error}");
            tokio::time::sleep(RETRY_PAUSE).await;
            progress.peer_updates_lost();
        }
    }
}
