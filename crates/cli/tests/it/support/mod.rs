//! What all topics use.

mod certificates;
mod client;
mod daemon;
mod ledger;
#[path = "../../../../tunnel/tests/it/server/legs.rs"]
pub(crate) mod legs;
mod network;
mod pebble;
#[path = "../../../../ledger/tests/support/postgres.rs"]
mod postgres;
mod proxies;
mod receiver;
mod run;
mod server;
mod sshd;
mod stores;
mod stream;
mod transport;
mod tree;

use std::time::{Duration, Instant};

pub(crate) use certificates::{Authority, TlsClient, replace, shown};
pub(crate) use client::{Client, Reply};
pub(crate) use ledger::{Ledger, id_of};
pub(crate) use network::Network;
pub(crate) use pebble::Place;
pub(crate) use postgres::Postgres;
pub(crate) use proxies::Haproxy;
pub(crate) use receiver::{Answer, Receiver, SECRET, Told, once_each};
pub(crate) use run::{Browser, Program, assert_fails, feed, java, output, program, python};
pub(crate) use server::{Server, Setup, binary};
pub(crate) use sshd::Sshd;
pub(crate) use stores::{Access, BUCKET, Bucket, Garage, Moto, Nginx};
pub(crate) use stream::{Listener, Told as Heard};
pub(crate) use transport::{Fetch, Transport};
pub(crate) use tree::{Files, Random, Tree, noise};

/// How long anything may take before a test fails. Far more than is ever needed: machines are
/// shared.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// Asks again and again until there is an answer.
#[track_caller]
pub(crate) fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Compares bytes without printing megabytes of them.
#[track_caller]
pub(crate) fn assert_same(found: &[u8], expected: &[u8], what: &str) {
    if found == expected {
        return;
    }
    let at = found.iter().zip(expected).position(|(a, b)| a != b);
    let at = at.unwrap_or(found.len().min(expected.len()));
    panic!("{what}: {} bytes instead of {}, different from byte {at} on", found.len(), expected.len());
}
