//! What nodes tell each other.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sqlx::postgres::PgListener;
use tokio::sync::Notify;

use crate::db::presence::Presence;
use crate::db::sql::{Pool, Rows};
use crate::db::store::Store;
use crate::model::Progress;
use crate::read::progress::Live;

/// What nodes tell each other.
#[derive(Serialize, Deserialize)]
pub(super) struct Said {
    node: String,
    /// `None`: something could not be said.
    progress: Option<Progress>,
}

/// Hears what other nodes say: that there are events, and how downloads stand.
pub(super) async fn hear(store: Arc<Store>, presence: Arc<Presence>, live: Arc<Live>, sends: Arc<Notify>) {
    let Pool::Postgres(pool) = store.pool() else { return };
    loop {
        let listening = async {
            let mut listener = PgListener::connect_with(pool).await?;
            presence.hold(&mut listener).await?;
            listener.listen_all(["outflow_events", "outflow_progress"]).await?;
            live.missed();
            loop {
                // What was said while the connection was lost is not heard: so look.
                let Some(notification) = listener.try_recv().await? else {
                    presence.hold(&mut listener).await?;
                    sends.notify_one();
                    live.missed();
                    continue;
                };
                if notification.channel() == "outflow_events" {
                    sends.notify_one();
                } else if let Ok(said) = serde_json::from_str::<Said>(notification.payload())
                    && said.node != presence.instance
                {
                    said.progress.map_or_else(|| live.missed(), |progress| live.pass_on(progress));
                }
            }
        };
        let result: Result<(), sqlx::Error> = listening.await;
        if let Err(error) = result {
            tracing::debug!("other nodes of the ledger cannot be heard: {error}");
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        sends.notify_one();
    }
}

/// Says how downloads stand here.
pub(super) async fn say(store: Arc<Store>, instance: String, live: Arc<Live>) {
    loop {
        live.outgoing_wake.notified().await;
        let mut rows = Rows::default();
        let mut put = |progress: Option<Progress>| {
            let said = Said { node: instance.clone(), progress };
            let text = serde_json::to_string(&said).expect("plain values, into memory");
            // A notification has less than 8,000 bytes.
            if text.len() < 8000 {
                rows.row().put(&text);
            }
        };
        let outgoing = live.outgoing();
        for progress in outgoing.progress.into_values() {
            let mut progress = (*progress).clone();
            for text in [&mut progress.path, &mut progress.recipient] {
                *text = crate::db::download_row::clean(text, 1500).into_owned();
            }
            put(Some(progress));
        }
        if outgoing.missed {
            put(None);
        }
        if rows.is_empty() {
            continue;
        }
        let sql = "SELECT count(pg_notify('outflow_progress', k.value->>0)) FROM EACH($1)";
        if let Err(error) = store.rows(sql, &[rows.arg()]).await {
            tracing::debug!("other nodes of the ledger could not be told of progress: {error}");
            tokio::time::sleep(Duration::from_secs(1)).await;
            live.unsaid();
        }
    }
}
