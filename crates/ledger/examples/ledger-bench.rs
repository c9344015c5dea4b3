//! Measures the ledger: receipts a second, committed in batches, one by one, and ten a second with
//! the bytes written; the size of the database; merges into downloads of few and of many fragments.
//! `cargo run --release -p outflow-ledger --example ledger-bench [ADDRESS]`; without an address,
//! SQLite in a folder that is removed afterwards.
#![allow(clippy::unwrap_used, clippy::cast_precision_loss, reason = "a benchmark")]

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use outflow_ledger::{
    Assurance, ContentInfo, ContentKey, DeliveryEnd, DeliveryHandle, DeliveryOutcome, Ledger, LedgerOptions,
    NewDelivery, Recipient,
};

fn content(number: u8, length: u64) -> Arc<ContentInfo> {
    Arc::new(ContentInfo {
        key: ContentKey([number; 16]),
        etag: format!("\"{number}-5f3759df-1a2b3c\""),
        length,
        name: "holiday pictures.zip".into(),
        path: "/pictures/2026/holiday%20pictures.zip".into(),
        transfer: None,
        parts: None,
    })
}

fn opening(content: &Arc<ContentInfo>, recipient: String) -> NewDelivery {
    NewDelivery {
        content: Arc::clone(content),
        recipient: Recipient { id: recipient, weak: true },
        link: None,
        client: Some([192, 0, 2, 7].into()),
        user_agent: Some("Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0".into()),
        assurance: Assurance::Peer,
    }
}

fn end(tracked: DeliveryHandle, acked: Vec<Range<u64>>) {
    let sent = acked.iter().map(|range| range.end - range.start).sum();
    tracked.ended(DeliveryEnd {
        acked,
        sent,
        outcome: DeliveryOutcome::Completed { confirmed: true },
        transport: None,
    });
}

fn deliver(ledger: &Ledger, opening: NewDelivery, range: Range<u64>) {
    let mut tracked = loop {
        match ledger.track(opening.clone()) {
            Ok(tracked) => break tracked,
            Err(_) => std::thread::sleep(Duration::from_millis(1)),
        }
    };
    tracked.started(vec![range.clone()]);
    end(tracked, vec![range]);
}

fn settle(ledger: &Ledger) {
    while ledger.status().waiting > 0 {
        std::thread::sleep(Duration::from_micros(100));
    }
}

/// Processor time of this process in seconds.
fn cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<u64> = stat
        .rsplit(')')
        .next()
        .unwrap()
        .split_whitespace()
        .skip(11)
        .take(2)
        .map(|ticks| ticks.parse().unwrap())
        .collect();
    (fields[0] + fields[1]) as f64 / 100.0
}

fn line(what: &str, count: u64, took: Duration, cpu: f64) {
    let rate = count as f64 / took.as_secs_f64();
    println!("{what:<52} {rate:>10.0}/s {:>9.1} us of CPU each", cpu * 1e6 / count as f64);
}

fn receipts(address: &str, what: &str, count: u64, alone: bool, recipient: impl Fn(u64) -> String) -> f64 {
    let ledger = Ledger::open(address, LedgerOptions::default()).unwrap();
    let content = content(1, 10_000);
    let (begun, before) = (Instant::now(), cpu());
    for number in 0..count {
        deliver(&ledger, opening(&content, recipient(number)), 0..10_000);
        if alone {
            settle(&ledger);
        }
    }
    settle(&ledger);
    let took = begun.elapsed();
    line(what, count, took, cpu() - before);
    ledger.shut_down(Duration::from_secs(60));
    if let Some(size) = size(address) {
        println!("    {} bytes of database each", size / count);
    }
    count as f64 / took.as_secs_f64()
}

/// Bytes that this process has written, to whatever file.
fn written() -> u64 {
    let io = std::fs::read_to_string("/proc/self/io").unwrap();
    io.lines().find_map(|line| line.strip_prefix("wchar: ")).unwrap().parse().unwrap()
}

/// The size of an SQLite database that is closed.
fn size(address: &str) -> Option<u64> {
    Some(std::fs::metadata(address.strip_prefix("sqlite:")?).ok()?.len())
}

/// Receipts that come one by one, as a server with ten requests a second has them.
fn slowly(address: &str) {
    let ledger = Ledger::open(address, LedgerOptions::default()).unwrap();
    let content = content(5, 10_000);
    deliver(&ledger, opening(&content, "anna".into()), 0..10_000);
    settle(&ledger);
    let (begun, before, bytes, count) = (Instant::now(), cpu(), written(), 50);
    for _ in 0..count {
        deliver(&ledger, opening(&content, "anna".into()), 0..10_000);
        std::thread::sleep(Duration::from_millis(100));
    }
    let each = (written() - bytes) / count;
    line(
        &format!("receipts, ten a second: {each} bytes written each"),
        count,
        begun.elapsed(),
        cpu() - before,
    );
    ledger.shut_down(Duration::from_secs(60));
}

/// One receipt in each commit: the cost of the same rows at the same durability.
fn one_by_one(address: &str) -> f64 {
    let options = LedgerOptions { commit_delay: Duration::ZERO, ..LedgerOptions::default() };
    let ledger = Ledger::open(address, options).unwrap();
    let content = content(2, 10_000);
    let (begun, before, count) = (Instant::now(), cpu(), 500);
    for number in 0..count {
        deliver(&ledger, opening(&content, format!("one by one {number}")), 0..10_000);
        settle(&ledger);
    }
    let took = begun.elapsed();
    line("receipts, one commit each", count, took, cpu() - before);
    ledger.shut_down(Duration::from_secs(60));
    count as f64 / took.as_secs_f64()
}

/// Merges into a download of `fragments` fragments, each in a commit of its own.
fn merges(address: &str, number: u8, fragments: u64) -> f64 {
    let options = LedgerOptions { commit_delay: Duration::ZERO, ..LedgerOptions::default() };
    let ledger = Ledger::open(address, options).unwrap();
    let content = content(number, 4 * fragments + 10_000_000);
    let anna = || opening(&content, "anna".into());
    for from in (0..fragments).step_by(200) {
        let holes: Vec<_> = (from..(from + 200).min(fragments)).map(|n| 4 * n..4 * n + 1).collect();
        let mut tracked = ledger.track(anna()).unwrap();
        tracked.started(holes.clone());
        end(tracked, holes);
        if from % 20_000 == 0 {
            settle(&ledger);
        }
    }
    settle(&ledger);
    let (begun, before, count) = (Instant::now(), cpu(), 500);
    // Half of them fill holes and join fragments, half make further ones.
    for n in 0..count {
        let at = n * 7919 % (fragments.max(2) - 1);
        let range = if n % 2 == 0 {
            4 * at + 1..4 * at + 4
        } else {
            4 * fragments + 10 * n..4 * fragments + 10 * n + 5
        };
        deliver(&ledger, anna(), range);
        settle(&ledger);
    }
    let took = begun.elapsed();
    line(&format!("merges into {fragments} fragments"), count, took, cpu() - before);
    ledger.shut_down(Duration::from_secs(60));
    took.as_secs_f64() / count as f64
}

fn main() {
    let folder =
        tempfile::tempdir_in(std::env::var_os("BENCH_DIR").unwrap_or_else(|| "/var/tmp".into())).unwrap();
    let given = std::env::args().nth(1);
    let address = |name: &str| {
        given.clone().unwrap_or_else(|| format!("sqlite:{}", folder.path().join(name).display()))
    };
    let alone = one_by_one(&address("one"));
    let grouped =
        receipts(&address("many"), "receipts in groups, each of another recipient", 50_000, false, |n| {
            format!("recipient {n}")
        });
    receipts(&address("same"), "receipts in groups, all of one recipient", 50_000, false, |_| "anna".into());
    println!("groups are {:.0} times as fast", grouped / alone);
    slowly(&address("slow"));
    let few = merges(&address("few"), 3, 10);
    let many = merges(&address("few"), 4, 100_000);
    println!("a merge into 100,000 fragments takes {:.2} times as long as one into 10", many / few);
}
