//! Databases that are locked, damaged, full or unreachable.

use std::time::Duration;

use outflow_ledger::{DownloadState, EventKind, Ledger, LedgerOptions};

use crate::common::{Book, Place, both, content, opening, until};
use outflow_testkit::peers::Postgres;
use outflow_testkit::process::record_skip;

fn refused(address: &str) -> String {
    match Ledger::open(address, LedgerOptions::default()) {
        Ok(_) => panic!("{address} was opened"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn a_file_that_is_no_ledger_or_damaged_is_refused_with_what_to_do() {
    let place = Place::sqlite();
    let path = place.folder.path().join("ledger.db");
    std::fs::write(
        &path,
        "these are notes, not a database, and they are longer than a header of SQLite. ".repeat(50),
    )
    .unwrap();
    let said = refused(&place.address);
    assert!(said.contains("the file is not a ledger; name another one"), "{said}");
    std::fs::remove_file(&path).unwrap();
    let book = place.open(LedgerOptions::default());
    for number in 0..200 {
        book.deliver(&opening(&content(1, 1000), &format!("recipient {number}")), 0..1000);
    }
    book.settle(0);
    book.close();
    let mut bytes = std::fs::read(&path).unwrap();
    let half = bytes.len() / 2;
    bytes[half..].fill(0x55);
    std::fs::write(&path, bytes).unwrap();
    let said = refused(&place.address);
    assert!(said.contains("the file is damaged") && said.contains("backup"), "{said}");
}

#[test]
fn a_folder_that_is_missing_is_made_and_one_that_cannot_be_made_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a/b/ledger.db");
    Book::new(Ledger::open(path.to_str().unwrap(), LedgerOptions::default()).unwrap()).close();
    assert!(path.exists());
    std::fs::write(folder.path().join("file"), "").unwrap();
    let said = refused(folder.path().join("file/ledger.db").to_str().unwrap());
    assert!(said.contains("cannot create its folder"), "{said}");
    assert!(refused("sqlite:").contains("sqlite:PATH"));
    let said = refused("postgres://nobody@127.0.0.1:1/none");
    assert!(said.contains("cannot be reached"), "{said}");
}

#[test]
fn a_ledger_that_is_locked_for_a_while_takes_everything_later() {
    let place = Place::sqlite();
    let book = place.open(LedgerOptions { backlog: 10, ..LedgerOptions::default() });
    let other = place.folder.path().join("ledger.db");
    // Another program has locked the file.
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&other);
    let mut holder = book.wait(sqlx::ConnectOptions::connect(&options)).unwrap();
    book.wait(sqlx::query("BEGIN IMMEDIATE").execute(&mut holder)).unwrap();
    for number in 0..5 {
        book.deliver(&opening(&content(1, 1000), &format!("recipient {number}")), 0..1000);
    }
    // The backlog is full, and the next delivery is rejected at once.
    let full = book.ledger.track(opening(&content(1, 1000), "one more")).err().unwrap();
    assert_eq!(full.waiting, 10);
    until("the trouble is noticed", || book.ledger.status().outage.is_some());
    let reason = book.ledger.status().outage.unwrap().reason;
    assert!(reason.contains("another program has locked the file"), "{reason}");
    book.wait(sqlx::query("ROLLBACK").execute(&mut holder)).unwrap();
    book.settle(0);
    assert_eq!(book.ledger.status().outage, None);
    assert_eq!((book.count(EventKind::Started), book.count(EventKind::Completed)), (5, 5));
    book.deliver(&opening(&content(1, 1000), "one more"), 0..1000);
    book.settle(0);
    assert_eq!(book.count(EventKind::Completed), 6);
    book.close();
}

/// A small file system of its own.
struct Disk(std::path::PathBuf);

impl Disk {
    /// `None`: this process may not mount one.
    fn mount(place: &Place) -> Option<Disk> {
        let disk = Disk(place.folder.path().join("disk"));
        std::fs::create_dir(&disk.0).unwrap();
        if disk.options(&["-t", "tmpfs", "-o", "size=512k", "tmpfs"]) {
            return Some(disk);
        }
        record_skip("the right to mount");
        None
    }

    fn options(&self, arguments: &[&str]) -> bool {
        let done = std::process::Command::new("mount").args(arguments).arg(&self.0).status();
        done.is_ok_and(|done| done.success())
    }

    fn ledger(&self) -> String {
        self.0.join("ledger.db").to_str().unwrap().to_owned()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_ledger_that_may_not_be_written_can_be_asked_but_not_served() {
    let place = Place::sqlite();
    let Some(disk) = Disk::mount(&place) else { return };
    Book::new(Ledger::open(&disk.ledger(), LedgerOptions::default()).unwrap()).close();
    assert!(disk.options(&["-o", "remount,ro"]));
    let server = Ledger::open(&disk.ledger(), LedgerOptions { server: true, ..LedgerOptions::default() });
    let said = server.err().unwrap().to_string();
    assert!(said.contains("the right to write") || said.contains("may write there"), "{said}");
}

#[test]
fn a_ledger_on_a_full_disk_takes_everything_when_there_is_room() {
    let place = Place::sqlite();
    let Some(disk) = Disk::mount(&place) else { return };
    let book = Book::new(Ledger::open(&disk.ledger(), LedgerOptions::default()).unwrap());
    let mut count = 0;
    until("the disk is full", || {
        for _ in 0..100 {
            book.deliver(&opening(&content(1, 1000), &format!("recipient {count}")), 0..1000);
            count += 1;
        }
        book.ledger.status().outage.is_some()
    });
    let reason = book.ledger.status().outage.unwrap().reason;
    assert!(reason.contains("the disk is full"), "{reason}");
    assert!(disk.options(&["-o", "remount,size=64m"]));
    book.settle(0);
    assert_eq!(book.ledger.status().outage, None);
    assert_eq!(book.wait(book.ledger.link("none")).unwrap().receipts, 0);
    let mut after = None;
    let mut receipts = 0;
    loop {
        let query = outflow_ledger::EventQuery { after, limit: 10_000, ..Default::default() };
        let events = book.wait(book.ledger.events(&query)).unwrap();
        let Some(last) = events.last() else { break };
        after = Some(last.seq);
        receipts += events.iter().filter(|event| event.kind == EventKind::Completed).count();
    }
    assert_eq!(receipts, count);
    book.close();
}

#[test]
fn while_postgres_is_away_receipts_wait_and_none_is_lost() {
    outflow_testkit::needs!("postgres");
    let mut postgres = Postgres::start();
    let address = postgres.database("ledger");
    let book = Book::new(
        Ledger::open(&address, LedgerOptions { backlog: 100, server: true, ..LedgerOptions::default() })
            .unwrap(),
    );
    let half = book.begin(&opening(&content(1, 1000), "half"), std::slice::from_ref(&(0..1000)));
    book.settle(1);
    postgres.crash();
    for number in 0..49 {
        book.deliver(&opening(&content(1, 1000), &format!("recipient {number}")), 0..1000);
    }
    crate::common::end(half, &[0..1000]);
    until("no room is left", || {
        book.ledger.track(opening(&content(1, 1000), "more")).map(std::mem::forget).is_err()
    });
    until("the trouble is noticed", || book.ledger.status().outage.is_some());
    assert!(book.wait(book.ledger.link("l1")).is_err());
    postgres.up();
    until("it is written", || book.ledger.status().outage.is_none());
    until("all is written", || {
        book.downloads().iter().filter(|d| d.state == DownloadState::Completed).count() == 50
    });
    assert_eq!((book.count(EventKind::Started), book.count(EventKind::Completed)), (50, 50));
    book.close();
}

#[test]
fn what_is_too_old_is_removed_and_what_is_not_stays() {
    both(|place| {
        let book = place.open(LedgerOptions::default());
        for number in 0..20 {
            book.deliver(&opening(&content(1, 1000), &format!("recipient {number}")), 0..1000);
        }
        book.settle(0);
        let cut = jiff::Timestamp::now();
        book.break_off(&opening(&content(1, 1000), "recent"), 0..1000, 10);
        book.settle(0);
        book.close();
        // Until a bit later than the cut, all of the twenty are older than `retention`.
        let age = jiff::Timestamp::now().duration_since(cut);
        let keep = Duration::from_millis(u64::try_from(age.as_millis()).unwrap()) + Duration::from_secs(3600);
        let book =
            place.open(LedgerOptions { server: true, retention: Some(keep), ..LedgerOptions::default() });
        assert_eq!(book.downloads().len(), 21);
        book.close();
        let book = place.open(LedgerOptions {
            server: true,
            retention: Some(Duration::ZERO),
            ..LedgerOptions::default()
        });
        until("the old ones are gone", || book.downloads().is_empty() && book.events().is_empty());
        book.close();
    });
}
