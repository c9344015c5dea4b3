//! Legs that are cut, over and over, wherever it hurts: nobody notices.

use outflow_tunnel::carry::{TunnelEnd, TunnelTotals};
use outflow_tunnel::session::{LegOutcome, SessionLimits};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

use crate::world::{Running, World, start};
use outflow_testkit::noise;

/// Sends everything, ends the direction, and reads to the end.
async fn exchange(program: DuplexStream, out: &[u8]) -> Vec<u8> {
    let (mut read, mut write) = tokio::io::split(program);
    let send = async {
        write.write_all(out).await.unwrap();
        write.shutdown().await.unwrap();
    };
    let mut got = Vec::new();
    let (_, read) = tokio::join!(send, read.read_to_end(&mut got));
    read.unwrap();
    got
}

/// Both directions at once, over legs that break as specified: every byte has to arrive. Returns
/// the number of legs.
async fn through(cuts: Vec<usize>, room: usize, up: &[u8], down: &[u8]) -> usize {
    let world = World::new(SessionLimits::default(), cuts, room);
    let Running { client, client_fate, server, server_fate, carried } = start(&world, room);
    let (at_client, at_server) = tokio::join!(exchange(client, up), exchange(server, down));
    assert!(at_client == down && at_server == up);
    let (totals, end) = carried.await.unwrap();
    assert!(matches!(end, TunnelEnd::Complete), "{end}");
    assert_eq!(totals, TunnelTotals { to_far: down.len() as u64, from_far: up.len() as u64 });
    // The server finishes what it has, or lets it expire.
    tokio::time::sleep(std::time::Duration::from_secs(61)).await;
    assert!(world.sessions.is_empty());
    assert!(!client_fate.is_reset() && !server_fate.is_reset());
    world.ran.lock().unwrap().len()
}

#[tokio::test(start_paused = true)]
async fn megabytes_survive_hundreds_of_cuts_at_random_bytes() {
    let (up, down) = (noise(1, 3 << 20), noise(2, 4 << 20));
    for seed in 0..4 {
        let random = noise(100 + seed, 400 * 2);
        // Up to 64 KiB a leg, and at least a few bytes: legs that carry nothing would make no
        // progress.
        let cuts: Vec<usize> =
            random.chunks(2).map(|two| usize::from(u16::from_le_bytes([two[0], two[1]])) + 1).collect();
        let legs = through(cuts, [700, 5_000, 64 << 10, 1 << 20][seed as usize], &up, &down).await;
        assert!(legs > 150, "{legs}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_cut_at_any_byte_of_a_short_exchange_is_not_noticed() {
    // Every place where a leg can break: in heads, in payloads, in ends, in acknowledgements, in
    // the DONE.
    for cut in 0..90 {
        through(vec![cut], 1 << 16, b"question", b"the answer").await;
        for second in 0..30 {
            through(vec![cut, second], 1 << 16, b"question", b"the answer").await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_but_ends_survives_as_well() {
    for cut in 0..40 {
        through(vec![cut], 1 << 16, b"", b"").await;
    }
}

#[tokio::test(start_paused = true)]
async fn without_cuts_one_leg_is_enough_and_the_server_forgets_at_once() {
    let world = World::new(SessionLimits::default(), Vec::new(), 1 << 16);
    let running = start(&world, 1 << 16);
    let (up, down) = (noise(3, 5 << 20), noise(4, 5 << 20));
    let (at_client, at_server) = tokio::join!(exchange(running.client, &up), exchange(running.server, &down));
    assert!(at_client == down && at_server == up);
    assert!(matches!(running.carried.await.unwrap().1, TunnelEnd::Complete));
    tokio::task::yield_now().await;
    assert!(world.sessions.is_empty(), "DONE was heard");
    assert!(matches!(world.ran.lock().unwrap()[..], [LegOutcome::Over(TunnelEnd::Complete)]));
}
