//! Servers that are killed at random moments, again and again.
//!
//! A child, which is this test program itself, obtains downloads one after the other and says so on
//! its standard output: `begun N` before a delivery, `kept N` after the ledger has committed its
//! receipt. It is killed by SIGKILL; the next one goes on with the next number. In the end the
//! ledger must know of every receipt that was said to be kept.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use outflow_ledger::{DownloadQuery, DownloadState, EventKind, EventQuery, Ledger, LedgerOptions};

use crate::common::{Book, Place, content, end, opening};

/// The variable that marks the child process.
const ADDRESS: &str = "OUTFLOW_TEST_KILLED_LEDGER";
const FROM: &str = "OUTFLOW_TEST_KILLED_FROM";

/// Not a test, but the child process. Each download comes in three deliveries, the last two at
/// once.
#[test]
fn child() {
    let Some(address) = std::env::var_os(ADDRESS) else { return };
    let mut from: u64 = std::env::var(FROM).unwrap().parse().unwrap();
    let options =
        LedgerOptions { server: true, crash_timeout: Duration::from_millis(500), ..LedgerOptions::default() };
    let book = Book::new(Ledger::open(address.to_str().unwrap(), options).unwrap());
    let say = |what: &str, number: u64| {
        let mut out = std::io::stdout().lock();
        writeln!(out, "{what} {number}").unwrap();
        out.flush().unwrap();
    };
    loop {
        let several: Vec<_> = (from..from + 8).collect();
        from += 8;
        for number in &several {
            say("begun", *number);
            let anna = opening(&content(1, 300), &format!("recipient {number}"));
            book.deliver(&anna, 0..100);
            let rest =
                [100..200, 200..300].map(|range| (book.begin(&anna, std::slice::from_ref(&range)), range));
            rest.into_iter().for_each(|(tracked, range)| end(tracked, &[range]));
        }
        book.settle(0);
        several.iter().for_each(|number| say("kept", *number));
    }
}

/// The same numbers each time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

fn killed(place: &Place, times: u32, seed: u64) {
    let mut dice = Dice(seed);
    let (mut from, mut kept, mut begun) = (0, BTreeSet::new(), BTreeSet::new());
    for _ in 0..times {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "kills::child", "--nocapture", "--test-threads=1"])
            .env(ADDRESS, &place.address)
            .env(FROM, from.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let (said, heard) = mpsc::channel();
        let reader = std::thread::spawn(move || {
            out.lines().map_while(Result::ok).for_each(|line| drop(said.send(line)));
        });
        // Some lines and some microseconds after its first line.
        let lines = dice.below(40);
        let mut all = Vec::new();
        for _ in 0..=lines {
            match heard.recv_timeout(Duration::from_secs(60)) {
                Ok(line) => all.push(line),
                Err(_) => break,
            }
        }
        // When a kill comes is up to chance.
        std::thread::sleep(Duration::from_micros(dice.below(30_000)));
        child.kill().unwrap();
        child.wait().unwrap();
        reader.join().unwrap();
        all.extend(heard.try_iter());
        for line in all {
            // The test program prints its own lines first.
            let Some((word, number)) = line.rsplit_once(' ') else { continue };
            let Ok(number) = number.parse::<u64>() else { continue };
            if word.ends_with("begun") {
                begun.insert(number);
                from = from.max(number + 1);
            } else if word.ends_with("kept") {
                kept.insert(number);
            }
        }
    }
    let book = place.open(LedgerOptions::default());
    let mut complete: HashMap<String, u32> = HashMap::new();
    let mut before = None;
    loop {
        let query = DownloadQuery { before, limit: 10_000, ..DownloadQuery::default() };
        let downloads = book.wait(book.ledger.downloads(&query)).unwrap();
        let Some(last) = downloads.last() else { break };
        before = Some(last.id.clone());
        for download in &downloads {
            if download.state == DownloadState::Completed {
                assert_eq!(download.acked, download.total);
                *complete.entry(download.recipient.clone()).or_default() += 1;
            }
        }
    }
    for number in &kept {
        assert_eq!(complete.get(&format!("recipient {number}")), Some(&1), "the receipt {number} was lost");
    }
    assert!(complete.values().all(|count| *count == 1), "a download was counted twice");
    assert!(complete.len() <= begun.len());
    let (mut ids, mut completed, mut after) = (HashSet::new(), HashSet::new(), None);
    loop {
        let query = EventQuery { after, limit: 10_000, ..EventQuery::default() };
        let events = book.wait(book.ledger.events(&query)).unwrap();
        let Some(last) = events.last() else { break };
        after = Some(last.seq);
        for event in events {
            assert!(ids.insert(event.id.clone()), "the event {} is there twice", event.id);
            if event.kind == EventKind::Completed {
                let data: serde_json::Value = serde_json::from_str(event.data.get()).unwrap();
                assert!(completed.insert(data["download"]["id"].as_str().unwrap().to_owned()));
            }
        }
    }
    assert_eq!(completed.len(), complete.len());
    eprintln!(
        "{times} kills: {} begun, {} complete, {} said to be kept",
        begun.len(),
        complete.len(),
        kept.len()
    );
    assert!(kept.len() > usize::try_from(times).unwrap() / 4, "hardly anything was done");
    book.close();
}

#[test]
fn no_receipt_is_lost_or_counted_twice_when_servers_on_sqlite_are_killed() {
    killed(&Place::sqlite(), 100, 0x9e37_79b9_7f4a_7c15);
}

#[test]
fn no_receipt_is_lost_or_counted_twice_when_servers_on_postgres_are_killed() {
    outflow_testkit::needs!("postgres");
    killed(&Place::postgres(), 100, 0xbf58_476d_1ce4_e5b9);
}
