//! Events that rows of downloads tell instead of rows of their own.

use jiff::Timestamp;
use outflow_ledger::{
    Assurance, DeliveryEnd, DeliveryOutcome, Endpoint, EndpointTarget, EventFilter, EventKind, EventQuery,
    LedgerEvent, LedgerOptions, Replay, ReplayEvents, TransportSummary,
};

use crate::common::{Book, Place, both, content, opening};

/// Options with an endpoint, of a process that does not send.
fn with_endpoint() -> LedgerOptions {
    let endpoint = Endpoint {
        id: "e".into(),
        filter: EventFilter::default(),
        target: EndpointTarget::Command { program: "/x".into() },
    };
    LedgerOptions { endpoints: vec![endpoint], ..LedgerOptions::default() }
}

/// One download that ends in the batch in which it begins, and one that is broken off, goes on
/// through a proxy, and completes.
fn downloads(book: &Book) {
    let anna = opening(&content(1, 1000), "anna");
    let transport = TransportSummary {
        rtt_ms: 0.25,
        limited_by_client: 0.5,
        limited_by_network: 0.0,
        limited_by_server: 1.0,
        retransmitted: 7,
        rate: 1 << 40,
    };
    book.begin(&anna, &[0..1000]).ended(DeliveryEnd {
        acked: vec![0..1000],
        sent: 1000,
        outcome: DeliveryOutcome::Completed { confirmed: true },
        transport: Some(transport),
    });
    book.settle(0);
    let mut ben = opening(&content(2, 1000), "ben");
    book.break_off(&ben, 0..1000, 600);
    book.settle(0);
    ben.assurance = Assurance::Proxy;
    book.deliver(&ben, 600..1000);
    book.settle(0);
}

/// All that is told of events.
fn facts(events: &[LedgerEvent]) -> Vec<(i64, String, EventKind, Timestamp, serde_json::Value)> {
    let fact = |event: &LedgerEvent| {
        let data = serde_json::from_str(event.data.get()).unwrap();
        (event.seq, event.id.clone(), event.kind, event.timestamp, data)
    };
    events.iter().map(fact).collect()
}

fn sql(place: &Place, statement: &'static str) -> u64 {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let path = place.folder.path().join("ledger.db");
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path);
        let mut conn = sqlx::ConnectOptions::connect(&options).await.unwrap();
        sqlx::query(statement).execute(&mut conn).await.unwrap().rows_affected()
    })
}

#[test]
fn events_that_nobody_receives_have_no_rows_and_are_sent_when_an_endpoint_wants_them() {
    use EventKind::{Aborted, Completed, Started};
    both(|place| {
        let book = place.open(LedgerOptions::default());
        downloads(&book);
        let events = book.events();
        assert_eq!(book.kinds(), [Started, Completed, Started, Aborted, Completed]);
        let data = &facts(&events)[1].4;
        assert_eq!(data["delivery"]["transport"]["rate"], 1_u64 << 40);
        assert_eq!(data["download"]["acked"], 1000);
        assert_eq!(facts(&events)[2].4["download"]["assurance"], "peer");
        assert_eq!(facts(&events)[4].4["download"]["assurance"], "proxy");
        // A page at a time, from both ends, in one order.
        for after in 0..5 {
            let query = |last, limit| {
                let after = (after > 0).then(|| events[after - 1].seq);
                let query = EventQuery { after, last, limit, ..EventQuery::default() };
                facts(&book.wait(book.ledger.events(&query)).unwrap())
            };
            let rest = facts(&events[after..]);
            for limit in 1..=rest.len() {
                assert_eq!(query(false, limit), rest[..limit]);
                assert_eq!(query(true, limit), rest[rest.len() - limit..]);
            }
        }
        let of = |kinds: &[EventKind]| {
            let query = EventQuery { kinds: kinds.to_vec(), ..EventQuery::default() };
            book.wait(book.ledger.events(&query)).unwrap().len()
        };
        assert_eq!((of(&[Started]), of(&[Completed]), of(&[Aborted]), of(&[Started, Aborted])), (2, 2, 1, 3));
        book.close();
        if place.address.starts_with("sqlite:") {
            // The aborted one, and that of a download that was completed later than it began.
            assert_eq!(sql(place, "UPDATE events SET at = at"), 2);
        }

        let book = place.open(with_endpoint());
        let replay = |events| book.wait(book.ledger.replay(&Replay { events, endpoint: None })).unwrap();
        for id in [&events[1].id, "evt_", "evt_x", "evt_01kaaaaaaaaaaaaaaaaaaaaaaac"] {
            let count = replay(ReplayEvents::One(id.to_owned()));
            assert_eq!(count, u64::from(id == events[1].id), "{id}");
        }
        let sends = |event: &LedgerEvent| {
            let detail = book.wait(book.ledger.event(&event.id)).unwrap().unwrap();
            assert_eq!(facts(&[detail.event]), facts(std::slice::from_ref(event)));
            detail.sends.len()
        };
        assert_eq!(events.iter().map(sends).collect::<Vec<_>>(), [0, 1, 0, 0, 0]);
        let later = events.iter().filter(|event| event.timestamp >= events[1].timestamp).count() as u64;
        assert_eq!(replay(ReplayEvents::Since(events[1].timestamp)), later);
        assert_eq!(replay(ReplayEvents::Since(Timestamp::UNIX_EPOCH)), 5);
        assert_eq!(events.iter().map(sends).collect::<Vec<_>>(), [1; 5]);
        assert_eq!(facts(&book.events()), facts(&events));
        book.close();
    });
}

#[test]
fn a_row_tells_what_an_endpoint_was_sent() {
    let place = Place::sqlite();
    let book = place.open(with_endpoint());
    downloads(&book);
    let stored = facts(&book.events());
    book.close();
    // Those that rows of downloads tell as well: one was completed in its first batch.
    let told = "DELETE FROM events WHERE kind = 'download.started' OR kind = 'download.completed' \
                AND download IN (SELECT id FROM downloads WHERE recipient = 'anna')";
    assert_eq!(sql(&place, told), 3);
    let book = place.open(LedgerOptions::default());
    assert_eq!(facts(&book.events()), stored);
    book.close();
}
