//! What counts as a download, and what does not.

use std::ops::Range;
use std::sync::Arc;

use outflow_ledger::{
    Assurance, ContentInfo, CountQuery, DeliveryEnd, DeliveryOutcome, DownloadQuery, DownloadState, Endpoint,
    EndpointTarget, EventFilter, EventKind, LedgerEvent, LedgerOptions,
};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use crate::common::{Book, abort, archive, both, close, content, end, opening};

/// The data of an event.
fn data(event: &LedgerEvent) -> serde_json::Value {
    serde_json::from_str(event.data.get()).unwrap()
}

#[test]
fn a_delivery_of_everything_is_a_receipt() {
    both(|place| {
        let book = place.open(LedgerOptions::default());
        let anna = opening(&content(1, 1000), "anna");
        book.deliver(&anna, 0..1000);
        book.settle(0);
        let download = book.download();
        assert_eq!(
            (download.state, download.acked, download.generation),
            (DownloadState::Completed, 1000, 1)
        );
        assert!(download.confirmed && download.weak && download.completed.is_some());
        assert_eq!(download.deliveries, 1);
        let events = book.events();
        assert_eq!(book.kinds(), [EventKind::Started, EventKind::Completed]);
        assert_eq!(data(&events[0])["download"]["state"], "open");
        assert_eq!(data(&events[1])["download"]["id"], download.id.as_str());
        assert_eq!(data(&events[1])["download"]["acked"], 1000);
        book.close();
    });
}

#[test]
fn sixteen_ranges_at_once_are_one_download() {
    both(|place| {
        let book = place.open(LedgerOptions::default());
        let anna = opening(&content(1, 1600), "anna");
        let deliveries: Vec<_> = (0..16)
            .map(|n| n * 100..(n + 1) * 100)
            .map(|range| (book.begin(&anna, std::slice::from_ref(&range)), range))
            .collect();
        book.settle(16);
        for (n, (tracked, range)) in deliveries.into_iter().enumerate() {
            assert_eq!(book.count(EventKind::Completed), 0, "before the delivery {n}");
            end(tracked, &[range]);
            book.settle(15 - n);
        }
        let download = book.download();
        assert_eq!(
            (download.state, download.acked, download.deliveries),
            (DownloadState::Completed, 1600, 16)
        );
        assert_eq!(book.kinds(), [EventKind::Started, EventKind::Completed]);
        book.close();
    });
}

#[test]
fn a_download_goes_on_after_it_was_broken_off() {
    both(|place| {
        let book = place.open(LedgerOptions::default());
        let anna = opening(&content(1, 1000), "anna");
        book.break_off(&anna, 0..1000, 999);
        book.settle(0);
        let download = book.download();
        assert_eq!((download.state, download.acked), (DownloadState::Aborted, 999));
        let aborted = &book.events()[1];
        assert_eq!(aborted.kind, EventKind::Aborted);
        let told = data(aborted);
        assert_eq!(told["delivery"]["at"], 999);
        assert_eq!(told["delivery"]["reason"], "the client went away");
        assert_eq!(told["delivery"]["sent"], 999);
        assert_eq!(told["download"]["state"], "aborted");
        // The database has it, not this process.
        book.close();
        let book = place.open(LedgerOptions::default());
        let rest = book.begin(&anna, &[999..1000]);
        book.settle(1);
        assert_eq!(book.download().state, DownloadState::Open);
        end(rest, &[999..1000]);
        book.settle(0);
        assert_eq!(book.download().state, DownloadState::Completed);
        assert_eq!(book.kinds(), [EventKind::Started, EventKind::Aborted, EventKind::Completed]);
        book.close();
    });
}

#[test]
fn it_is_aborted_when_the_last_delivery_under_way_breaks_off() {
    both(|place| {
        let book = place.open(LedgerOptions::default());
        let anna = opening(&content(1, 1000), "anna");
        let first = book.begin(&anna, &[0..500]);
        let second = book.begin(&anna, &[500..1000]);
        book.settle(2);
        abort(first, &[0..100]);
        book.settle(1);
        assert_eq!((book.download().state, book.count(EventKind::Aborted)), (DownloadState::Open, 0));
        close(second, &[500..600], DeliveryOutcome::Failed("the file was changed".into()));
        book.settle(0);
        assert_eq!(book.download().state, DownloadState::Failed);
        assert_eq!(book.kinds(), [EventKind::Started, EventKind::Failed]);
        let told = data(&book.events()[1]);
        assert_eq!(told["delivery"]["at"], 600);
        assert_eq!(told["delivery"]["ranges"][0]["start"], 500);
        book.close();
    });
}

#[test]
fn overlapping_ranges_are_counted_once() {
    both(|place| {
        let book = place.open(LedgerOptions::default());
        let anna = opening(&content(1, 1000), "anna");
        for range in [0..300, 200..500, 100..400, 450..451, 900..1000] {
            book.deliver(&anna, range);
            book.settle(0);
        }
        assert_eq!((book.download().acked, book.download().state), (600, DownloadState::Open));
        book.deliver(&anna, 400..950);
        book.settle(0);
        assert_eq!((book.download().acked, book.download().state), (1000, DownloadState::Completed));
        book.close();
    });
}

#[test]
fn recipients_and_contents_are_kept_apart() {
    both(|place| {
        let book = place.open(LedgerOptions::default());
        let (one, two) = (content(1, 1000), content(2, 1000));
        book.deliver(&opening(&one, "anna"), 0..500);
        book.deliver(&opening(&one, "bob"), 500..1000);
        book.deliver(&opening(&two, "anna"), 500..1000);
        book.settle(0);
        assert_eq!(book.downloads().len(), 3);
        assert_eq!(book.count(EventKind::Completed), 0);
        book.deliver(&opening(&one, "anna"), 500..1000);
        book.settle(0);
        assert_eq!(book.count(EventKind::Completed), 1);
        book.close();
    });
}

#[test]
fn a_second_real_download_counts_again_and_a_straggling_range_does_not() {
    both(|place| {
        let book = place.open(LedgerOptions::default());
        let anna = opening(&content(1, 1000), "anna");
        let straggler = book.begin(&anna, &[500..1000]);
        book.settle(1);
        book.deliver(&anna, 0..1000);
        book.settle(1);
        end(straggler, &[500..1000]);
        book.settle(0);
        assert_eq!(book.downloads().len(), 1);
        book.deliver(&anna, 0..1000);
        book.settle(0);
        let generations: Vec<_> = book.downloads().iter().map(|download| download.generation).collect();
        assert_eq!(generations, [2, 1]);
        assert_eq!(book.count(EventKind::Completed), 2);
        book.close();
    });
}

#[test]
fn a_whole_second_download_that_overlapped_the_first_counts() {
    both(|place| {
        let book = place.open(LedgerOptions::default());
        let anna = opening(&content(1, 1000), "anna");
        let first = book.begin(&anna, std::slice::from_ref(&(0..1000)));
        let second = book.begin(&anna, std::slice::from_ref(&(0..1000)));
        book.settle(2);
        end(second, &[0..1000]);
        book.settle(1);
        end(first, &[0..1000]);
        book.settle(0);
        assert_eq!(
            book.kinds(),
            [EventKind::Started, EventKind::Completed, EventKind::Started, EventKind::Completed]
        );
        assert_eq!(book.downloads().len(), 2);
        book.close();
    });
}

#[test]
fn whole_downloads_in_one_batch_are_counted_each() {
    both(|place| {
        let book = place.open(LedgerOptions::default());
        let anna = opening(&content(1, 1000), "anna");
        let all: Vec<_> = (0..50).map(|_| book.begin(&anna, std::slice::from_ref(&(0..1000)))).collect();
        all.into_iter().for_each(|tracked| end(tracked, &[0..1000]));
        for _ in 0..50 {
            book.deliver(&anna, 0..1000);
        }
        book.settle(0);
        let mut generations: Vec<_> = book.downloads().iter().map(|download| download.generation).collect();
        generations.sort_unstable();
        assert_eq!(generations, (1..=100).collect::<Vec<_>>());
        book.close();
    });
}

#[test]
fn an_empty_content_is_complete_when_its_delivery_is() {
    both(|place| {
        let book = place.open(LedgerOptions::default());
        let anna = opening(&content(1, 0), "anna");
        abort(book.begin(&anna, &[]), &[]);
        book.settle(0);
        assert_eq!(book.count(EventKind::Completed), 0);
        end(book.begin(&anna, &[]), &[]);
        book.settle(0);
        assert_eq!(book.download().state, DownloadState::Completed);
        book.close();
    });
}

#[test]
fn a_delivery_that_never_starts_leaves_nothing() {
    both(|place| {
        let book = place.open(LedgerOptions::default());
        let anna = opening(&content(1, 1000), "anna");
        drop(book.ledger.track(anna.clone()).unwrap());
        assert_eq!(book.ledger.status().waiting, 0);
        // A delivery that is dropped after its start is aborted where it was.
        let mut given_up = book.begin(&anna, std::slice::from_ref(&(0..1000)));
        given_up.acked(vec![0..10], 20);
        drop(given_up);
        book.settle(0);
        assert_eq!((book.download().state, book.download().acked), (DownloadState::Aborted, 10));
        book.close();
    });
}

#[test]
fn the_weakest_assurance_of_its_deliveries_is_the_downloads() {
    both(|place| {
        let book = place.open(LedgerOptions::default());
        let mut anna = opening(&content(1, 1000), "anna");
        book.deliver(&anna, 0..500);
        anna.assurance = Assurance::Proxy;
        book.deliver(&anna, 500..600);
        anna.assurance = Assurance::Peer;
        book.deliver(&anna, 600..1000);
        book.settle(0);
        assert_eq!(
            (book.download().assurance, book.download().state),
            (Assurance::Proxy, DownloadState::Completed)
        );
        book.close();
    });
}

#[test]
fn every_other_byte_makes_many_fragments_and_still_completes() {
    both(|place| {
        let book = place.open(LedgerOptions::default());
        let anna = opening(&content(1, 4000), "anna");
        for start in (0..4000).step_by(400) {
            let holes: Vec<Range<u64>> = (start..start + 400).step_by(2).map(|at| at..at + 1).collect();
            end(book.begin(&anna, &holes), &holes);
        }
        book.settle(0);
        assert_eq!((book.download().acked, book.download().state), (2000, DownloadState::Open));
        book.deliver(&anna, 1..3999);
        book.settle(0);
        assert_eq!(book.download().acked, 3999);
        book.deliver(&anna, 3999..4000);
        book.settle(0);
        assert_eq!(book.download().state, DownloadState::Completed);
        book.close();
    });
}

#[test]
fn an_archive_knows_which_of_its_files_have_arrived() {
    both(|place| {
        let book = place.open(LedgerOptions::default());
        let anna = opening(&archive(1, 40, 1000), "anna");
        book.deliver(&anna, 0..500);
        book.settle(0);
        book.deliver(&anna, 500..36_999);
        book.deliver(&anna, 39_000..40_000);
        book.settle(0);
        let download = book.download();
        assert_eq!((download.files_done, download.files), (Some(37), Some(40)));
        let files = book.wait(book.ledger.files(&download.id)).unwrap().unwrap();
        assert_eq!(files.len(), 40);
        let missing: Vec<_> = files.iter().filter(|file| !file.done).map(|file| file.name.as_str()).collect();
        assert_eq!(missing, ["file 36", "file 37", "file 38"]);
        book.deliver(&anna, 36_999..40_100);
        book.settle(0);
        assert_eq!(book.download().files_done, Some(40));
        let files = book.wait(book.ledger.files(&download.id)).unwrap().unwrap();
        assert!(files.iter().all(|file| file.done));
        book.close();
    });
}

#[test]
fn tenths_are_told_if_asked_for() {
    both(|place| {
        let book = place.open(LedgerOptions { progress_events: true, ..LedgerOptions::default() });
        let anna = opening(&content(1, 1000), "anna");
        for range in [0..50, 50..150, 150..160, 160..555, 555..1000] {
            book.deliver(&anna, range);
            book.settle(0);
        }
        assert_eq!(
            book.kinds(),
            [EventKind::Started, EventKind::Progress, EventKind::Progress, EventKind::Completed]
        );
        book.close();
    });
}

#[test]
fn no_text_from_outside_makes_an_event_too_long_or_the_database_refuse_it() {
    both(|place| {
        let book = place.open(LedgerOptions::default());
        let mut info = (*content(1, 1000)).clone();
        info.name = "\"\\\0\u{1}ä".repeat(1000);
        info.path = "/\"\0".repeat(30_000);
        info.etag = "\u{7f}".repeat(9000);
        info.transfer = Some("\\".repeat(9000));
        let mut anna = opening(&std::sync::Arc::new(info), &"\0ä".repeat(5000));
        anna.user_agent = Some("\"".repeat(5000));
        close(
            book.begin(&anna, std::slice::from_ref(&(0..1000))),
            &[],
            DeliveryOutcome::Failed("\"\0".repeat(5000)),
        );
        book.settle(0);
        for event in book.events() {
            assert!(serde_json::to_string(&event).unwrap().len() < 20_000);
            assert!(data(&event)["download"]["name"].is_string());
        }
        assert_eq!(book.download().state, DownloadState::Failed);
        book.deliver(&anna, 0..1000);
        book.settle(0);
        assert_eq!(book.download().state, DownloadState::Completed);
        book.close();
    });
}

/// Deliveries of random ranges, some broken off, in batches as they come, against a bitmap.
fn like_a_bitmap(book: &Book, recipient: &str, plan: &[(u64, u64, u64, bool)]) -> Result<(), TestCaseError> {
    const LENGTH: u64 = 97;
    let anna = opening(&content(1, LENGTH), recipient);
    let mut bitmap = [false; 97];
    let mut receipts = 0;
    for (start, length, acked, wait) in plan {
        let range = *start..(start + length).min(LENGTH);
        let at = (range.start + acked).min(range.end);
        let tracked = book.begin(&anna, std::slice::from_ref(&range));
        if at == range.end {
            end(tracked, &[range.start..at])
        } else {
            abort(tracked, &[range.start..at])
        }
        bitmap[usize::try_from(range.start).unwrap()..usize::try_from(at).unwrap()].fill(true);
        if bitmap.iter().all(|bit| *bit) {
            receipts += 1;
            bitmap.fill(false);
        }
        if *wait {
            book.settle(0);
        }
    }
    book.settle(0);
    let query = DownloadQuery { recipient: Some(recipient.into()), ..DownloadQuery::default() };
    let downloads = book.wait(book.ledger.downloads(&query)).unwrap();
    let (complete, open): (Vec<_>, Vec<_>) =
        downloads.into_iter().partition(|download| download.state == DownloadState::Completed);
    prop_assert_eq!(complete.len(), receipts);
    prop_assert!(open.len() <= 1);
    let acked = open.first().map_or(0, |download| download.acked);
    prop_assert_eq!(acked, bitmap.iter().filter(|bit| **bit).count() as u64);
    Ok(())
}

#[test]
fn downloads_are_what_a_bitmap_says() {
    let range = (0u64..97, 1u64..60, 0u64..60, proptest::bool::weighted(0.1));
    let plans = proptest::collection::vec(range, 1..30);
    both(|place| {
        let book = place.open(LedgerOptions::default());
        let recipients = std::cell::Cell::new(0);
        let mut runner = TestRunner::new(ProptestConfig { cases: 64, ..ProptestConfig::default() });
        let held = runner.run(&plans, |plan| {
            recipients.set(recipients.get() + 1);
            like_a_bitmap(&book, &format!("recipient {}", recipients.get()), &plan)
        });
        held.unwrap();
        book.close();
    });
}

/// A delivery of the rest from `from` on that is broken off: so much of it acknowledged, so much
/// sent.
fn cut(book: &Book, opening: &outflow_ledger::NewDelivery, range: Range<u64>, acked: u64, sent: u64) {
    let tracked = book.begin(opening, std::slice::from_ref(&range));
    tracked.ended(outflow_ledger::DeliveryEnd {
        acked: (acked > range.start).then_some(range.start..acked).into_iter().collect(),
        sent,
        outcome: DeliveryOutcome::Aborted("the client went away".into()),
        transport: None,
    });
    book.settle(0);
}

#[test]
fn who_has_read_on_behind_the_last_acknowledgement_goes_on_there() {
    // TCP may hold an acknowledgement back, and a connection that is reset never sends it.
    both(|place| {
        let book = place.open(LedgerOptions::default());
        let anna = opening(&content(1, 1_000_000), "anna");
        cut(&book, &anna, 0..1_000_000, 60_000, 900_000);
        assert_eq!(book.download().acked, 60_000);
        // Another process continues as well.
        book.close();
        let book = place.open(LedgerOptions::default());
        cut(&book, &anna, 70_000..1_000_000, 500_000, 500_000);
        assert_eq!((book.download().acked, book.download().inferred), (500_000, 10_000));
        book.deliver(&anna, 500_100..1_000_000);
        book.settle(0);
        let download = book.download();
        assert_eq!((download.state, download.inferred), (DownloadState::Completed, 10_100));
        book.close();
    });
}

#[test]
fn who_jumps_has_not_read_on() {
    both(|place| {
        let book = place.open(LedgerOptions::default());
        let anna = opening(&content(1, 10_000_000), "anna");
        cut(&book, &anna, 0..10_000_000, 100_000, 5_000_000);
        book.deliver(&anna, 400_000..10_000_000);
        book.settle(0);
        let download = book.download();
        assert_eq!((download.state, download.acked, download.inferred), (DownloadState::Open, 9_700_000, 0));
        // Bytes that were never sent cannot have been read.
        let bea = opening(&content(2, 1_000), "bea");
        cut(&book, &bea, 0..1_000, 500, 600);
        book.deliver(&bea, 700..1_000);
        book.settle(0);
        let bea = book.downloads().into_iter().find(|download| download.recipient == "bea").unwrap();
        assert_eq!((bea.acked, bea.inferred), (800, 0));
        book.close();
    });
}

#[test]
fn what_is_counted_has_no_row_and_no_event() {
    both(|place| {
        let book = place.open(LedgerOptions { backlog: 0, ..LedgerOptions::default() });
        let (one, two) = (content(1, 1000), content(2, 500));
        let deliver = |content: &Arc<ContentInfo>, acked: u64, outcome: DeliveryOutcome| {
            let mut counted = book.ledger.count(Arc::clone(content));
            counted.started(vec![0..content.length]);
            counted.acked(vec![0..acked / 2], acked / 2);
            counted.ended(DeliveryEnd { acked: vec![0..acked], sent: acked, outcome, transport: None });
        };
        let completed = || DeliveryOutcome::Completed { confirmed: true };
        deliver(&one, 1000, completed());
        deliver(&one, 1000, completed());
        deliver(&one, 300, DeliveryOutcome::Aborted("left".into()));
        deliver(&two, 500, completed());
        // Dropped while it was under way, and before.
        let mut dropped = book.ledger.count(Arc::clone(&two));
        dropped.started(vec![0..500]);
        dropped.acked(vec![0..20], 20);
        drop(dropped);
        drop(book.ledger.count(Arc::clone(&two)));
        book.close();
        // A second process adds to the same day.
        let book = place.open(LedgerOptions::default());
        let mut counted = book.ledger.count(Arc::clone(&two));
        counted.started(vec![100..200]);
        counted.ended(DeliveryEnd {
            acked: vec![100..200],
            sent: 100,
            outcome: completed(),
            transport: None,
        });
        book.close();

        let book = place.open(LedgerOptions::default());
        assert!(book.downloads().is_empty() && book.events().is_empty());
        let counts = book.wait(book.ledger.counts(&CountQuery::default())).unwrap();
        let sums = |content: &ContentInfo| {
            let of = counts.iter().filter(|count| count.path == content.path);
            // The test may run at midnight.
            of.fold((0, 0, 0, 0), |sum, count| {
                assert_eq!(count.content, content.key.to_string());
                (sum.0 + count.deliveries, sum.1 + count.completed, sum.2 + count.broken, sum.3 + count.bytes)
            })
        };
        assert_eq!((sums(&one), sums(&two)), ((3, 2, 1, 2300), (3, 1, 1, 620)));
        let only = CountQuery { address: Some(one.path.clone()), ..CountQuery::default() };
        let counts = book.wait(book.ledger.counts(&only)).unwrap();
        assert!(!counts.is_empty() && counts.iter().all(|count| count.path == one.path));
        book.close();
    });
}

#[test]
fn what_is_worth_a_record() {
    both(|place| {
        let endpoint = Endpoint {
            id: "only-pictures".into(),
            filter: EventFilter { path: Some("/pictures/".into()), ..EventFilter::default() },
            target: EndpointTarget::Command { program: "/bin/true".into() },
        };
        let links_only = Endpoint {
            id: "links".into(),
            filter: EventFilter { kinds: vec![EventKind::LinkExhausted], ..EventFilter::default() },
            target: EndpointTarget::Command { program: "/bin/true".into() },
        };
        let endpoints = vec![endpoint, links_only];
        let book = place.open(LedgerOptions { endpoints, min_size: 1000, ..LedgerOptions::default() });
        let is_worth = |change: fn(&mut ContentInfo)| {
            let mut content = (*content(1, 999)).clone();
            change(&mut content);
            (book.ledger.is_worth_recording(&content), book.ledger.must_record(&content))
        };
        assert_eq!(is_worth(|_| {}), (false, false));
        assert_eq!(is_worth(|content| content.length = 1000), (true, false));
        assert_eq!(is_worth(|content| content.parts = archive(2, 3, 1).parts.clone()), (true, false));
        assert_eq!(is_worth(|content| content.transfer = Some("t".into())), (true, true));
        assert_eq!(is_worth(|content| content.path = "/pictures/a".into()), (true, true));
        book.close();
    });
}
