//! How often links may be used, and which endpoints receive which events.

use std::time::Duration;

use jiff::Timestamp;
use outflow_ledger::{
    ContentKey, Endpoint, EndpointTarget, EventFilter, EventKind, EventQuery, LedgerOptions, Replay,
    ReplayEvents, SendState,
};

use crate::common::{both, content, linked, opening, until};

#[test]
fn a_link_counts_receipts_and_is_exhausted_once() {
    both(|place| {
        let book = place.open(LedgerOptions::default());
        let anna = linked(&content(1, 1000), "anna", "l1", 2);
        assert_eq!(book.ledger.cached_link("l1"), None);
        assert_eq!(book.wait(book.ledger.link("l1")).unwrap().receipts, 0);
        book.break_off(&anna, 0..1000, 500);
        book.settle(0);
        assert_eq!(book.wait(book.ledger.link("l1")).unwrap().receipts, 0);
        assert!(book.wait(book.ledger.has_incomplete_download("l1", &ContentKey([1; 16]))).unwrap());
        for receipts in 1..=3 {
            book.deliver(&anna, 0..1000);
            book.settle(0);
            assert_eq!(book.wait(book.ledger.link("l1")).unwrap().receipts, receipts);
        }
        // Receipts of this node are known at once.
        book.deliver(&anna, 0..1000);
        book.settle(0);
        assert!(book.ledger.cached_link("l1").is_none_or(|link| link.receipts == 4));
        assert!(!book.wait(book.ledger.has_incomplete_download("l1", &ContentKey([1; 16]))).unwrap());
        assert!(!book.wait(book.ledger.has_incomplete_download("l2", &ContentKey([1; 16]))).unwrap());
        let exhausted: Vec<_> =
            book.events().into_iter().filter(|event| event.kind == EventKind::LinkExhausted).collect();
        assert_eq!(exhausted.len(), 1);
        let told: serde_json::Value = serde_json::from_str(exhausted[0].data.get()).unwrap();
        assert_eq!(told["link"]["id"], "l1");
        assert_eq!(told["link"]["recipient"], "anna");
        assert_eq!((&told["link"]["receipts"], &told["link"]["max_downloads"]), (&2.into(), &2.into()));
        book.close();
    });
}

#[test]
fn a_revoked_link_is_void_for_all_processes() {
    both(|place| {
        let (server, program) = (place.open(LedgerOptions::default()), place.open(LedgerOptions::default()));
        assert_eq!(server.wait(server.ledger.link("l1")).unwrap().revoked, None);
        program.wait(program.ledger.revoke("l1")).unwrap();
        assert!(program.wait(program.ledger.link("l1")).unwrap().revoked.is_some());
        // The cache keeps it for a second.
        until("the link is known to be revoked", || match server.ledger.cached_link("l1") {
            Some(link) => link.revoked.is_some(),
            None => server.wait(server.ledger.link("l1")).unwrap().revoked.is_some(),
        });
        let since = program.wait(program.ledger.link("l1")).unwrap().revoked;
        program.wait(program.ledger.revoke("l1")).unwrap();
        assert_eq!(program.wait(program.ledger.link("l1")).unwrap().revoked, since);
        server.close();
        program.close();
    });
}

#[test]
fn the_end_of_a_transfer_is_told_once_for_ever() {
    both(|place| {
        for _ in 0..2 {
            let book = place.open(LedgerOptions::default());
            book.wait(book.ledger.transfer_expired("t1")).unwrap();
            book.wait(book.ledger.transfer_expired("t1")).unwrap();
            assert_eq!(book.kinds(), [EventKind::TransferExpired]);
            book.close();
        }
    });
}

/// An endpoint that adds each event to a file.
fn noting(id: &str, folder: &std::path::Path, filter: EventFilter) -> Endpoint {
    use std::os::unix::fs::PermissionsExt;
    let program = folder.join(id);
    std::fs::write(&program, format!("#!/bin/sh\ncat >>{}/{id}.log\n", folder.display())).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    Endpoint { id: id.into(), filter, target: EndpointTarget::Command { program } }
}

fn noted(id: &str, folder: &std::path::Path) -> Vec<String> {
    let log = std::fs::read_to_string(folder.join(format!("{id}.log"))).unwrap_or_default();
    let id = |line: &str| {
        serde_json::from_str::<serde_json::Value>(line).unwrap()["id"].as_str().unwrap().to_owned()
    };
    log.lines().filter(|line| line.ends_with('}')).map(id).collect()
}

#[test]
fn each_event_is_told_to_those_who_want_it_and_again_when_replayed() {
    both(|place| {
        let folder = place.folder.path();
        let endpoints = vec![
            noting("all", folder, EventFilter::default()),
            noting(
                "receipts",
                folder,
                EventFilter { kinds: vec![EventKind::Completed], ..EventFilter::default() },
            ),
            noting("others", folder, EventFilter { recipient: Some("bob".into()), ..EventFilter::default() }),
        ];
        let options = LedgerOptions { endpoints, server: true, ..LedgerOptions::default() };
        let book = place.open(options.clone());
        book.deliver(&opening(&content(1, 1000), "anna"), 0..1000);
        until("all has been told", || {
            noted("all", folder).len() == 2 && noted("receipts", folder).len() == 1
        });
        let completed = book.events().pop().unwrap();
        until("it is noted", || {
            let detail = book.wait(book.ledger.event(&completed.id)).unwrap().unwrap();
            detail.sends.len() == 2 && detail.sends.iter().all(|send| send.state == SendState::Delivered)
        });
        let detail = book.wait(book.ledger.event(&completed.id)).unwrap().unwrap();
        assert_eq!((detail.sends[0].attempts, detail.sends[0].log.len()), (1, 1));
        assert_eq!(noted("others", folder), Vec::<String>::new());
        // Another process replays it.
        let program = place.open(LedgerOptions { server: false, ..options });
        let one = Replay { events: ReplayEvents::One(completed.id.clone()), endpoint: Some("others".into()) };
        assert_eq!(program.wait(program.ledger.replay(&one)).unwrap(), 1);
        let all = Replay { events: ReplayEvents::Since(Timestamp::UNIX_EPOCH), endpoint: None };
        assert_eq!(program.wait(program.ledger.replay(&all)).unwrap(), 3);
        program.close();
        book.close();
        // A server looks for waiting sends when it starts.
        let book = place.open(LedgerOptions {
            endpoints: vec![
                noting("all", folder, EventFilter::default()),
                noting("receipts", folder, EventFilter::default()),
                noting("others", folder, EventFilter::default()),
            ],
            server: true,
            ..LedgerOptions::default()
        });
        until("all was told again", || {
            noted("all", folder).len() == 4
                && noted("receipts", folder).len() == 2
                && noted("others", folder) == [completed.id.clone()]
        });
        book.close();
    });
}

#[test]
fn two_nodes_tell_each_event_once() {
    outflow_testkit::needs!("postgres");
    let place = crate::common::Place::postgres();
    let folder = place.folder.path();
    let options = || LedgerOptions {
        endpoints: vec![noting("all", folder, EventFilter::default())],
        server: true,
        ..LedgerOptions::default()
    };
    let nodes = [place.open(options()), place.open(options())];
    for number in 0..20 {
        nodes[number % 2].deliver(&opening(&content(1, 1000), &format!("recipient {number}")), 0..1000);
    }
    until("all was told", || noted("all", folder).len() >= 40);
    let query = EventQuery { limit: 100, ..EventQuery::default() };
    until("all was noted", || {
        let events = nodes[0].wait(nodes[0].ledger.events(&query)).unwrap();
        events.iter().all(|event| {
            let detail = nodes[0].wait(nodes[0].ledger.event(&event.id)).unwrap().unwrap();
            detail.sends.len() == 1 && detail.sends[0].state == SendState::Delivered
        })
    });
    let mut told = noted("all", folder);
    told.sort_unstable();
    told.dedup();
    assert_eq!((told.len(), noted("all", folder).len()), (40, 40));
    nodes.into_iter().for_each(crate::common::Book::close);
}

#[test]
fn pages_of_events_and_downloads_follow_each_other() {
    both(|place| {
        let book = place.open(LedgerOptions::default());
        for number in 0..5 {
            let mut info = (*content(number, 1000)).clone();
            info.transfer = (number < 3).then(|| "t1".into());
            book.deliver(
                &opening(&std::sync::Arc::new(info), "anna"),
                0..if number == 0 { 500 } else { 1000 },
            );
            book.settle(0);
        }
        let ask = |query: outflow_ledger::DownloadQuery| book.wait(book.ledger.downloads(&query)).unwrap();
        let query = outflow_ledger::DownloadQuery::default;
        let newest = ask(outflow_ledger::DownloadQuery { limit: 2, ..query() });
        assert_eq!(newest[0].name, "file 4.bin");
        let next =
            ask(outflow_ledger::DownloadQuery { before: Some(newest[1].id.clone()), limit: 9, ..query() });
        assert_eq!((next.len(), next[0].name.as_str()), (3, "file 2.bin"));
        assert_eq!(ask(outflow_ledger::DownloadQuery { transfer: Some("t1".into()), ..query() }).len(), 3);
        assert_eq!(ask(outflow_ledger::DownloadQuery { recipient: Some("anna".into()), ..query() }).len(), 5);
        assert_eq!(
            ask(outflow_ledger::DownloadQuery { content: Some(ContentKey([1; 16])), ..query() }).len(),
            1
        );
        assert_eq!(
            ask(outflow_ledger::DownloadQuery { path: Some("/folder/file%204".into()), ..query() }).len(),
            1
        );
        assert_eq!(
            ask(outflow_ledger::DownloadQuery {
                states: vec![outflow_ledger::DownloadState::Open],
                ..query()
            })
            .len(),
            1
        );
        let events = book.events();
        assert_eq!(events.len(), 9);
        let ask = |query: EventQuery| book.wait(book.ledger.events(&query)).unwrap();
        let after = ask(EventQuery { after: Some(events[3].seq), ..EventQuery::default() });
        assert_eq!(after[0].id, events[4].id);
        let last = ask(EventQuery { last: true, limit: 2, ..EventQuery::default() });
        assert_eq!([&last[0].id, &last[1].id], [&events[7].id, &events[8].id]);
        let of = ask(EventQuery { download: Some(newest[0].id.clone()), ..EventQuery::default() });
        assert_eq!(of.len(), 2);
        assert_eq!(ask(EventQuery { kinds: vec![EventKind::Completed], ..EventQuery::default() }).len(), 4);
        book.ledger.shut_down(Duration::from_secs(20));
        assert!(book.wait(book.ledger.events(&EventQuery::default())).is_err());
    });
}
