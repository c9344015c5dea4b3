//! Tests of all statements, and of a ledger that an older version has written.

use std::sync::Arc;
use std::time::Duration;

use outflow_testkit::peers::Postgres;

use crate::db::address::{DatabaseAddress, old_sqlite};
use crate::db::statement::Statement;
use crate::model::{
    Assurance, ContentInfo, ContentKey, DeliveryEnd, DeliveryOutcome, DownloadQuery, DownloadState, Endpoint,
    EndpointTarget, EventFilter, EventKind, EventQuery, LedgerOptions, NewDelivery, Recipient, Replay,
    ReplayEvents, SendState,
};
use crate::{Ledger, db, read, upkeep, webhook, write};

/// The statements of every file.
const STATEMENTS: &[&[(&str, Statement)]] = &[
    db::address::STATEMENTS,
    db::connection::STATEMENTS,
    db::database::STATEMENTS,
    db::download_row::STATEMENTS,
    db::event_row::STATEMENTS,
    db::sequence::STATEMENTS,
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

/// What version 3 of the tables has: a receipt with its events, one of them on its way to an
/// endpoint; a download that was aborted in the middle; a link.
const OLD_ROWS: [&str; 8] = [
    "INSERT INTO links (id, receipts, exhausted) VALUES ('l1', 7, 0)",
    "INSERT INTO downloads VALUES ('dl_01kaaaaaaaaaaaaaaaaaaaaaaa', 'anna', '01010101010101010101010101010101', 1, 3, \
         'v1', 'a.bin', '/a.bin', NULL, 1, NULL, '192.0.2.1', 'test/1', 1000, 1000, 0, NULL, NULL, 2, 1, 1, \
         1795420800000000, 1795420800500000, 1795420800500000, 1, 0)",
    "INSERT INTO downloads VALUES ('dl_01kbbbbbbbbbbbbbbbbbbbbbbb', 'ben', '01010101010101010101010101010101', 1, 1, \
         'v1', 'a.bin', '/a.bin', NULL, 0, 'l1', NULL, NULL, 1000, 600, 0, NULL, NULL, 1, 0, 0, \
         1795420801000000, 1795420801500000, NULL, 0, 1)",
    "INSERT INTO fragments VALUES ('dl_01kbbbbbbbbbbbbbbbbbbbbbbb', 0, 600)",
    "INSERT INTO events (id, kind, download, at, data) VALUES \
         ('evt_01kaaaaaaaaaaaaaaaaaaaaaaas', 'download.started', 'dl_01kaaaaaaaaaaaaaaaaaaaaaaa', 1795420800000000, \
             '{\"download\":{\"id\":\"dl_01kaaaaaaaaaaaaaaaaaaaaaaa\"}}'), \
         ('evt_01kaaaaaaaaaaaaaaaaaaaaaaac', 'download.completed', 'dl_01kaaaaaaaaaaaaaaaaaaaaaaa', 1795420800500000, \
             '{\"download\":{\"id\":\"dl_01kaaaaaaaaaaaaaaaaaaaaaaa\"}}')",
    "INSERT INTO events (id, kind, download, at, data) VALUES \
         ('evt_01kbbbbbbbbbbbbbbbbbbbbbbbs', 'download.started', 'dl_01kbbbbbbbbbbbbbbbbbbbbbbb', 1795420801000000, \
             '{\"download\":{\"id\":\"dl_01kbbbbbbbbbbbbbbbbbbbbbbb\"}}'), \
         ('evt_01kbbbbbbbbbbbbbbbbbbbbbbba0123', 'download.aborted', 'dl_01kbbbbbbbbbbbbbbbbbbbbbbb', 1795420801500000, \
             '{\"download\":{\"id\":\"dl_01kbbbbbbbbbbbbbbbbbbbbbbb\"}}')",
    "INSERT INTO sends VALUES ('evt_01kaaaaaaaaaaaaaaaaaaaaaaac', 'e', 0, 1795420800500000, 1795420800500000, 0, 0, \
         NULL, '[]')",
    "INSERT INTO instances (id, beat, batch) VALUES ('node_1', 0, 9)",
];

#[tokio::test]
async fn a_ledger_of_the_version_before_keeps_downloads_events_and_links() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    let mut old = old_sqlite(&path, 3).await;
    for rows in OLD_ROWS {
        sqlx::query(rows).execute(&mut old).await.unwrap();
    }
    sqlx::Connection::close(old).await.unwrap();
    let endpoint = Endpoint {
        id: "e".into(),
        filter: EventFilter::default(),
        target: EndpointTarget::Command { program: "/x".into() },
    };
    // Not a server, so that nothing is sent.
    let open = |endpoints| {
        let options = LedgerOptions { endpoints, ..LedgerOptions::default() };
        Ledger::open(path.to_str().unwrap(), options).unwrap()
    };
    let ledger = open(Vec::new());
    let downloads = ledger.downloads(&DownloadQuery::default()).await.unwrap();
    let brief: Vec<_> =
        downloads.iter().map(|of| (of.recipient.as_str(), of.state, of.acked, of.assurance)).collect();
    assert_eq!(
        brief,
        [
            ("ben", DownloadState::Aborted, 600, Assurance::Peer),
            ("anna", DownloadState::Completed, 1000, Assurance::Proxy),
        ]
    );
    let events = async |ledger: &Ledger, after| {
        let query = EventQuery { after, limit: 100, ..EventQuery::default() };
        ledger.events(&query).await.unwrap()
    };
    let before = events(&ledger, None).await;
    let letters: Vec<_> = before.iter().map(|event| (event.seq, event.kind)).collect();
    use EventKind::{Aborted, Completed, Started};
    assert_eq!(letters, [(1, Started), (2, Completed), (3, Started), (4, Aborted)]);
    let waiting = ledger.event("evt_01kaaaaaaaaaaaaaaaaaaaaaaac").await.unwrap().unwrap();
    assert_eq!((waiting.sends.len(), waiting.sends[0].state), (1, SendState::Waiting));
    assert_eq!(ledger.link("l1").await.unwrap().receipts, 7);
    let key = ContentKey([1; 16]);
    assert!(ledger.has_incomplete_download("l1", &key).await.unwrap());

    // Both recipients come again: one resumes, the other begins once more.
    let content = Arc::new(ContentInfo {
        key,
        etag: "v1".into(),
        length: 1000,
        name: "a.bin".into(),
        path: "/a.bin".into(),
        transfer: None,
        parts: None,
    });
    for (recipient, range) in [("ben", 600..1000), ("anna", 0..1000)] {
        let mut delivery = ledger
            .track(NewDelivery {
                content: Arc::clone(&content),
                recipient: Recipient { id: recipient.into(), weak: true },
                link: None,
                client: None,
                user_agent: None,
                assurance: Assurance::Peer,
            })
            .unwrap();
        delivery.started(vec![range.clone()]);
        let outcome = DeliveryOutcome::Completed { confirmed: true };
        let sent = range.end - range.start;
        delivery.ended(DeliveryEnd { acked: vec![range], sent, outcome, transport: None });
    }
    ledger.shut_down(Duration::from_secs(20));
    let ledger = open(vec![endpoint]);
    let downloads = ledger.downloads(&DownloadQuery::default()).await.unwrap();
    let brief: Vec<_> = downloads.iter().map(|of| (of.recipient.as_str(), of.generation, of.state)).collect();
    let done = DownloadState::Completed;
    assert_eq!(brief, [("anna", 2, done), ("ben", 1, done), ("anna", 1, done)]);
    assert_eq!(ledger.link("l1").await.unwrap().receipts, 8);
    let new = events(&ledger, Some(4)).await;
    let told: Vec<_> = new.iter().map(|event| event.kind).collect();
    assert_eq!(told, [Completed, Started, Completed]);
    assert!(new.iter().all(|event| event.seq > 4));
    // Stored ones and told ones are sent again alike.
    let events = ReplayEvents::Since(jiff::Timestamp::UNIX_EPOCH);
    assert_eq!(ledger.replay(&Replay { events, endpoint: None }).await.unwrap(), 7);
    ledger.shut_down(Duration::from_secs(20));
}
