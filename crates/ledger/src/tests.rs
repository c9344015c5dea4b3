//! Tests of all statements.

use outflow_testkit::peers::Postgres;

use crate::db::address::DatabaseAddress;
use crate::db::statement::Statement;
use crate::model::{
    ContentKey, DownloadQuery, DownloadState, EventKind, EventQuery, LedgerOptions, Replay, ReplayEvents,
};
use crate::{Ledger, db, read, upkeep, webhook, write};

/// The statements of every file.
const STATEMENTS: &[&[(&str, Statement)]] = &[
    db::address::STATEMENTS,
    db::connection::STATEMENTS,
    db::database::STATEMENTS,
    db::download_row::STATEMENTS,
    db::event_row::STATEMENTS,
    read::downloads::STATEMENTS,
    read::events::STATEMENTS,
    read::links::STATEMENTS,
    upkeep::HEARTBEAT_STATEMENTS,
    upkeep::PEERS_STATEMENTS,
    upkeep::RECOVERY_STATEMENTS,
    upkeep::RETENTION_STATEMENTS,
    webhook::OUTBOX_STATEMENTS,
    write::batch::LOAD_STATEMENTS,
    write::batch::STORE_STATEMENTS,
    write::direct::STATEMENTS,
    write::writer::STATEMENTS,
];

async fn prepare_all(address: &str) {
    let mut conn = DatabaseAddress::parse(address).unwrap().prepare().await.unwrap();
    for (name, statement) in STATEMENTS.iter().copied().flatten() {
        if let Err(error) = conn.prepare(statement).await {
            panic!("{name} on {:?}: {error}", conn.dialect());
        }
    }
}

/// Statements that are put together at run time.
async fn query_with_every_condition(address: &str) {
    let ledger = Ledger::open(address, LedgerOptions::default()).unwrap();
    let text = || Some("x".to_owned());
    for states in [vec![], vec![DownloadState::Open, DownloadState::Aborted], vec![DownloadState::Completed]]
    {
        let query = DownloadQuery {
            content: Some(ContentKey([1; 16])),
            recipient: text(),
            link: text(),
            transfer: text(),
            path: text(),
            address: text(),
            states,
            before: text(),
            limit: 7,
        };
        assert!(ledger.downloads(&query).await.unwrap().is_empty());
    }
    for last in [false, true] {
        let kinds = EventKind::ALL.to_vec();
        let query = EventQuery { kinds, download: text(), after: Some(1), limit: 7, last };
        assert!(ledger.events(&query).await.unwrap().is_empty());
    }
    for events in [ReplayEvents::One("x".to_owned()), ReplayEvents::Since(jiff::Timestamp::now())] {
        assert_eq!(ledger.replay(&Replay { events, endpoint: None }).await.unwrap(), 0);
    }
}

#[tokio::test]
async fn every_statement_can_be_prepared_on_sqlite() {
    let folder = tempfile::tempdir().unwrap();
    let address = folder.path().join("ledger.db").to_str().unwrap().to_owned();
    prepare_all(&address).await;
    query_with_every_condition(&address).await;
}

#[tokio::test]
async fn every_statement_can_be_prepared_on_postgres() {
    outflow_testkit::needs!("postgres");
    let server = Postgres::start();
    prepare_all(&server.address()).await;
    query_with_every_condition(&server.address()).await;
}
