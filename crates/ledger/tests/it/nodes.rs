//! Several servers on one ledger, and servers that crash.

use std::time::{Duration, Instant};

use outflow_ledger::{DownloadQuery, DownloadState, EventKind, LedgerOptions, ProgressReport};

use crate::common::{Book, Place, both, content, end, opening, until};

const MIB: u64 = 1 << 20;

fn serving() -> LedgerOptions {
    LedgerOptions { server: true, crash_timeout: Duration::from_millis(600), ..LedgerOptions::default() }
}

/// A server that has crashed: it has written of a delivery of `carries` that `at` was reached, and
/// is gone.
fn crashed(place: &Place, carries: std::ops::Range<u64>, at: u64) {
    leave(place, serving(), carries, at);
}

fn leave(place: &Place, options: LedgerOptions, carries: std::ops::Range<u64>, at: u64) {
    let book = place.open(options);
    let anna = opening(&content(1, 1024 * MIB), "anna");
    let mut tracked = book.begin(&anna, std::slice::from_ref(&carries));
    book.settle(1);
    tracked.acked(vec![carries.start..at], at - carries.start);
    until("the checkpoint is written", || book.download().acked == at - carries.start);
    // Shut down with a delivery under way, so that its end is not written.
    book.close();
    drop(tracked);
}

#[test]
fn a_recipient_that_goes_on_vouches_for_what_it_had_before_the_crash() {
    both(|place| {
        crashed(place, 0..1024 * MIB, 100 * MIB);
        let book = place.open(serving());
        until("the crash is noticed", || book.download().state == DownloadState::Aborted);
        let events = book.events();
        assert_eq!(book.kinds(), [EventKind::Started, EventKind::Aborted]);
        let told: serde_json::Value = serde_json::from_str(events[1].data.get()).unwrap();
        assert_eq!(told["delivery"]["reason"], "the server crashed");
        assert_eq!(told["delivery"]["at"], 100 * MIB);
        // It had received a bit more than was written.
        let anna = opening(&content(1, 1024 * MIB), "anna");
        book.deliver(&anna, 103 * MIB..1024 * MIB);
        book.settle(0);
        let download = book.download();
        assert_eq!((download.state, download.inferred), (DownloadState::Completed, 3 * MIB));
        assert_eq!(book.count(EventKind::Completed), 1);
        book.close();
    });
}

#[test]
fn a_server_that_has_ended_is_known_to_have_long_before_its_lapse() {
    let serving = || LedgerOptions { crash_timeout: Duration::from_secs(3600), ..serving() };
    let anna = opening(&content(1, 1024 * MIB), "anna");
    both(|place| {
        leave(place, serving(), 0..1024 * MIB, 100 * MIB);
        let book = place.open(serving());
        assert_eq!(book.kinds(), [EventKind::Started, EventKind::Aborted]);
        book.deliver(&anna, 103 * MIB..1024 * MIB);
        book.settle(0);
        let download = book.download();
        assert_eq!((download.state, download.inferred), (DownloadState::Completed, 3 * MIB));
        book.close();
    });
    // The same on a node that was running already.
    outflow_testkit::needs!("postgres");
    let place = Place::postgres();
    let other = place.open(serving());
    let holders = holders(&place, 2);
    leave(&place, serving(), 0..1024 * MIB, 100 * MIB);
    until("the database has seen that it ended", || self::holders(&place, 2) == holders);
    other.deliver(&anna, 103 * MIB..1024 * MIB);
    other.settle(0);
    let download = other.download();
    assert_eq!((download.state, download.inferred), (DownloadState::Completed, 3 * MIB));
    assert_eq!(other.kinds(), [EventKind::Started, EventKind::Completed]);
    other.close();
}

#[test]
fn a_server_that_loses_a_connection_is_not_taken_for_dead() {
    outflow_testkit::needs!("postgres");
    let serving = || LedgerOptions { crash_timeout: Duration::from_secs(3600), ..serving() };
    let anna = opening(&content(1, 1024 * MIB), "anna");
    for which in 0..2 {
        let place = Place::postgres();
        let one = place.open(serving());
        let holders = holders(&place, 2);
        let other = place.open(serving());
        let mut first = one.begin(&anna, std::slice::from_ref(&(0..1024 * MIB)));
        one.settle(1);
        first.acked(vec![0..100 * MIB], 100 * MIB);
        until("the checkpoint is written", || one.download().acked == 100 * MIB);
        let sql = format!("SELECT pg_terminate_backend({}, 10000)::int", holders[which]);
        assert_eq!(ask(&place, &sql), [1]);
        // Another segment at the other node, as programs fetch them: nobody says that the first one
        // has come so far.
        other.deliver(&anna, 103 * MIB..1024 * MIB);
        other.settle(0);
        let download = other.download();
        assert_eq!((download.state, download.inferred), (DownloadState::Open, 0));
        end(first, &[0..103 * MIB]);
        one.settle(0);
        assert_eq!(one.download().state, DownloadState::Completed);
        one.close();
        other.close();
    }
}

/// The first column of a query's result.
fn ask(place: &Place, sql: &str) -> Vec<i32> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut conn = <sqlx::PgConnection as sqlx::Connection>::connect(&place.address).await.unwrap();
        sqlx::query_scalar(sqlx::AssertSqlSafe(sql.to_owned())).fetch_all(&mut conn).await.unwrap()
    })
}

/// The database's processes that hold the locks of servers, which are `count`.
fn holders(place: &Place, count: usize) -> Vec<i32> {
    let sql = "SELECT pid FROM pg_locks l JOIN pg_database b ON b.oid = l.database \
               WHERE b.datname = current_database() AND l.locktype = 'advisory' ORDER BY pid";
    let mut pids = Vec::new();
    until("the locks are held", || {
        pids = ask(place, sql);
        pids.len() == count
    });
    pids
}

#[test]
fn nobody_vouches_for_what_lies_beyond_the_range_or_was_asked_for_by_another() {
    both(|place| {
        crashed(place, 0..170 * MIB, 100 * MIB);
        let book = place.open(serving());
        until("the crash is noticed", || book.download().state == DownloadState::Aborted);
        let all = content(1, 1024 * MIB);
        book.deliver(&opening(&all, "anna"), 300 * MIB..1024 * MIB);
        book.deliver(&opening(&all, "bob"), 150 * MIB..1024 * MIB);
        book.settle(0);
        assert!(book.downloads().iter().all(|download| download.inferred == 0));
        assert_eq!(book.count(EventKind::Completed), 0);
        // The end of its range is a place to go on at.
        book.deliver(&opening(&all, "anna"), 170 * MIB..300 * MIB);
        book.settle(0);
        let anna = book.downloads().into_iter().find(|download| download.recipient == "anna").unwrap();
        assert_eq!((anna.inferred, anna.state), (70 * MIB, DownloadState::Completed));
        book.close();
    });
}

#[test]
fn ranges_over_two_nodes_are_one_download() {
    outflow_testkit::needs!("postgres");
    let place = Place::postgres();
    let nodes = [place.open(serving()), place.open(serving())];
    for round in 0..10 {
        let anna = opening(&content(1, 1600), &format!("anna {round}"));
        let all: Vec<_> = (0..16u64)
            .map(|n| {
                let range = n * 100..(n + 1) * 100;
                (nodes[usize::try_from(n % 2).unwrap()].begin(&anna, std::slice::from_ref(&range)), range)
            })
            .collect();
        nodes.iter().for_each(|node| node.settle(8));
        all.into_iter().for_each(|(tracked, range)| end(tracked, &[range]));
        nodes.iter().for_each(|node| node.settle(0));
    }
    let downloads = nodes[0].downloads();
    assert_eq!(downloads.len(), 10);
    assert!(
        downloads
            .iter()
            .all(|download| download.state == DownloadState::Completed && download.deliveries == 16)
    );
    assert_eq!(nodes[1].count(EventKind::Completed), 10);
    assert_eq!(nodes[1].count(EventKind::Started), 10);
    nodes.into_iter().for_each(Book::close);
}

#[test]
fn whole_downloads_on_two_nodes_at_once_are_all_counted() {
    outflow_testkit::needs!("postgres");
    let place = Place::postgres();
    let nodes = [place.open(serving()), place.open(serving())];
    let anna = opening(&content(1, 1000), "anna");
    for _ in 0..100 {
        nodes.iter().for_each(|node| node.deliver(&anna, 0..1000));
    }
    nodes.iter().for_each(|node| node.settle(0));
    assert_eq!(nodes[0].count(EventKind::Completed), 200);
    nodes.into_iter().for_each(Book::close);
}

#[test]
fn progress_is_heard_here_and_on_other_nodes() {
    both(|place| {
        let book = place.open(serving());
        let other = place.open(serving());
        let mut heard = book.ledger.subscribe();
        let mut heard_there = other.ledger.subscribe();
        let anna = opening(&content(1, 1000), "anna");
        let mut tracked = book.begin(&anna, std::slice::from_ref(&(0..1000)));
        book.settle(1);
        tracked.acked(vec![0..400], 500);
        let report = book.wait(async {
            loop {
                if let ProgressReport::Progress(report) = heard.recv().await.unwrap()
                    && report.acked > 0
                {
                    return report;
                }
            }
        });
        assert_eq!(
            (report.acked, report.sent, report.total, report.state),
            (400, 500, 1000, DownloadState::Open)
        );
        assert_eq!(report.download, book.download().id);
        if place.address.starts_with("postgres") {
            // The heartbeat finds out whether there are other nodes.
            until("it is heard on the other node", || {
                tracked.acked(vec![0..400], 501);
                heard_there.try_recv().is_ok_and(|heard| acked(&heard) == Some(400)) || {
                    tracked.acked(vec![0..400], 502);
                    false
                }
            });
        }
        end(tracked, &[0..1000]);
        let last = book.wait(async {
            loop {
                if let ProgressReport::Progress(report) = heard.recv().await.unwrap()
                    && report.state == DownloadState::Completed
                {
                    return report;
                }
            }
        });
        assert_eq!((last.acked, last.eta), (1000, Some(0)));
        book.close();
        other.close();
    });
}

/// The acknowledged bytes of a report.
fn acked(heard: &ProgressReport) -> Option<u64> {
    match heard {
        ProgressReport::Progress(progress) => Some(progress.acked),
        ProgressReport::Missed => None,
    }
}

#[test]
fn how_a_download_stands_counts_what_is_not_written_yet() {
    both(|place| {
        let book = place.open(serving());
        let anna = opening(&content(1, 1000), "anna");
        let mut tracked = book.begin(&anna, std::slice::from_ref(&(0..1000)));
        book.settle(1);
        // Long before a checkpoint, and without a subscriber.
        tracked.acked(vec![0..400], 500);
        let standing = || book.wait(book.ledger.progress(&DownloadQuery::default())).unwrap().remove(0);
        let stands = standing();
        assert_eq!((stands.acked, stands.sent, stands.state), (400, 500, DownloadState::Open));
        assert_eq!(book.download().acked, 0, "written");
        end(tracked, &[0..1000]);
        book.settle(0);
        let stands = standing();
        assert_eq!((stands.acked, stands.state, stands.eta), (1000, DownloadState::Completed, Some(0)));
        // The exact address only.
        let path = stands.path;
        for (address, count) in [(&*path, 1), (&path[..path.len() - 1], 0)] {
            let query = DownloadQuery { address: Some(address.to_owned()), ..DownloadQuery::default() };
            assert_eq!(book.wait(book.ledger.progress(&query)).unwrap().len(), count, "{address}");
        }
        book.close();
    });
}

#[test]
fn a_download_of_many_small_ranges_is_told_of_four_times_a_second() {
    let place = Place::sqlite();
    let book = place.open(serving());
    let mut heard = book.ledger.subscribe();
    let anna = opening(&content(1, 200), "anna");
    let begun = Instant::now();
    for at in 0..200 {
        book.deliver(&anna, at..at + 1);
        book.settle(0);
    }
    let mut states = Vec::new();
    while states.last() != Some(&DownloadState::Completed) {
        if let ProgressReport::Progress(progress) = book.wait(heard.recv()).unwrap() {
            states.push(progress.state);
        }
    }
    let may = begun.elapsed().as_millis() / 250 + 1;
    assert!((1..=may).contains(&(states.len() as u128)), "{} within {:?}", states.len(), begun.elapsed());
    book.close();
}
