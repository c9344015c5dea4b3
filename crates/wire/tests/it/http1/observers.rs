//! What an observer is told: in order, with sums that add up, and always to the end.

use std::time::Duration;

use bytes::Bytes;
use outflow_content::{AbortReason, Content};
use outflow_wire::ServerOptions;

use super::watched::watched;
use crate::support::{Event, TestFile, noise, temp};

/// Far more than the socket's buffers take.
const LARGE: usize = 32 * 1024 * 1024;

fn large() -> (tempfile::TempDir, TestFile) {
    let (folder, path) = temp("file", &noise(71, LARGE));
    let file = TestFile::open(&path);
    (folder, file)
}

#[test]
fn pipelined_deliveries_are_told_one_by_one() {
    let (server, events) = watched(3, ServerOptions::default(), || Content::bytes(vec![0; 100]));
    let mut client = server.client();
    client.request("GET", "/", "").request("GET", "/", "").request("GET", "/", "");
    for events in events {
        assert_eq!(client.reply().body.len(), 100);
        assert_eq!(events.ending(100), Event::Completed(100));
    }
}

#[test]
fn a_client_that_breaks_the_connection_aborts_the_delivery() {
    let (_folder, file) = large();
    let total = file.len();
    let (server, mut events) = watched(1, ServerOptions::default(), move || file.content());
    let mut client = server.narrow_client(16 * 1024);
    client.request("GET", "/", "").take(100_000).expect("the first bytes");
    client.reset();
    let end = events.remove(0).ending(total);
    let Event::Aborted(sum, AbortReason::Disconnected(why)) = end else { panic!("ended by {end:?}") };
    assert!((90_000..total).contains(&sum), "{sum} bytes");
    assert!(!why.is_empty());
}

#[test]
fn a_client_that_closes_early_aborts_the_delivery() {
    let (_folder, file) = large();
    let total = file.len();
    let (server, mut events) = watched(1, ServerOptions::default(), move || file.content());
    let mut client = server.narrow_client(16 * 1024);
    client.request("GET", "/", "").take(100_000).expect("the first bytes");
    drop(client);
    let end = events.remove(0).ending(total);
    assert!(matches!(end, Event::Aborted(_, AbortReason::Disconnected(_))), "{end:?}");
}

#[test]
fn a_client_that_takes_nothing_is_cut_off_as_stalled() {
    let options = ServerOptions { stall_timeout: Duration::from_millis(150), ..ServerOptions::default() };
    let (_folder, file) = large();
    let total = file.len();
    let memory = Bytes::from(vec![0; total as usize]);
    for in_memory in [false, true] {
        let (file, memory) = (file.clone(), memory.clone());
        let (server, mut events) = watched(1, options.clone(), move || {
            if in_memory { Content::bytes(memory.clone()) } else { file.content() }
        });
        let mut client = server.narrow_client(16 * 1024);
        client.request("GET", "/", "");
        let end = events.remove(0).ending(total);
        assert!(matches!(end, Event::Aborted(_, AbortReason::Stalled)), "{end:?}");
        client.take_until(b"\r\n\r\n").expect("a head");
        client.expect_cut(total as usize);
    }
}
